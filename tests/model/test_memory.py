"""Pages that are kept need not be fetched again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from foreshock.model import Site, open_model
model = open_model()
ids = torch.arange(2048).reshape(16, 128) + 5
def layers():
    model.run(ids, {Site(12): lambda hidden: None})
for _ in range(3):
    layers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
layers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """Pages that a pass of 2,048 tokens fetches once others have run."""
    given = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return int(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, env=given).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_what_a_layer_frees_is_there_for_the_next_unless_the_user_has_it_otherwise() -> None:
    assert faults() < 10_000
    assert faults(MALLOC_TRIM_THRESHOLD_="131072") > 100_000
