"""What Inspect's entry point loads: importing this module registers the provider and the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock.behaviour.rollouts import needs_inspect

needs_inspect()

from inspect_ai.model import modelapi  # noqa: E402

from foreshock.behaviour.rollouts.agreement import grader_agreement  # noqa: E402
from foreshock.behaviour.rollouts.coding import coding  # noqa: E402
from foreshock.behaviour.rollouts.tasks import blackmail, harshness, keep_readings, sycophancy  # noqa: E402

if TYPE_CHECKING:
    from foreshock.behaviour.rollouts.provider import Foreshock

__all__ = ["blackmail", "coding", "foreshock", "grader_agreement", "harshness", "keep_readings", "sycophancy"]


@modelapi(name="foreshock")
def foreshock() -> type[Foreshock]:
    """The provider; torch is loaded only when a model of it is wanted."""
    from foreshock.behaviour.rollouts.provider import Foreshock

    return Foreshock
