"""Work on a corpus block by block: here, or by workers that hold the same model.

Whoever reads a corpus says what is done with one block, and gets the results as they come. So one code path serves one
process and many machines, and the batches within a block, and with them the numbers, are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from foreshock.model.language_model import LanguageModel

Block = TypeVar("Block")
Result = TypeVar("Result")
Tell = Callable[..., None]
"""What a work tells on the way (progress, complaints): heard at once here, and once its block is done from a worker."""
Work = Callable[["LanguageModel", Block, Tell], Result]
"""What is done with one block. It must not depend on other blocks, and must be a function that can be sent: at the top
of a module, with `functools.partial` for what it needs to know."""


class Workers(Protocol):
    """Processes that hold the model, such as `foreshock.scale.workers.RayWorkers`."""

    def each(
        self, work: Work[Block, Result], blocks: Iterable[tuple[int, Block]], tell: Tell
    ) -> Iterator[tuple[int, Result]]:
        """The result of each block with the block's number, in the order in which they are done."""


def silent(*_: object) -> None:
    """Hears nothing."""


def in_order(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """Results in the order of their blocks, which are numbered from 0."""
    early: dict[int, Result] = {}
    wanted = 0
    for number, result in results:
        early[number] = result
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1
