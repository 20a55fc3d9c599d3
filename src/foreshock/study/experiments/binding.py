"""Do readings follow what a sentence says about an emotion: that it is denied, and whose it is?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from foreshock.activations import Spanned
from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Finding
from foreshock.study.measures.readout import readings_at, standardised
from foreshock.study.nulls import against, bootstrap, generator
from foreshock.study.subject import Subject
from foreshock.texts.schema import Binding, Negation

FEWEST = 6
"""Items below which an experiment is left out."""
DRAWS = 2000
LAST = 4
"""Tokens at a sentence's end that are averaged."""
CONTINUATION = " Somebody who knows {name} was asked about this moment, and answered that {name} felt"
"""Appended to a scene; read at its last token, which is the same whoever is named."""
Where = Literal["end", "last tokens", "words"]
SPANS: tuple[Where, ...] = ("end", "last tokens", "words")
Item = Float[np.ndarray, " item"]


def run(subject: Subject) -> list[Finding]:
    """Negation of an emotion, and the emotion of the person that is asked after."""
    studied = set(subject.emotions)
    denials = [n for n in subject.library.negations if n.emotion in studied]
    scenes = [b for b in subject.library.bindings if {b.first.emotion, b.second.emotion} <= studied]
    found = [_negation(subject, denials)] if len(denials) >= FEWEST else []
    return [*found, *([_person(subject, scenes)] if len(scenes) >= FEWEST else [])]


def _spanned(subject: Subject, text: str) -> Spanned:
    """A text with the spans of `SPANS`."""
    tokens = subject.model.encode(text)
    own = [k for k, content in enumerate(tokens.content) if content]
    end = own[-1] + 1
    return tokens, [(end - 1, end), (own[-LAST:][0], end), (own[0], end)]


def _flipped(effects: Item, random: np.random.Generator) -> list[float]:
    """The mean effect with the two sides of each item swapped at random."""
    signs = random.choice([-1.0, 1.0], (DRAWS, len(effects)))
    return [float(draw) for draw in (signs * effects).mean(1)]


def _negation(subject: Subject, items: list[Negation]) -> Finding:
    layer = subject.reading_layer
    means = subject.read([_spanned(subject, text) for n in items for text in (n.affirmed, n.negated, n.neutral)])
    column = [subject.emotions.index(n.emotion) for n in items]

    def every(where: Where, at: int) -> Float[np.ndarray, "item kind emotion"]:
        """Each sentence's readings, in standard deviations over all sentences."""
        values = standardised(readings_at(subject, at, means.at(at)[SPANS.index(where) :: len(SPANS)]))
        return values.reshape(len(items), 3, -1)

    def own(where: Where, at: int) -> Float[np.ndarray, "item kind"]:
        """Each sentence's reading of its item's emotion."""
        return every(where, at)[np.arange(len(items)), :, column]

    def fall(where: Where, at: int) -> Item:
        affirmed, negated, _ = own(where, at).T
        return np.asarray(affirmed - negated)

    def rise(where: Where, at: int) -> Item:
        affirmed, _, neutral = own(where, at).T
        return np.asarray(affirmed - neutral)

    effects, random = fall("end", layer), generator(subject.seed, "negation")
    value, words_alone = float(effects.mean()), float(fall("words", EMBEDDING).mean())
    lines: dict[str, Callable[[int], Item]] = {
        "less negated, last token": lambda at: fall("end", at),
        "less neutral, last token": lambda at: rise("end", at),
        f"less negated, last {LAST} tokens": lambda at: fall("last tokens", at),
        f"less neutral, last {LAST} tokens": lambda at: rise("last tokens", at),
    }
    readings = own("end", layer)
    falls = every("end", layer)[:, 0] - every("end", layer)[:, 1]
    others = float(falls[np.arange(len(subject.emotions)) != np.array(column)[:, None]].mean())
    return Finding(
        id="negation",
        claim="A denied emotion reads lower at the end of its sentence than an affirmed one",
        statistic=f"affirmed less negated at the last token, in SD over sentences, mean over {len(items)} items",
        estimate=value,
        interval=bootstrap(len(items), lambda picked: float(effects[picked].mean()), random),
        null=against("affirmed and negated swapped at random", value, _flipped(effects, random)),
        published=None,
        worthwhile=0.5,
        how_to_read=(
            "Each item says one sentence twice, once affirming an emotion and once denying it; 0 means that the reading hears the emotion's word and not the denial. "
            "The lines of affirmed less neutral show how much there is to take back: where a denial counts in full, the two lines meet."
        ),
        baselines={
            "the sentence's words in the model's embedding layer": words_alone,
            f"last {LAST} tokens": float(fall("last tokens", layer).mean()),
            "the other emotions": others,
        },
        floor=words_alone,
        notes=tuple(
            _taken_back(name, fall(where, layer), rise(where, layer))
            for name, where in _named_spans().items()
        ),
        table=tuple(
            {"emotion": n.emotion, "affirmed": float(a), "negated": float(d), "neutral": float(z), "denied as": n.negated}
            for n, (a, d, z) in zip(items, readings, strict=True)
        ),
        charts=(
            _by_layer(subject, "negation-by-layer", "The emotion in the affirmed sentence less the negated and the neutral one, by layer", lines),
            _bars("negation", "Affirmed less negated at the last token", [f"{n.emotion} ({n.id[-2:]})" for n in items], effects),
        ),
    )  # fmt: skip


def _named_spans() -> dict[str, Where]:
    return {"the last token": "end", f"the last {LAST} tokens": "last tokens"}


def _taken_back(name: str, fall: Item, rise: Item) -> str:
    """How much of what affirming adds the denial takes back."""
    added = float(rise.mean())
    if added <= 0:
        return f"At {name} affirming an emotion adds nothing ({added:+.2f} SD), so there is nothing to take back."
    return (
        f"At {name} the denial takes back {float(fall.mean()) / added:.0%} of the {added:.2f} SD that affirming adds."
    )


def _person(subject: Subject, items: list[Binding]) -> Finding:
    layer = subject.reading_layer
    asked = [(b, name) for b in items for name in (b.ask_first, b.ask_second)]
    means = subject.read([_spanned(subject, b.text + CONTINUATION.format(name=name)) for b, name in asked])
    columns = np.array([[subject.emotions.index(p.emotion) for p in (b.first, b.second)] for b in items])

    def own(where: Where, at: int) -> Float[np.ndarray, "item asked person"]:
        """Readings of both people's emotions whoever is asked after, in standard deviations over all prompts."""
        values = standardised(readings_at(subject, at, means.at(at)[SPANS.index(where) :: len(SPANS)]))
        by_item = values.reshape(len(items), 2, -1)
        return np.take_along_axis(by_item, columns[:, None, :].repeat(2, axis=1), axis=2)

    def follows(where: Where, at: int) -> Item:
        """How much higher an emotion reads when its owner is asked after, mean over the two people."""
        values = own(where, at)
        return np.asarray((values[:, 0, 0] - values[:, 1, 0] + values[:, 1, 1] - values[:, 0, 1]) / 2)

    effects, random = follows("end", layer), generator(subject.seed, "person binding")
    value, words_alone = float(effects.mean()), float(follows("words", EMBEDDING).mean())
    readings = own("end", layer)
    lines: dict[str, Callable[[int], Item]] = {
        "owner named, less the other": lambda at: follows("end", at),
        "scene's emotions, less others": lambda at: own("end", at).mean((1, 2)),
    }
    return Finding(
        id="person-binding",
        claim="The reading follows the person that is asked after",
        statistic=f"emotion of the person asked after less the same when the other is, in SD over prompts, mean over {len(items)} scenes",
        estimate=value,
        interval=bootstrap(len(items), lambda picked: float(effects[picked].mean()), random),
        null=against("the person asked after swapped at random", value, _flipped(effects, random)),
        published=None,
        worthwhile=0.5,
        how_to_read=(
            "Two people in a scene have different emotions, and only the name in the last sentence differs; above 0 an emotion reads higher when its owner is named. "
            "The other line shows how far the scene lifts both its emotions whoever is named: where it is high and the first is near 0, the reading knows the scene and not whose emotion is whose."
        ),
        baselines={
            "the prompt's words in the model's embedding layer": words_alone,
            "either emotion of the scene, beside other scenes": float(readings.mean()),
        },
        floor=words_alone,
        notes=(
            f"{int((effects > 0).sum())} of {len(items)} scenes go the right way.",
            f"For the one told first {float((readings[:, 0, 0] - readings[:, 1, 0]).mean()):+.2f} SD, for the second {float((readings[:, 1, 1] - readings[:, 0, 1]).mean()):+.2f} SD.",
            f"Read after: “…{CONTINUATION.format(name='(name)').strip()}”.",
        ),
        table=tuple(
            {"scene": b.id, "first": f"{b.ask_first}, {b.first.emotion}", "second": f"{b.ask_second}, {b.second.emotion}", "effect": float(effect)}
            for b, effect in zip(items, effects, strict=True)
        ),
        charts=(
            _by_layer(subject, "person-binding-by-layer", "Does the reading follow the person? By layer (-1: the embeddings)", lines),
            _bars("person-binding", "Effect of asking after the emotion's owner", [f"{b.first.emotion}, {b.second.emotion} ({b.id[-2:]})" for b in items], effects),
        ),
    )  # fmt: skip


def _by_layer(subject: Subject, name: str, caption: str, lines: dict[str, Callable[[int], Item]]) -> Any:
    rows = [
        {"layer": layer, "SD": float(effects(layer).mean()), "series": series}
        for series, effects in lines.items()
        for layer in subject.layers
    ]
    return charts.lines(name, caption, rows, "layer", "SD", "series", subject.reading_layer)


def _bars(name: str, caption: str, labels: list[str], effects: Item) -> Any:
    rows = [{"item": label, "SD": float(effect)} for label, effect in zip(labels, effects, strict=True)]
    return charts.bars(name, caption, rows, "SD", "item", 0.0)
