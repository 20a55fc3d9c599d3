"""What steering does to conduct at the strengths that are used: doses of a few emotions, measured in full.

The propensity experiment takes slopes at strength 0; here the same situations are run again at each strength, so that
the slopes can be checked and bends be seen, with what each dose costs neutral text beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from foreshock.behaviour.propensity import as_tree, doses
from foreshock.model.continuation import Continuation
from foreshock.study import charts
from foreshock.study.experiments.propensity import CLAIMS
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.conduct import CHUNK, Conduct, conduct_of
from foreshock.study.measures.steering_range import COHERENT, choose_range, neutral_texts
from foreshock.study.nulls import against, bootstrap, corrected_p, correlation, generator
from foreshock.study.subject import Arrays, Subject
from foreshock.texts.schema import PropensityItem

DRAWS = 1000
CURVES = tuple(dict.fromkeys(claim.family for claim in CLAIMS))
"""Families whose curves are drawn, if the library has them; else all."""


@dataclass(frozen=True)
class Doses:
    """The change of every item's propensity at every dose, and what the doses cost."""

    conduct: Conduct
    emotions: tuple[str, ...]
    strengths: Float[np.ndarray, " strength"]
    """Without 0."""
    change: Float[np.ndarray, "emotion strength item"]
    """Against strength 0, in nats a token."""
    loss: Float[np.ndarray, "emotion strength"]
    """Nats a token by which neutral text becomes unlikelier."""

    @cached_property
    def coherent(self) -> Bool[np.ndarray, " strength"]:
        """Strengths at which no emotion costs more than `COHERENT`, nor at the same strength the other way.

        Where there are none, all: the slopes then tell nothing, and the finding says so.
        """
        sizes = np.abs(self.strengths)
        broken = sizes[(self.loss > COHERENT).any(0)]
        fine = np.asarray(sizes < (broken.min() if len(broken) else np.inf) - 1e-9)
        return fine if fine.any() else np.ones_like(fine)

    @property
    def holds_together(self) -> bool:
        """Whether any strength is coherent."""
        return bool((self.loss[:, self.coherent] <= COHERENT).all())

    @cached_property
    def slopes(self) -> Float[np.ndarray, "emotion item"]:
        """Least-squares slope of the change through 0, over the coherent strengths."""
        at = self.strengths[self.coherent]
        return np.asarray(np.einsum("s,esi->ei", at, self.change[:, self.coherent]) / (at**2).sum())

    @cached_property
    def predicted(self) -> Float[np.ndarray, "emotion item"]:
        """The slopes at strength 0, from the gradients."""
        rows = [self.conduct.subject.emotions.index(word) for word in self.emotions]
        return self.conduct.slopes(self.conduct.emotions[rows], "situated")


def run(subject: Subject) -> list[Finding]:
    """Whether slopes at strength 0 tell what finite doses do; curves and slopes of the dosed emotions."""
    emotions = tuple(word for word in subject.dosed if word in subject.emotions)
    conduct = conduct_of(subject) if emotions else None
    if conduct is None:
        return []
    found = _measured(conduct, emotions, np.array(subject.strengths))
    value = correlation(found.predicted.ravel(), found.slopes.ravel())
    random, count = generator(subject.seed, "dose response"), len(conduct.items)

    def agreement(picked: np.ndarray, beside: np.ndarray) -> float:
        return correlation(found.predicted[:, beside].ravel(), found.slopes[:, picked].ravel())

    everyone = np.arange(count)
    shuffled = [agreement(everyone, random.permutation(count)) for _ in range(DRAWS)]
    return [
        Finding(
            id="dose-response",
            claim="The slope at strength 0 tells what steering does at the strengths that are used",
            statistic=f"r of predicted and measured slopes over {len(emotions)} emotions × {count} situations",
            estimate=value,
            interval=bootstrap(count, lambda picked: agreement(picked, picked), random, DRAWS)
            if found.holds_together
            else None,
            null=against("predictions of other situations", value, shuffled),
            published=None,
            worthwhile=0.8,
            how_to_read=(
                "A curve is the mean change of the odds of misconduct by strength, its band the 95 % interval over situations; "
                "what lies in the grey fan is what 95 % of random directions of the same length would do."
            ),
            notes=_notes(found),
            table=_table(found),
            charts=(*_curves(found), _coherence(found)),
        )
    ]


def _measured(conduct: Conduct, emotions: tuple[str, ...], strengths: np.ndarray) -> Doses:
    subject, layer = conduct.subject, conduct.layer
    directions = conduct.emotions[[subject.emotions.index(word) for word in emotions]]
    writes = (strengths[None, :, None] * directions[:, None]).reshape(-1, directions.shape[1]) * conduct.unit
    writes = np.concatenate([np.zeros_like(writes[:1]), writes]).astype(np.float32)
    tree = as_tree(subject.model, conduct.items, layer)
    made_by = [layer, tree, emotions, strengths.tolist(), subject.vectors_hash]

    def part(items: Sequence[PropensityItem]) -> Arrays:
        return {"found": doses(subject.model, items, layer, writes, tree=tree, progress=subject.progress)}

    parts = []
    for start in range(0, len(conduct.items), CHUNK):
        items = conduct.items[start : start + CHUNK]
        told = [item.model_dump() for item in items]
        parts.append(subject.kept("doses", [*made_by, told], lambda items=items: part(items))["found"])  # type: ignore[misc]
    values = np.concatenate(parts).T
    change = (values[1:] - values[0]).reshape(len(emotions), len(strengths), -1)
    texts = neutral_texts(subject)
    losses = subject.kept("doses-loss", [*made_by, texts], lambda: {"loss": _loss(subject, texts, layer, writes)})[
        "loss"
    ]
    return Doses(conduct, emotions, strengths, change, losses.reshape(len(emotions), len(strengths)))


def _loss(
    subject: Subject, texts: Sequence[Sequence[int]], layer: int, writes: Float[np.ndarray, "row hidden"]
) -> Float[np.ndarray, " row"]:
    """Mean rise of the loss of neutral texts with each write; the first row is none."""
    rows = torch.from_numpy(writes)
    losses = np.mean([Continuation(subject.model, ids, layer).losses(rows, ids).cpu().numpy() for ids in texts], 0)
    return np.asarray(losses[1:] - losses[0])


def _notes(found: Doses) -> tuple[str, ...]:
    strengths, change = found.strengths, found.change
    each = {}
    for size in sorted({float(size) for size in np.abs(strengths)}):
        own = np.flatnonzero(np.isclose(np.abs(strengths), size))
        odd = np.mean([change[:, k] / strengths[k] for k in own], 0)
        each[size] = (correlation(found.predicted.ravel(), odd.ravel()), _ratio(found.predicted, odd))
    agree = "; ".join(f"{size:g}: r {r:.2f}, {ratio:.2f} of the predicted size" for size, (r, ratio) in each.items())
    fine = strengths[found.coherent]
    return (
        f"By strength, both ways taken together: {agree}.",
        f"Slopes are over strengths {fine.min():g} … {fine.max():g}, where no dosed emotion makes neutral text "
        f"unlikelier by more than {COHERENT:g} nats a token."
        if found.holds_together
        else f"At no strength does text hold together: neutral text is unlikelier by more than {COHERENT:g} nats a token at "
        "all of them. Slopes are over all strengths and tell nothing; take smaller ones.",
        *choose_range(found.conduct.subject).notes[:1],
    )


def _ratio(predicted: np.ndarray, measured: np.ndarray) -> float:
    return float((predicted * measured).sum() / max((predicted**2).sum(), 1e-12))


def _table(found: Doses) -> tuple[dict[str, Any], ...]:
    """A row an emotion and family: measured slope with its interval, and p against random directions."""
    conduct, subject = found.conduct, found.conduct.subject
    drawn = conduct.slopes(conduct.random, "situated") @ conduct.membership
    rows: list[dict[str, Any]] = []
    for e, word in enumerate(found.emotions):
        for number, family in enumerate(conduct.families):
            slope = found.slopes[e, conduct.family == number]
            random = generator(subject.seed, f"dose {word} {family}")
            low, high = bootstrap(len(slope), lambda picked, s=slope: float(s[picked].mean()), random, DRAWS)  # type: ignore[misc]
            mean = float(slope.mean())
            p = (1 + int((np.abs(drawn[:, number]) >= abs(mean)).sum())) / (1 + len(drawn))
            rows.append(
                {"emotion": word, "conduct": family, "slope (nats a token)": mean, "from": low, "to": high, "in SDs of random": mean / float(conduct.spreads["situated"][number]), "p": p}
            )  # fmt: skip
    for row, q in zip(rows, corrected_p([row["p"] for row in rows]), strict=True):
        row["q"] = q
    return tuple(rows)


def _curves(found: Doses) -> list[Chart]:
    conduct = found.conduct
    drawn = [k for k in conduct.behaviours if conduct.families[k] in CURVES] or conduct.behaviours
    facts = [k for k, family in enumerate(conduct.families) if family == "facts"]
    return [_curve(found, number) for number in (*drawn, *facts)]


def _curve(found: Doses, number: int) -> Chart:
    """Mean change of one family's propensity by strength, with bands over situations and over random directions."""
    conduct = found.conduct
    own = conduct.family == number
    order = np.argsort(found.strengths)
    rows: list[dict[str, Any]] = []
    for e, word in enumerate(found.emotions):
        points = [(float(found.strengths[k]), found.change[e, k, own]) for k in order] + [
            (0.0, np.zeros(int(own.sum())))
        ]
        for strength, change in sorted(points, key=lambda point: point[0]):
            half = 1.96 * float(change.std(ddof=1)) / np.sqrt(len(change))
            mean = float(change.mean())
            rows.append({"strength": strength, "nats a token": mean, "from": mean - half, "to": mean + half, "emotion": word})  # fmt: skip
    edge = float(np.quantile(np.abs(conduct.slopes(conduct.random, "situated") @ conduct.membership[:, number]), 0.95))
    ends = sorted({0.0, float(found.strengths.min()), float(found.strengths.max())})
    grey = [{"strength": s, "from": -edge * abs(s), "to": edge * abs(s)} for s in ends]
    family = conduct.families[number]
    caption = f"Change of the propensity to {family} by strength; grey: 95 % of random directions"
    return charts.banded(f"dose-{family}", caption, rows, "strength", "nats a token", "emotion", grey)


def _coherence(found: Doses) -> Chart:
    points = [
        sorted([(0.0, 0.0), *zip(found.strengths.tolist(), own.tolist(), strict=True)]) for own in found.loss
    ]  # fmt: skip
    rows = [
        {"strength": strength, "loss": loss, "emotion": word}
        for word, own in zip(found.emotions, points, strict=True)
        for strength, loss in own
    ]
    caption = f"What each dose costs neutral text, nats a token; coherent up to {COHERENT:g}"
    return charts.lines("dose-coherence", caption, rows, "strength", "loss", "emotion")
