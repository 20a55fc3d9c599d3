"""Two models of one family, base and fine-tune or two checkpoints: where their profiles differ (see `foreshock.profile`).

The same vectors read the same tokens on both. An emotion's *effect* is its mean shift in standard deviations of its reading
over the prompts on the first model. For each kind of prompts the claim is that the profile has moved: the root mean square of
the effects. It has two nulls. *Signs*: within each prompt the two models change places at random, so only a difference that
prompts share is left over. *Random directions*: sets of directions with the activations' covariance, denoised, of unit length
and on average as alike as the emotions' are; a fine-tune moves the stream everywhere, and a profile has moved only if it moved
further than such a set does. Effects, not lengths, are compared with theirs, as the directions along which prompts differ
most also move furthest. The verdict is taken against the harder of the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.errors import WrongModel
from foreshock.profile import NEUTRAL, Profile
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding, corrected
from foreshock.study.nulls import against, beside, bootstrap, corrected_p, generator, harder
from foreshock.vectors import EmotionVectors
from foreshock.vectors.estimation import unit

DRAWS = 1000
WORTHWHILE = 0.2
"""What is commonly called a small effect (Cohen 1988)."""
LEAST = 0.01
"""Smallest spread over prompts that effects are measured in, in standard deviations of stories."""
SHOWN = 24
"""Emotions in the chart: those that moved furthest."""
PUBLISHED = "Claude Sonnet 4.5 after post-training: brooding, gloomy, reflective up; playful, exuberant, spiteful, enthusiastic down"
Effects = Float[np.ndarray, "prompt emotion"]


def compare(first: Profile, second: Profile, vectors: EmotionVectors, seed: int = 0) -> list[Finding]:
    """How the second model's profile differs from the first's: a finding for each kind of prompts.

    Raises:
        WrongModel: the profiles are of other layers or prompts, or of models that cut the prompts otherwise.
    """
    sizes = [{kind: rows.shape for kind, rows in one.residuals.items()} for one in (first, second)]
    if sizes[0] != sizes[1] or first.layer != second.layer or first.pieces != second.pieces:
        raise WrongModel("The two profiles are not of the same prompts, tokens and layer; read both the same way.")
    return corrected([_finding(first, second, vectors, kind, seed) for kind in first.residuals])


def _finding(first: Profile, second: Profile, vectors: EmotionVectors, kind: str, seed: int) -> Finding:
    moved = second.residuals[kind].astype(np.float64) - first.residuals[kind]
    before, after = first.readings(vectors, kind).mean(0), second.readings(vectors, kind).mean(0)
    W, pool = vectors.readout(first.layer).W, _centred(first)
    effects = moved @ W.T / np.maximum((pool @ W.T).std(0), LEAST)
    random = generator(seed, f"compare {kind}")
    value = _size(effects.mean(0))
    signs = random.choice([-1.0, 1.0], (DRAWS, len(effects))) @ effects / len(effects)
    sets = _random_effects(pool, vectors, first.layer, moved.mean(0), random)
    null, other = harder(
        against("the two models exchanged within prompts at random", value, [_size(row) for row in signs]),
        against("random directions, as alike as the emotions'", value, [_size(row) for row in sets]),
    )
    rows = _table(vectors.emotions, before, after, effects, signs, sets, random)
    names = f"{first.model['name']} → {second.model['name']}"
    return Finding(
        id=f"profile-{kind}",
        claim=f"The profile before replies to {kind} prompts has moved",
        statistic=f"root mean square effect over {len(vectors)} emotions and {len(effects)} prompts, in standard deviations over prompts",
        estimate=value,
        interval=bootstrap(len(effects), lambda drawn: _size(effects[drawn].mean(0)), random),
        null=null,
        published=PUBLISHED,
        worthwhile=WORTHWHILE,
        how_to_read=(
            f"An effect is the reading on {second.model['name']} less that on {first.model['name']}, of the same tokens by the same vectors, over "
            "how much prompts differ; to the right it rose. Grey: the middle 95 % of random directions; an emotion inside has moved no further than anything else."
        ),
        baselines={"random directions": float(np.mean([_size(row) for row in sets]))},
        notes=(_furthest(rows), beside(other), _cannot(vectors, first, second)),
        table=tuple(rows),
        charts=(_chart(kind, names, rows, sets),),
    )  # fmt: skip


def _size(effects: Float[np.ndarray, " emotion"]) -> float:
    return float(np.sqrt(np.mean(np.square(effects))))


def _centred(profile: Profile) -> Float[np.ndarray, "prompt hidden"]:
    """How prompts differ within their kinds."""
    return np.concatenate([rows.astype(np.float64) - rows.mean(0) for rows in profile.residuals.values()])


def _random_effects(
    pool: Float[np.ndarray, "prompt hidden"],
    vectors: EmotionVectors,
    layer: int,
    moved: Float[np.ndarray, " hidden"],
    random: np.random.Generator,
) -> Float[np.ndarray, "draw emotion"]:
    """What sets of random directions make of the mean movement.

    Random mixtures of how prompts differ; the mixing makes the directions of a set as alike, on average, as the emotions'
    are, since the mean square of many that are much alike is less certain than that of as many apart.
    """
    k = vectors.layers.index(layer)
    source = pool - pool @ vectors.neutral[k].T @ vectors.neutral[k]
    own = unit(vectors.directions[k])
    sizes, axes = np.linalg.eigh(own @ own.T)
    alike, scale = axes * np.sqrt(np.maximum(sizes, 0.0)), 1 / vectors.spread[k]
    drawn = np.empty((DRAWS, len(own)))
    for draw in range(DRAWS):
        directions = unit(alike @ (random.standard_normal((len(own), len(source))) @ source)) * scale[:, None]
        drawn[draw] = directions @ moved / np.maximum((pool @ directions.T).std(0), LEAST)
    return drawn


def _table(
    emotions: tuple[str, ...],
    before: Float[np.ndarray, " emotion"],
    after: Float[np.ndarray, " emotion"],
    effects: Effects,
    signs: Float[np.ndarray, "draw emotion"],
    sets: Float[np.ndarray, "draw emotion"],
    random: np.random.Generator,
) -> list[dict[str, Any]]:
    """A row an emotion, the furthest moved first: readings, effect with its interval over prompts, both p-values."""
    mean, count = effects.mean(0), len(effects)
    low, high = np.quantile(
        random.multinomial(count, np.full(count, 1 / count), DRAWS) @ effects / count, [0.025, 0.975], axis=0
    )
    p_signs, p_sets = ((1 + (np.abs(draws) >= np.abs(mean)).sum(0)) / (1 + DRAWS) for draws in (signs, sets))
    q = corrected_p(np.maximum(p_signs, p_sets).tolist())
    rows = [
        {
            "emotion": word,
            "first": float(before[k]),
            "second": float(after[k]),
            "shift": float(after[k] - before[k]),
            "effect": float(mean[k]),
            "from": float(low[k]),
            "to": float(high[k]),
            "p signs": float(p_signs[k]),
            "p random directions": float(p_sets[k]),
            "q": q[k],
        }
        for k, word in enumerate(emotions)
    ]
    return sorted(rows, key=lambda row: -abs(row["effect"]))


def _furthest(rows: list[dict[str, Any]]) -> str:
    up = [f"*{row['emotion']}* {row['effect']:+.2f}" for row in rows if row["effect"] > 0][:6]
    down = [f"*{row['emotion']}* {row['effect']:+.2f}" for row in rows if row["effect"] < 0][:6]
    clear = sum(row["q"] <= 0.05 for row in rows)
    return (
        f"Furthest up: {', '.join(up) or 'none'}. Furthest down: {', '.join(down) or 'none'}. "
        f"{clear} of {len(rows)} emotions moved further than both nulls allow (q ≤ 0.05, Benjamini-Hochberg over the emotions)."
    )


def _cannot(vectors: EmotionVectors, first: Profile, second: Profile) -> str:
    made_on = vectors.manifest.get("model", {})
    whose = made_on.get("name", "another model")
    for one, which in ((first, "the first"), (second, "the second")):
        if made_on.get("fingerprint") == one.model["fingerprint"]:
            whose = f"{which} model"
    return (
        f"The vectors are of {whose}. An effect says how far the stream has moved along them; it does not say whether the other "
        "model still represents an emotion along the same direction, nor what it does with it."
    )


def _chart(kind: str, names: str, rows: list[dict[str, Any]], sets: Float[np.ndarray, "draw emotion"]) -> Chart:
    low, high = np.quantile(sets, [0.025, 0.975])
    what = "neutral prompts" if kind == NEUTRAL else f"{kind} prompts"
    caption = f"Effect before replies to {what}, with 95 % intervals over prompts: {names}"
    shown = sorted(rows[:SHOWN], key=lambda row: -row["effect"])
    return charts.ranges(f"profile-{kind}", caption, shown, "effect", "emotion", (float(low), float(high)))
