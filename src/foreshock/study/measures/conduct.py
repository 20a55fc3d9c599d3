"""What every direction does to every kind of conduct: slopes of propensities, beside what nothing does.

The slopes of all directions come from one gradient an item (see `behaviour.propensity`), so the null may have thousands
of random directions. An effect is shown in their standard deviations: 1 is what a random direction of the same length
does, in either sense. What a direction does to the same replies without their situation is taste in words, so the effect
that counts is the difference of the two, item by item: the *excess*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from foreshock.behaviour.propensity import BARE, CONTROLS, Slopes, as_tree, slopes
from foreshock.study.measures.steering_range import choose_range
from foreshock.study.nulls import generator, shuffled_within
from foreshock.study.subject import Arrays, Subject
from foreshock.texts.schema import PropensityItem
from foreshock.vectors.estimation import estimate, unit

RANDOM = 4000
"""Random directions: the finest p-value of a single cell is 1 in 4,001."""
CHUNK = 24
"""Items whose gradients are kept together: what a kill can cost."""
LEAST = 8
"""Fewer items than this are no basis for a family's interval."""
Part = Literal["excess", "situated", "bare"]
"""What is done in the situation beyond what is done to the bare replies; the first of the two; the second."""
Directions = Float[np.ndarray, "direction hidden"]
Table = Float[np.ndarray, "direction family"]


@dataclass(frozen=True)
class Conduct:
    """The slopes of all items at the steering layer, and the directions they are multiplied with."""

    subject: Subject
    layer: int
    items: Sequence[PropensityItem]
    situated: Slopes
    bare: Slopes
    """The same replies without their situation."""

    @cached_property
    def families(self) -> list[str]:
        """Kinds of conduct in the order of the items, the controls last."""
        met = dict.fromkeys(item.family for item in self.items)
        return [f for f in met if f not in CONTROLS] + [f for f in met if f in CONTROLS]

    @cached_property
    def behaviours(self) -> list[int]:
        """Numbers of the families that are no controls."""
        return [k for k, family in enumerate(self.families) if family not in CONTROLS]

    @cached_property
    def family(self) -> Int[np.ndarray, " item"]:
        """Number of each item's family."""
        return np.array([self.families.index(item.family) for item in self.items])

    @cached_property
    def unit(self) -> float:
        """Length of a write of strength 1."""
        return self.subject.norm_at(self.layer)

    @cached_property
    def emotions(self) -> Directions:
        """Unit vectors of the emotions."""
        return unit(self.subject.fitted.at(self.layer))

    @cached_property
    def random(self) -> Directions:
        """Random unit directions, denoised like the vectors."""
        return self.subject.random_directions(self.layer, RANDOM, "conduct")

    def shuffled(self, draws: int) -> Iterator[Directions]:
        """Unit vectors fitted to the same stories with their emotions shuffled within topics, set by set."""
        subject, random = self.subject, generator(self.subject.seed, "conduct, shuffled")
        means, basis = subject.means.at(self.layer), subject.basis(self.layer)
        for _ in range(draws):
            labels = shuffled_within(subject.emotion, subject.topic, random)
            fitted = estimate(means, labels, subject.topic, len(subject.emotions), subject.recipe, basis)
            yield unit(fitted.directions)

    def alike(self, draws: int) -> Iterator[Directions]:
        """Unit vectors that are as alike as the emotions' and otherwise random, set by set.

        The emotions' own mixing weights are applied to random directions in the place of what they mix.
        """
        random = generator(self.subject.seed, "conduct, alike")
        u, size, _ = np.linalg.svd(self.emotions, full_matrices=False)
        for _ in range(draws):
            rows = random.choice(len(self.random), len(size), replace=len(size) > len(self.random))
            yield unit(u * size @ self.random[rows])

    def slopes(self, directions: Directions, part: Part = "excess") -> Float[np.ndarray, "direction item"]:
        """Change of each item's propensity (nats a token) for strength 1 along each direction."""
        situated, bare = self.situated.gradient, self.bare.gradient
        gradient = {"excess": situated - bare, "situated": situated, "bare": bare}[part]
        return directions @ gradient.T * self.unit

    @cached_property
    def membership(self) -> Float[np.ndarray, "item family"]:
        """Turns values of items into means of families."""
        member = self.family[:, None] == np.arange(len(self.families))
        return member / member.sum(0)

    @cached_property
    def spreads(self) -> dict[Part, Float[np.ndarray, " family"]]:
        """Standard deviation over random directions of a family's mean slope: an effect of 1."""
        return {part: (self.slopes(self.random, part) @ self.membership).std(0) for part in get_args(Part)}

    def effects(self, directions: Directions, part: Part = "excess") -> Table:
        """Mean slope over each family's items, in standard deviations of random directions."""
        return self.slopes(directions, part) @ self.membership / self.spreads[part]

    def resampled(self, random: np.random.Generator) -> Float[np.ndarray, "item family"]:
        """A `membership` in which each family's items were drawn anew with replacement."""
        weights = np.zeros_like(self.membership)
        for number in range(len(self.families)):
            own = np.flatnonzero(self.family == number)
            np.add.at(weights[:, number], random.choice(own, len(own)), 1 / len(own))
        return weights


def conduct_of(subject: Subject) -> Conduct | None:
    """The slopes of the library's propensity items; None where no family has enough of them."""
    count = {item.family: 0 for item in subject.library.propensity}
    for item in subject.library.propensity:
        count[item.family] += 1
    items = [item for item in subject.library.propensity if count[item.family] >= LEAST]
    if not items:
        return None
    layer = choose_range(subject).layer
    tree = as_tree(subject.model, items, layer)

    def kept(bare: bool) -> Slopes:
        parts = [_chunk(subject, items[k : k + CHUNK], layer, tree, bare) for k in range(0, len(items), CHUNK)]
        return Slopes(*(np.concatenate([part[name] for part in parts]) for name in ("propensity", "gradient")))

    return Conduct(subject, layer, items, kept(False), kept(True))


def _chunk(subject: Subject, items: Sequence[PropensityItem], layer: int, tree: bool, bare: bool) -> Arrays:
    def compute() -> Arrays:
        found = slopes(subject.model, items, layer, tree=tree, bare=bare, progress=subject.progress)
        return {"propensity": found.propensity, "gradient": found.gradient}

    told = [turn.model_dump() for turn in BARE] if bare else None
    return subject.kept("propensity", [layer, tree, told, [item.model_dump() for item in items]], compute)
