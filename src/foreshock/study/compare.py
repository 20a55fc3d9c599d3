"""Two models of one family, base and fine-tune or two checkpoints: where their profiles differ (see `foreshock.profile`).

The same vectors read the same tokens on both. An emotion's *effect* is its mean shift in standard deviations of its reading
over the prompts on the first model. For each kind of prompts the claim is that the profile has moved: the root mean square of
the effects. Any change of weights, noise too, moves the stream and so moves it along the emotions; three nulls say how
far, and the verdict is taken against the hardest.

*Signs*: within each prompt the two models change places at random, so only a difference that prompts share is left over.

*Movements*: the same change of weights also moves the stream otherwise from prompt to prompt. Random mixtures of these
movements, as long as the shared one, show where this change moves a stream to, whatever its content; the emotions and the
measure stay as they are. Without this null stirred models pass for moved ones: blocks write a little more along emotions
than along directions that resemble them (docs/decisions.md). It is strict, as what a fine-tune has taught for some prompts
only counts as chance.

*Reflections*: the emotions, as one rigid figure, are reflected: each principal axis of how prompts differ is turned around
or not, by the toss of a coin. That keeps every emotion's length, its spread over prompts, its cosines and correlations with
every other, and how much of the movement lies on each axis; only which way the movement goes on each axis relative to the
emotions is left to chance. Random directions of another spread would not do, since an effect is divided by it. Keeping a
spectrum and drawing the signs is what surrogate data do for time series and Moran spectral randomization for maps (Theiler
et al. 1992; Wagner and Dray 2015). Off the axes, where prompts of this sample do not differ, the figure is turned at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.errors import WrongModel
from foreshock.profile import NEUTRAL, Profile
from foreshock.study import charts
from foreshock.study.finding import ALPHA, Chart, Finding, Null, corrected
from foreshock.study.nulls import against, bootstrap, corrected_p, generator
from foreshock.vectors import EmotionVectors
from foreshock.vectors.estimation import unit

DRAWS = 20_000
"""Of every null: the smallest p is 1 / 20,001, so that a single emotion among 171 can still stand out (q = 0.009)."""
RESAMPLES = 1000
WORTHWHILE = 0.2
"""What is commonly called a small effect (Cohen 1988)."""
LEAST = 0.01
"""Smallest spread over prompts that effects are measured in, in standard deviations of stories."""
TIED = 1e-5
"""A reflection that leaves an effect as it is, but for rounding, reaches it."""
SHOWN = 24
"""Emotions in the chart: those that moved furthest."""
SIGNS = "the two models exchanged within prompts at random"
MOVEMENTS = "movements of single prompts, mixed at random"
REFLECTIONS = "the emotions reflected at random in the axes of how prompts differ"
SHORT = {SIGNS: "signs", MOVEMENTS: "movements", REFLECTIONS: "reflections"}
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
    steps = {one: second.residuals[one].astype(np.float64) - rows for one, rows in first.residuals.items()}
    before, after = first.readings(vectors, kind).mean(0), second.readings(vectors, kind).mean(0)
    W, pool, moved = vectors.readout(first.layer).W, _centred(first.residuals), steps[kind].mean(0)
    effects = steps[kind] @ W.T / np.maximum((pool @ W.T).std(0), LEAST)
    random = generator(seed, f"compare {kind}")
    value = float(_size(effects.mean(0)))
    draws = {
        SIGNS: random.choice([-1.0, 1.0], (DRAWS, len(effects))) @ effects / len(effects),
        MOVEMENTS: mixed_effects(pool, vectors, first.layer, moved, _centred(steps), random),
        REFLECTIONS: reflected_effects(pool, vectors, first.layer, moved, random),
    }
    nulls = [against(how, value, _size(drawn).tolist()) for how, drawn in draws.items()]
    null, *others = sorted(nulls, key=lambda one: (one.p, one.upper), reverse=True)
    rows = _table(vectors.emotions, before, after, effects, draws, random)
    names = f"{first.model['name']} → {second.model['name']}"
    return Finding(
        id=f"profile-{kind}",
        claim=f"The profile before replies to {kind} prompts has moved",
        statistic=f"root mean square effect over {len(vectors)} emotions and {len(effects)} prompts, in standard deviations over prompts",
        estimate=value,
        interval=bootstrap(len(effects), lambda drawn: float(_size(effects[drawn].mean(0))), random),
        null=null,
        published=PUBLISHED,
        worthwhile=WORTHWHILE,
        how_to_read=(
            f"An effect is the reading on {second.model['name']} less that on {first.model['name']}, of the same tokens by the same vectors, over "
            "how much prompts differ; to the right it rose. Grey: 95 % of what chance makes of it, by the widest null; an emotion inside has not moved of its own, and one in twenty lies outside by chance."
        ),
        baselines={SHORT[how]: float(_size(drawn).mean()) for how, drawn in draws.items() if how != SIGNS},
        notes=(_furthest(rows), _beside(others), _cannot(vectors, first, second)),
        table=tuple(rows),
        charts=(_chart(kind, names, rows),),
    )  # fmt: skip


def _size(effects: Float[np.ndarray, "*draw emotion"]) -> Float[np.ndarray, "*draw"]:
    return np.asarray(np.sqrt(np.mean(np.square(effects), -1)))


def _centred(kinds: Mapping[str, Float[np.ndarray, "prompt hidden"]]) -> Float[np.ndarray, "prompt hidden"]:
    """How prompts, or their movements, differ within their kinds."""
    return np.concatenate([rows.astype(np.float64) - rows.mean(0, dtype=np.float64) for rows in kinds.values()])


def mixed_effects(
    pool: Float[np.ndarray, "prompt hidden"],
    vectors: EmotionVectors,
    layer: int,
    moved: Float[np.ndarray, " hidden"],
    specific: Float[np.ndarray, "prompt hidden"],
    random: np.random.Generator,
) -> Float[np.ndarray, "draw emotion"]:
    """What random mixtures of the prompts' own movements, as long as the shared one, come to along the emotions.

    Args:
        pool: how prompts differ on the first model.
        moved: the movement that prompts share.
        specific: what each prompt's movement has beyond it.
    """
    own, neutral, spread = _figure(pool, vectors, layer)
    moved, specific = (rows - rows @ neutral.T @ neutral for rows in (moved, specific))
    weights = random.standard_normal((DRAWS, len(specific)))
    lengths = np.sqrt(np.maximum(((weights @ (specific @ specific.T)) * weights).sum(1), 0.0))
    drawn = weights @ (specific @ own.T / spread)
    return np.asarray(drawn * (np.linalg.norm(moved) / np.maximum(lengths, 1e-12))[:, None])


def reflected_effects(
    pool: Float[np.ndarray, "prompt hidden"],
    vectors: EmotionVectors,
    layer: int,
    moved: Float[np.ndarray, " hidden"],
    random: np.random.Generator,
) -> Float[np.ndarray, "draw emotion"]:
    """What the mean movement comes to along the emotions reflected at random; see the module's docstring.

    The axes are those of the space that the emotions lie in, without the neutral dialogues' components. Reflecting the emotions or the
    movement gives the same products; the movement is cheaper.
    """
    own, neutral, spread = _figure(pool, vectors, layer)
    source, moved = (rows - rows @ neutral.T @ neutral for rows in (pool, moved))
    _, sizes, axes = np.linalg.svd(source, full_matrices=False)
    axes = axes[sizes > 1e-9 * max(sizes[0], 1e-9)]
    on, rest = own @ axes.T, moved - moved @ axes.T @ axes
    drawn = random.choice([-1.0, 1.0], (DRAWS, len(axes))) @ (on * (axes @ moved)).T
    # Off the axes: the emotions' parts there, turned at random, meet what is left of the movement.
    others = max(own.shape[1] - len(neutral) - len(axes), 1)
    roots, spans = np.linalg.eigh(own @ own.T - on @ on.T)
    mixed = random.standard_normal((DRAWS, len(own))) @ (spans * np.sqrt(np.maximum(roots, 0.0))).T
    drawn += mixed * np.linalg.norm(rest) / np.sqrt(others)
    return np.asarray((1 + TIED) * drawn / spread)


def _figure(
    pool: Float[np.ndarray, "prompt hidden"], vectors: EmotionVectors, layer: int
) -> tuple[Float[np.ndarray, "emotion hidden"], Float[np.ndarray, "component hidden"], Float[np.ndarray, " emotion"]]:
    """The emotions' unit directions, the neutral components that these lack, and what effects are measured in."""
    k = vectors.layers.index(layer)
    own = unit(vectors.directions[k].astype(np.float64))
    return own, vectors.neutral[k].astype(np.float64), np.maximum((pool @ own.T).std(0), LEAST * vectors.spread[k])


def _table(
    emotions: tuple[str, ...],
    before: Float[np.ndarray, " emotion"],
    after: Float[np.ndarray, " emotion"],
    effects: Effects,
    draws: dict[str, Float[np.ndarray, "draw emotion"]],
    random: np.random.Generator,
) -> list[dict[str, Any]]:
    """A row an emotion, the furthest moved first: readings, effect with its interval over prompts, a p-value a null.

    `by chance`: 95 % of an emotion's draws move less far, up or down, under each null.
    """
    mean, count = effects.mean(0), len(effects)
    resampled = random.multinomial(count, np.full(count, 1 / count), RESAMPLES) @ effects / count
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    p = {how: (1 + (np.abs(drawn) >= np.abs(mean)).sum(0)) / (1 + DRAWS) for how, drawn in draws.items()}
    chance = np.max([np.quantile(np.abs(drawn), 0.95, axis=0) for drawn in draws.values()], axis=0)
    q = corrected_p(np.max(list(p.values()), axis=0).tolist())
    rows = [
        {
            "emotion": word,
            "first": float(before[k]),
            "second": float(after[k]),
            "shift": float(after[k] - before[k]),
            "effect": float(mean[k]),
            "from": float(low[k]),
            "to": float(high[k]),
            "by chance": float(chance[k]),
            **{f"p {short}": float(p[how][k]) for how, short in SHORT.items()},
            "q": q[k],
        }
        for k, word in enumerate(emotions)
    ]
    return sorted(rows, key=lambda row: -abs(row["effect"]))


def _furthest(rows: list[dict[str, Any]]) -> str:
    up = [f"*{row['emotion']}* {row['effect']:+.2f}" for row in rows if row["effect"] > 0][:6]
    down = [f"*{row['emotion']}* {row['effect']:+.2f}" for row in rows if row["effect"] < 0][:6]
    clear = sum(row["q"] <= ALPHA for row in rows)
    return (
        f"Furthest up: {', '.join(up) or 'none'}. Furthest down: {', '.join(down) or 'none'}. "
        f"{clear} of {len(rows)} emotions moved further than every null allows (q ≤ {ALPHA}, Benjamini-Hochberg over the emotions)."
    )


def _beside(others: list[Null]) -> str:
    """A note on the nulls that the verdict is not taken against."""
    told = [f"{one.kind} (mean {one.mean:.2f}, 99 % below {one.upper:.2f}, p = {one.p:.2g})" for one in others]
    return f"The verdict is taken against the hardest of three nulls; the others: {'; '.join(told)}."


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


def _chart(kind: str, names: str, rows: list[dict[str, Any]]) -> Chart:
    what = "neutral prompts" if kind == NEUTRAL else f"{kind} prompts"
    caption = f"Effect before replies to {what}, with 95 % intervals over prompts: {names}"
    shown = sorted(rows[:SHOWN], key=lambda row: -row["effect"])
    return charts.ranges(f"profile-{kind}", caption, shown, "effect", "emotion", "by chance")
