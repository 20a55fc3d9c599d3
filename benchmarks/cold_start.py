"""How long `foreshock --help` takes from a cold process, against a bare interpreter and importing torch.

Run: python -m benchmarks.cold_start
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measuring import interleaved, median, save, show

ROUNDS = 9
COMMANDS = {
    "foreshock --help": [
        "-c",
        "import sys; sys.argv = ['foreshock', '--help']; from foreshock.cli import main; main()",
    ],
    "python -c pass": ["-c", "pass"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def main() -> None:
    """Measure, print and save."""

    def started(arguments: list[str]) -> float:
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        return 0.0

    seconds = interleaved({name: (lambda a=a: started(a)) for name, a in COMMANDS.items()}, ROUNDS)
    middle = {name: median(values) for name, values in seconds.items()}
    show("Cold start", ["command", "seconds"], [[name, f"{value:.2f}"] for name, value in middle.items()])
    ratio = middle["foreshock --help"] / middle["python -c 'import torch'"]
    save("cold_start", {"of_importing_torch": ratio}, {"seconds": middle, "rounds": ROUNDS})


if __name__ == "__main__":
    main()
