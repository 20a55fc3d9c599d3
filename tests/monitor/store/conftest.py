"""Every test of the store runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.store.cluster import CI, Cluster, binaries


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    found = binaries()
    if found is None:
        missing = "PostgreSQL's programs are missing; on Debian: apt-get install postgresql"
        pytest.fail(missing) if CI else pytest.skip(missing)
    with Cluster(found) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new store can be opened: a path, or the address of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "new folder" / "conversations.db")
    return request.getfixturevalue("cluster").database()
