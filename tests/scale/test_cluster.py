"""How a cluster is shared out and reached; no Ray is started."""

from __future__ import annotations

import socket

import pytest

from foreshock.errors import ScaleError
from foreshock.scale.cluster import Machine, Share, connect, placed


@pytest.mark.parametrize(
    ("machines", "count", "each", "workers"),
    [
        ([(4, 0)], None, Share(4, 0), 1),
        ([(4, 0), (4, 0)], None, Share(4, 0), 2),
        ([(4, 0), (16, 0)], None, Share(8, 0), 2),  # both on the larger
        ([(4, 0), (4, 0)], 1, Share(4, 0), 1),
        ([(4, 0), (16, 0)], 1, Share(16, 0), 1),
        ([(4, 0), (4, 0)], 3, Share(2, 0), 3),
        ([(16, 0), (0, 0)], None, Share(16, 0), 1),  # a head that does no work
        ([(96, 8), (64, 0)], None, Share(12, 1), 8),  # a head without GPUs
        ([(96, 8), (64, 0)], 4, Share(24, 2), 4),
        ([(96, 8), (64, 0)], 3, Share(32, 2), 3),
        ([(96, 8), (64, 0)], 1, Share(96, 8), 1),
        ([(8, 8), (8, 8)], 1, Share(8, 8), 1),
        ([(8, 8), (8, 8)], 4, Share(4, 4), 4),
        ([(32, 8), (8, 4)], 3, Share(8, 4), 3),
        ([(2, 8)], None, Share(1, 4), 2),  # CPUs are what it lacks
    ],
)
def test_all_get_the_largest_share_of_which_so_many_fit(
    machines: list[Machine], count: int | None, each: Share, workers: int
) -> None:
    assert placed(machines, count) == [each] * workers


@pytest.mark.parametrize(
    ("machines", "count", "told"),
    [
        ([(4, 0), (4, 0)], 9, "9 workers do not fit on this Ray, which has a CPU for each of 8 at most; ask for 8 or fewer"),
        ([(96, 8), (64, 0)], 9, "a CPU and a GPU for each of 8 at most; ask for 8"),
        ([(0, 0)], None, "start it with CPUs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_does(machines: list[Machine], count: int | None, told: str) -> None:
    with pytest.raises(ScaleError, match=told):
        placed(machines, count)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nothing_listens_is_told_at_once(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = form.format(free.getsockname()[1])
    with pytest.raises(ScaleError, match=r"refused.*RAY_AUTH_MODE=token"):
        connect(address)  # Ray itself would end the process after 200 seconds
