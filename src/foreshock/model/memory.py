"""Memory of large tensors on a CPU: fetched in large pages, and kept for the tensors that follow."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of glibc's malloc.h."""
KEPT = 512 * 2**20
"""Free bytes at the heap's end that the process keeps."""
MAPPED = 32 * 2**20
"""Blocks from this size on are given back all the same: the most that glibc's own adjusting comes to."""
USERS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def quicken_memory() -> None:
    """Have large tensors use large pages, and glibc keep up to `KEPT` bytes that they have freed.

    By default what glibc keeps depends on what was freed before, and mostly a layer's output is given back to the system
    and fetched again page by page: up to half of a pass's time. Settings of the user's environment win, and other C
    libraries are left as they are. Large pages come only where no tensor has been made yet in this process.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch looks once, at its first tensor
    if platform.libc_ver()[0] == "glibc" and not any(name in os.environ for name in USERS):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, MAPPED)
        libc.mallopt(_TRIM_THRESHOLD, KEPT)
