"""A peer as a process of its own, in its own virtual environment, that answers tasks one by one.

So contenders can take turns within a round, and a neighbour's load hits all of them alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.measuring import ENVIRONMENT, peer_python

TORCH = "torch==2.13.0"
PEERS: dict[str, tuple[str, list[str], str]] = {
    "steering-vectors": ("steering_vectors", [TORCH, "steering-vectors==0.12.2"], "steering_vectors"),
    "repeng": ("repeng", [TORCH, "repeng==0.4.0", "numpy<2"], "repeng"),
    "nnsight": ("nnsight", [TORCH, "nnsight==0.8.1"], "nnsight"),
    "transformer-lens": ("transformer_lens", [TORCH, "transformer-lens==4.3.0"], "transformer_lens"),
    "transformers": ("transformers", [], "transformers"),
}
"""Peer → its worker, what its environment needs (nothing: our own interpreter), and what it imports as."""
PACKAGES = ("torch", "transformers", "numpy")


def python_of(name: str) -> Path:
    """The interpreter that a peer runs in."""
    return peer_python(name, PEERS[name][1]) if PEERS[name][1] else Path(sys.executable)


def versions_of(name: str) -> dict[str, str]:
    """The versions that count, of the peer and of what it stands on."""
    program = "import json, sys; from importlib.metadata import version; print(json.dumps({p: version(p) for p in sys.argv[1:]}))"
    done = subprocess.run(
        [python_of(name), "-c", program, *dict.fromkeys((name, *PACKAGES))], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


class Peer:
    """A running worker."""

    def __init__(self, name: str, job: Path, log: Path) -> None:
        self.name = name
        self._log = log.open("w")
        script = Path(__file__).parent / "peers" / f"{PEERS[name][0]}_worker.py"
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": self._log,
            "text": True,
            "env": ENVIRONMENT,
        }
        self._process = subprocess.Popen([python_of(name), script, job], **pipes)

    def ask(self, task: str) -> dict[str, Any]:
        """Seconds, CPU seconds, peak memory so far and the result of one task.

        Raises:
            RuntimeError: the worker ended; the end of what it said is in the message.
        """
        assert self._process.stdin and self._process.stdout
        try:
            print(task, file=self._process.stdin, flush=True)
            for line in self._process.stdout:
                if line.startswith("ANSWER "):
                    return dict(json.loads(line.removeprefix("ANSWER ")))
        except BrokenPipeError:
            pass
        raise RuntimeError(f"{self.name} ended at {task}: {Path(self._log.name).read_text()[-400:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._log.close()
