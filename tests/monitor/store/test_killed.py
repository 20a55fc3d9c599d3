"""kill -9 of a process that is writing: at most the last second is missing, and nothing is torn."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from foreshock.monitor.store import Store

WRITING = """
import sys, time
import numpy as np
from foreshock.monitor.store import Message, ReadingBlock, Store
store = Store.open(sys.argv[1])
for turn in range(1_000_000):
    text = f"turn {turn} " * 200
    store.add(Message("c1", turn, "assistant", text))
    store.add(ReadingBlock("c1", turn, 3, ("afraid", "calm"), np.full((100, 2), turn % 1000), ((0, 1),) * 100))
    print(turn, time.monotonic(), flush=True)
    time.sleep(0.002)
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_while_writing(address: str, seed: int) -> None:
    program = [sys.executable, "-c", WRITING, address]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout is not None
        first = writing.stdout.readline()
        assert first.startswith("0 ")
        time.sleep(1.5 + random.Random(seed).random())
        killed_at = time.monotonic()
        writing.kill()
        added = [first, *writing.stdout.readlines()]
        assert writing.wait() == -signal.SIGKILL
    times = {int(turn): float(at) for turn, at in (line.split() for line in added if line.endswith("\n"))}
    if "://" not in address:
        assert sqlite3.connect(address).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with Store.open(address) as store:
        kept = store.conversation("c1")
        assert kept is not None
        there = [each.turn for each in kept.messages]
        assert there == list(range(len(there)))  # a beginning without gaps
        due = [turn for turn, at in times.items() if at < killed_at - 1]
        assert len(due) > 50 and set(due) <= set(there)
        assert all(each.text == f"turn {each.turn} " * 200 for each in kept.messages)
        assert all((each.values == each.turn % 1000).all() for each in kept.readings)
        assert abs(len(kept.readings) - len(there)) <= 1  # the kill may fall between the two adds of a turn
        store.add(kept.messages[0])
        store.flush()  # it can go on
