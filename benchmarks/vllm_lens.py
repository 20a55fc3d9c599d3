"""Is an export for vLLM-Lens what Foreshock itself adds in vLLM? `python -m benchmarks.vllm_lens`.

The same requests with the same steering, once by the plug-in and once by vLLM-Lens from the exported file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import PEERS, save, show
from benchmarks.vllm_invariants import EXACT, MIDDLE, STRENGTH, Bench, asking, same_reply, worst
from benchmarks.vllm_running import made, run
from foreshock.interop import ControlVector, vllm_lens
from foreshock.steering import Steering

REQUIREMENTS = ["vllm-lens==1.3.0", "zstandard==0.25.0", "cloudpickle==3.1.3"]
DOSES = {"calm": STRENGTH, "desperate": -STRENGTH / 2}


def packages(interpreter: Path) -> Path:
    """The folder of vLLM-Lens and what it needs; beside vLLM, as it asks for another release and a newer Python."""
    folder = PEERS / "vllm-lens"
    if not folder.exists():
        pip = [interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-requires-python"]
        subprocess.run([*pip, "--target", folder, *REQUIREMENTS], check=True)
    return folder


def main() -> int:
    """Print the largest differences; 1 where there are any."""
    interpreter = made()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(interpreter, Path(name))
        file = Path(name) / "calm.json"
        vllm_lens.save(ControlVector.of(Steering(DOSES, bench.vectors, [MIDDLE])), file)
        wish: dict[str, Any] = {"apply_steering_vectors": json.dumps([json.loads(file.read_text())])}
        bare = [asking(ids, 20, False, {}) for ids in bench.short]
        ours = [one | {"foreshock": {"steer": DOSES if k % 2 else {}}} for k, one in enumerate(bare)]
        theirs = [one | {"foreshock": None, "extra": wish if k % 2 else {}} for k, one in enumerate(bare)]
        (expected,) = bench.run([ours])
        (found,) = run(interpreter, bench.folder / "model", [theirs], packages=[packages(interpreter)]).batches
        (plain,) = bench.run([bare])
    apart = {
        "steered": worst(same_reply(*pair) for pair in zip(found[1::2], expected[1::2], strict=True)),
        "their batchmates": worst(same_reply(*pair) for pair in zip(found[::2], expected[::2], strict=True)),
    }
    moved = min(abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(found[1::2], plain[1::2], strict=True))
    rows = [[name, f"{figure:.3g}"] for name, figure in apart.items()]
    show("vLLM-Lens 1.3.0 against Foreshock", ["", "difference"], [*rows, ["steered, of not steered", f"{moved:.3g}"]])
    save("vllm_lens", {}, apart | {"moved": moved})
    return 0 if max(apart.values()) <= EXACT and moved > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
