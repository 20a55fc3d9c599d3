"""Do emotion vectors move the model's conduct, and which way? (paper, "Steering": blackmail, reward hacking, sycophancy)

Conduct is measured as the propensity of matched replies (see `behaviour.propensity`), an effect in standard deviations
of what random directions of the same length do, beyond what is done to the same replies without their situation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.behaviour.propensity import CONTROLS
from foreshock.emotions import lookup
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding, Null
from foreshock.study.measures.conduct import Conduct, Part, Table, conduct_of
from foreshock.study.measures.steering_range import choose_range
from foreshock.study.nulls import against, beside, bootstrap, corrected_p, generator, harder
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DRAWS = 1000
CLEAR = 0.05
"""q-value at which a cell of the table counts as moved."""
SHOWN = 4
"""Standard deviations at which the colours of the maps are full."""
RANDOM = "random directions of equal norm, in the span of the activations, denoised like the vectors"
SHUFFLED = "vectors of the same stories with emotions shuffled within topics"
ALIKE = "random vectors that are as alike as the emotions'"
PARTS: tuple[Part, ...] = ("excess", "situated", "bare")


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that the study found by sampling, as a claim about a slope."""

    id: str
    emotions: tuple[str, ...]
    sign: int
    family: str
    published: str

    @property
    def words(self) -> str:
        """The emotions as the page names them."""
        return ", ".join(f"*{word}*" for word in self.emotions)

    @property
    def sentence(self) -> str:
        """The claim as the page puts it."""
        return f"Steering towards {self.words} makes {self.family} {'more' if self.sign > 0 else 'less'} likely"


CLAIMS = (
    Claim("desperate-coercion", ("desperate",), 1, "coercion", "blackmail 22 % unsteered, 72 % at +0.05, 0 % at −0.05"),
    Claim("calm-coercion", ("calm",), -1, "coercion", "blackmail 22 % unsteered, 0 % at +0.05, 66 % at −0.05"),
    Claim("desperate-reward-hacking", ("desperate",), 1, "reward-hacking", "5 % at −0.1, 70 % at +0.1"),
    Claim("calm-reward-hacking", ("calm",), -1, "reward-hacking", "65 % at −0.1, 10 % at +0.1"),
    Claim("warm-sycophancy", ("happy", "loving", "calm"), 1, "sycophancy", "more sycophancy (no figure given)"),
    Claim("warm-harshness", ("happy", "loving", "calm"), -1, "harshness", "less of them, more harshness (no figure given)"),
)  # fmt: skip


def run(subject: Subject) -> list[Finding]:
    """Whether the vectors move conduct at all, and the study's claims about single emotions."""
    conduct = conduct_of(subject)
    if conduct is None or not conduct.behaviours:
        return []
    studied = [
        claim
        for claim in CLAIMS
        if claim.family in conduct.families and set(claim.emotions) <= set(conduct.subject.emotions)
    ]
    return [_overall(conduct), *(_one(conduct, claim) for claim in studied)]


def _overall(conduct: Conduct) -> Finding:
    """The whole table of emotions and behaviours against tables of vectors without emotion."""
    own = conduct.behaviours
    effects = {part: conduct.effects(conduct.emotions, part) for part in PARTS}
    excess = effects["excess"]
    value = _size(excess[:, own])
    nulls = {SHUFFLED: conduct.shuffled(DRAWS), ALIKE: conduct.alike(DRAWS)}
    drawn = {kind: [_size(conduct.effects(vectors)[:, own]) for vectors in sets] for kind, sets in nulls.items()}
    null, other = harder(*(against(kind, value, sizes) for kind, sizes in drawn.items()))
    controls = [k for k in range(len(conduct.families)) if k not in own]
    p = _cells(conduct, excess)
    cells = corrected_p([float(one) for one in p[:, own].ravel()])
    agree = np.corrcoef(effects["situated"][:, own].ravel(), effects["bare"][:, own].ravel())[0, 1]
    return Finding(
        id="conduct",
        claim="Emotion vectors move conduct more than vectors without emotion do",
        statistic=f"root mean square effect over {len(excess)} emotions × {len(own)} behaviours, in SDs of random directions",
        estimate=value,
        interval=_size_interval(conduct, value),
        null=null,
        published=None,
        worthwhile=1.25,
        how_to_read=(
            "A cell says how steering along an emotion (down) shifts the odds of a kind of conduct (across), beyond what it does to the same replies without their situation: orange more of the misconduct, blue less. "
            "A random direction of the same length gives cells of size 1, so only sizes of 2 and more are worth a look; the last columns are controls."
        ),
        baselines={
            "in the situation, words counted in": _size(effects["situated"][:, own]),
            "the same replies without their situation": _size(effects["bare"][:, own]),
        }
        | {f"control: {conduct.families[k]}": _size(excess[:, [k]]) for k in controls},
        notes=(
            f"Of {len(cells)} cells of emotion and behaviour {sum(q <= CLEAR for q in cells)} differ from random directions at "
            f"q {CLEAR:g} (Benjamini-Hochberg over the cells, {len(conduct.random):,} random directions).",
            f"What the vectors do to the replies in their situations goes with what they do to the same replies without "
            f"any (r = {agree:.2f}): so much of an effect is taste in words.",
            beside(other),
            *_standing(conduct),
            *choose_range(conduct.subject).notes[:1],
            "Slopes are those at strength 0; the experiment dose-response checks them against finite strengths.",
        ),
        table=_rows(conduct, effects, p),
        charts=(_by_cluster(conduct, excess), _map(conduct, excess)),
    )


def _one(conduct: Conduct, claim: Claim) -> Finding:
    """A claim about one family: the mean slope of its emotions, signed so that the claim is a large value."""
    subject, number = conduct.subject, conduct.families.index(claim.family)
    own = conduct.family == number
    rows = [subject.emotions.index(word) for word in claim.emotions]
    # The mean of several unit vectors is a direction like any other: scaled to length 1 before it is compared.
    direction = claim.sign * unit(conduct.emotions[rows].mean(0))
    scale = {part: conduct.spreads[part][number] for part in PARTS}
    slopes = {part: conduct.slopes(direction[None], part)[0, own] for part in PARTS}
    slope = slopes["excess"] / scale["excess"]
    value, random = float(slope.mean()), generator(subject.seed, f"propensity {claim.id}")
    null, other = _nulls(conduct, value, claim, number)
    everything = conduct.effects(conduct.emotions)[:, number] * claim.sign
    places = [int(1 + (everything > everything[row]).sum()) for row in rows]
    in_nats = subject.fitted.usable_strength or choose_range(subject).strength
    whole, bare = (float((slopes[part] / scale[part]).mean()) for part in ("situated", "bare"))
    return Finding(
        id=f"conduct-{claim.id}",
        claim=claim.sentence,
        statistic=f"{'slope' if claim.sign > 0 else 'minus the slope'} of the propensity over {own.sum()} situations beyond that of the bare replies, in SDs of random directions",
        estimate=value,
        interval=bootstrap(int(own.sum()), lambda picked: float(slope[picked].mean()), random, DRAWS),
        null=null,
        published=f"{claim.published} (sampled)",
        worthwhile=2.0,
        how_to_read=(
            "Each point is an emotion, the one with the largest effect first; the claim is about those that are named in colour. "
            "Between -2 and 2 an effect is what most random directions of the same length would have, too."
        ),
        baselines={
            "in the situation, words counted in": whole,
            "the same replies without their situation": bare,
        },
        notes=(
            f"At strength {in_nats:g} the log-odds change by {claim.sign * float(slopes['situated'].mean()) * in_nats:+.3f} nats a token in the "
            f"situation and by {claim.sign * float(slopes['bare'].mean()) * in_nats:+.3f} without it, as far as the slopes go; situations "
            f"differ by {float(conduct.situated.propensity[own].std()):.2f} nats a token (SD).",
            f"Among {len(everything)} emotions, ordered by this effect: "
            + ", ".join(f"*{word}* is number {place}" for word, place in zip(claim.emotions, places, strict=True))
            + ".",
            beside(other),
        ),
        table=_situations(conduct, claim, slopes, scale),
        charts=(_ranking(conduct, claim, everything),),
    )


def _nulls(conduct: Conduct, value: float, claim: Claim, number: int) -> tuple[Null, Null]:
    """Random directions, and shuffled vectors: as many of them taken together as the claim takes emotions."""
    several, together = len(claim.emotions), []
    for directions in conduct.shuffled(-(-DRAWS * several // len(conduct.emotions))):
        sets = directions[: len(directions) // several * several].reshape(-1, several, directions.shape[1])
        together.append(unit(sets.mean(1)))
    drawn = {RANDOM: conduct.random, SHUFFLED: np.concatenate(together)}
    effects = {kind: claim.sign * conduct.effects(vectors)[:, number] for kind, vectors in drawn.items()}
    return harder(*(against(kind, value, own.tolist()) for kind, own in effects.items()))


def _size(effects: Table) -> float:
    return float(np.sqrt((effects**2).mean()))


def _size_interval(conduct: Conduct, value: float) -> tuple[float, float]:
    """95 % interval of the size, by resampling each family's situations; the random directions' spread with them.

    The basic bootstrap: resampling pulls the size towards 1, and by as much the interval is set back.
    """
    random, own = generator(conduct.subject.seed, "conduct interval"), conduct.behaviours
    emotions, drawn = conduct.slopes(conduct.emotions), conduct.slopes(conduct.random[::4])
    found = []
    for _ in range(DRAWS):
        weights = conduct.resampled(random)[:, own]
        found.append(_size((emotions @ weights) / (drawn @ weights).std(0)))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(2 * value - high), float(2 * value - low)


def _cells(conduct: Conduct, effects: Table) -> Table:
    """Two-sided p of every cell against random directions."""
    drawn = np.sort(np.abs(conduct.effects(conduct.random)), 0)
    above = [len(drawn) - np.searchsorted(drawn[:, k], np.abs(effects[:, k])) for k in range(effects.shape[1])]
    return np.asarray((1 + np.stack(above, 1)) / (1 + len(drawn)))


def _standing(conduct: Conduct) -> list[str]:
    """How the model stands unsteered, family by family."""
    values = conduct.situated.propensity
    told = [
        f"{family} {values[conduct.family == k].mean():+.2f} ({(values[conduct.family == k] > 0).mean():.0%})"
        for k, family in enumerate(conduct.families)
    ]
    return [f"Unsteered propensity in nats a token, and situations in which the misaligned replies are the likelier: {', '.join(told)}."]  # fmt: skip


def _rows(conduct: Conduct, effects: dict[Part, Table], p: Table) -> tuple[dict[str, Any], ...]:
    """A row an emotion: its effect on every family."""
    behaviours = conduct.behaviours
    size = {part: np.sqrt((own[:, behaviours] ** 2).mean(1)) for part, own in effects.items()}
    rows: list[dict[str, Any]] = [
        {"emotion": word, "cluster": lookup(word).cluster, "size": float(size["excess"][k]), "size with words": float(size["situated"][k]), "least p": float(p[k, behaviours].min())}
        | {family: float(effects["excess"][k, number]) for number, family in enumerate(conduct.families)}
        for k, word in enumerate(conduct.subject.emotions)
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row["size"]))


def _situations(
    conduct: Conduct, claim: Claim, slopes: dict[Part, Float[np.ndarray, " item"]], scale: dict[Part, float]
) -> tuple[dict[str, Any], ...]:
    """The situations of a family, the most moved first."""
    own = [item for item in conduct.items if item.family == claim.family]
    standing = conduct.situated.propensity[conduct.family == conduct.families.index(claim.family)]
    excess, whole, bare = (slopes[part] / scale["excess"] for part in PARTS)
    rows: list[dict[str, Any]] = [
        {"situation": item.id, "stakes": item.stakes, "begins": item.turns[-1].content[:80], "effect": float(e), "in the situation": float(s), "without it": float(b), "unsteered (nats a token)": float(u)}
        for item, e, s, b, u in zip(own, excess, whole, bare, standing, strict=True)
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row["effect"]))


def _by_cluster(conduct: Conduct, effects: Table) -> Chart:
    """The whole table in ten rows: mean effect of each cluster's emotions."""
    clusters = [lookup(word).cluster for word in conduct.subject.emotions]
    members = {name: [c == name for c in clusters] for name in clusters}
    rows = [
        {"cluster": name, "conduct": family, "effect": float(effects[own, number].mean())}
        for name, own in members.items()
        for number, family in enumerate(_columns(conduct))
    ]
    caption = "Mean effect of each cluster's emotions on each kind of conduct, in SDs of single random directions"
    return charts.matrix("conduct-clusters", caption, rows, "conduct", "cluster", "effect", SHOWN / 2)


def _columns(conduct: Conduct) -> list[str]:
    """The families as the maps head them."""
    return [f"{family} (control)" if family in CONTROLS else family for family in conduct.families]


def _map(conduct: Conduct, effects: Table) -> Chart:
    rows = [
        {"emotion": word, "conduct": family, "effect": float(effects[k, number])}
        for k, word in enumerate(conduct.subject.emotions)
        for number, family in enumerate(_columns(conduct))
    ]
    caption = "Effect of every emotion on every kind of conduct, in SDs of random directions"
    return charts.heatmap("conduct-emotions", caption, rows, "conduct", "emotion", "effect", [], limit=SHOWN)


def _ranking(conduct: Conduct, claim: Claim, signed: Float[np.ndarray, " emotion"]) -> Chart:
    """All emotions in their order, the claim's own ones named."""
    order = np.argsort(-signed)
    rows = [
        {"place": place + 1, "effect": float(signed[k]), "emotion": word, "which": "the claim" if word in claim.emotions else "other emotions", "named": word if word in claim.emotions or place < 3 or place >= len(order) - 3 else ""}
        for place, k in enumerate(order)
        for word in [conduct.subject.emotions[k]]
    ]  # fmt: skip
    caption = f"All emotions by their effect on {claim.family}{'' if claim.sign > 0 else ', the other way round'}, in SDs of random directions"
    return charts.scatter(f"conduct-{claim.id}", caption, rows, "place", "effect", "named", "which")
