"""Are readings local? The user's last word, the token before the reply, the reply itself, and later neutral text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import auroc
from foreshock.study.experiments import carry_over
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.messages import PLACES, Messages, Place
from foreshock.study.measures.places import Compared, Halves, compared, crosswise
from foreshock.study.measures.readout import Values, correlations, readings_at, standardised
from foreshock.study.nulls import against, bootstrap, corrected_p, generator, random_directions
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DRAWS = 1000
FEWEST = 8
"""Messages, of at least `FEWEST_EMOTIONS` emotions."""
FEWEST_EMOTIONS = 4
RANDOM = 200
"""Random directions that a claim is shown beside."""
SHOWN = 3
"""Emotions named in a cell of the table."""
ENDS: tuple[Place, Place] = ("last word", "before the reply")
"""The two places that are compared."""


def run(subject: Subject) -> list[Finding]:
    """The user's last word against the token before the reply; what that token predicts; what later text keeps."""
    messages, found = Messages(subject), []
    enough = len(messages.labels) >= FEWEST and len(set(messages.labels)) >= FEWEST_EMOTIONS
    if enough and len(subject.topics) > 1:
        if messages.same.any():
            found.append(_user_vs_reply(subject, messages))
        if len(messages.answered) >= FEWEST:
            found.append(_predicts_reply(subject, messages))
    return [*found, *carry_over.run(subject)]


def _user_vs_reply(subject: Subject, messages: Messages) -> Finding:
    layer = subject.reading_layer
    random = generator(subject.seed, "user and reply")

    def pair(at: int, directions: Halves | None = None) -> Compared:
        word, before = (messages.at(place, at) for place in ENDS)
        return compared(word, before, directions or messages.halves(at), messages.same)

    here = pair(layer)
    value = here.gap()
    labels = np.unique(messages.labels, return_inverse=True)[1]
    anywhere = _random(subject, layer, random)
    raw = {at: float(np.mean(_raw(subject, messages, at))) for at in subject.layers if at != EMBEDDING}
    rows = [{"layer": at, "r": r, "series": "as published"} for at, r in raw.items()]
    for at in raw:
        there = pair(at)
        if not there.silent:
            rows.append({"layer": at, "r": 1 - there.gap(), "series": "corrected for noise"})
    return Finding(
        id="user-vs-reply",
        claim="Other emotions are operative before the reply than at the user's last word",
        statistic="1 - correlation of the two places, corrected for unreliability (0: the same emotions, 1: unrelated)",
        estimate=value,
        interval=here.interval(labels, random),
        null=against("the two places of a message swapped at random", value, here.swapped(DRAWS, random)),
        published="r = 0.11, uncorrected",
        worthwhile=0.5,
        how_to_read=(
            "A message's readings at its last word and before the reply are compared over messages: a correlation near 1 means that the same emotions are read at both places. "
            "The corrected line counts only what comes back in other messages of the same emotion and with vectors from other topics, so that noise cannot pass for a difference."
        ),
        baselines={
            "correlation of the two places, as published": raw[layer],
            "random directions, same statistic": pair(layer, [(anywhere, anywhere)]).gap(),
        },
        notes=(
            f"What comes back in another message of the same emotion: correlation {here.kept[0]:.2f} at the last word, "
            f"{here.kept[1]:.2f} before the reply, {here.crossed:.2f} from one place to the other.",
            *(("One of the places says nothing that comes back, so that there is nothing to compare.",) if here.silent else ()),
            *_own_emotion(subject, messages),
        ),
        table=_profiles(subject, messages),
        charts=(_lines("user-vs-reply", "Correlation of readings at the user's last word with those before the reply, by layer", rows, layer),),
    )  # fmt: skip


def _raw(subject: Subject, messages: Messages, layer: int) -> Float[np.ndarray, " emotion"]:
    """Correlation over messages of each emotion's readings at the two places, as the paper took it."""
    word, before = (readings_at(subject, layer, messages.at(place, layer)) for place in ENDS)
    return correlations(word, before)


def _random(subject: Subject, layer: int, random: np.random.Generator) -> Float[np.ndarray, "direction hidden"]:
    """Random directions in the span of the stories' activations, denoised as the vectors are."""
    drawn, basis = random_directions(subject.means.at(layer), RANDOM, random), subject.basis(layer)
    return unit(drawn - (drawn @ basis.T) @ basis)


def _own_emotion(subject: Subject, messages: Messages) -> tuple[str, ...]:
    """How well either place tells the message's own emotion."""
    known = [k for k, word in enumerate(messages.labels) if word in subject.emotions]
    emotion = np.array([subject.emotions.index(messages.labels[k]) for k in known], int)
    if len(set(emotion.tolist())) < 2:
        return ()

    def figure(place: Place, layer: int) -> float:
        return float(np.nanmean(auroc(readings_at(subject, layer, messages.at(place, layer)[known]), emotion)))

    word, before = (figure(place, subject.reading_layer) for place in ENDS)
    return (
        f"AUROC of the message's own emotion: {word:.2f} at the last word, {before:.2f} before the reply; "
        f"of its words in the embedding layer {figure('words', EMBEDDING):.2f}.",
    )


def _profiles(subject: Subject, messages: Messages) -> tuple[dict[str, Any], ...]:
    """For the messages of each emotion, what reads highest at the two places beside all messages."""
    labels, layer = np.array(messages.labels), subject.reading_layer
    values = {place: standardised(readings_at(subject, layer, messages.at(place, layer))) for place in ENDS}

    def highest(profile: Float[np.ndarray, " emotion"]) -> str:
        top = np.argsort(-profile)[:SHOWN]
        return ", ".join(f"{subject.emotions[k]} {profile[k]:+.1f}" for k in top)

    return tuple(
        {"message's emotion": str(word)} | {place: highest(v[labels == word].mean(0)) for place, v in values.items()}
        for word in dict.fromkeys(messages.labels)
    )


def _predicts_reply(subject: Subject, messages: Messages) -> Finding:
    layer, rows = subject.reading_layer, messages.answered
    random = generator(subject.seed, "predicts reply")

    def read(place: Place, at: int) -> tuple[Values, Values]:
        """Readings at a place and of the replies, each with the vectors of the other half of the topics."""
        return crosswise(messages.at(place, at)[rows], messages.reply(at), messages.halves(at))

    def whole(place: Place, at: int) -> float:
        return float(correlations(*read(place, at)).mean())

    before, reply = read("before the reply", layer)
    each = _by_emotion(subject, correlations(before, reply))
    value = float(each.mean())
    ready, answers = standardised(before), standardised(reply)
    shuffled = np.array(
        [_by_emotion(subject, (ready * answers[random.permutation(len(rows))]).mean(0)) for _ in range(DRAWS)]
    )
    from_word = _by_emotion(subject, correlations(*read("last word", layer)))
    lexical = whole("words", EMBEDDING)
    p = [float((1 + (draws >= r).sum()) / (1 + DRAWS)) for draws, r in zip(shuffled.T, each, strict=True)]
    table = [
        {"emotion": e, "before the reply": float(r), "last word": float(w), "p": chance, "q": q}
        for e, r, w, chance, q in zip(subject.emotions, each, from_word, p, corrected_p(p), strict=True)
    ]
    return Finding(
        id="predicts-reply",
        claim="The reading before the reply predicts the readings of the reply",
        statistic=f"correlation with the mean over the reply's own tokens, over {len(rows)} messages, either side read with vectors from other topics; mean over emotions",
        estimate=value,
        interval=bootstrap(len(rows), lambda k: float(correlations(before[k], reply[k]).mean()), random),
        null=against("replies shuffled over messages", value, shuffled.mean(1).tolist()),
        published="r = 0.87 (user's last token: 0.59)",
        worthwhile=0.5,
        how_to_read=(
            "The model writes its own reply to each message; 1 means that an emotion reads the higher in the reply, the higher it read at the token before. "
            "The other lines read the user's last word and the mean over the message: what stands there already before the assistant's turn."
        ),
        baselines={
            "the same vectors on both sides, as published": _same_vectors(subject, messages, "before the reply"),
            "the same at the user's last word, as published": _same_vectors(subject, messages, "last word"),
            "random directions, the same on both sides": _along_random(subject, messages, random),
            "the user's last word": float(from_word.mean()),
            "the words of message and reply, in the model's embedding layer": lexical,
        },
        floor=lexical,
        notes=(
            _beyond_the_word(read("last word", layer)[0], before, reply, random),
            f"First reply: “{_short(messages.replies[rows[0]])}”",
        ),
        table=tuple(sorted(table, key=lambda row: -float(row["before the reply"]))),
        charts=(_prediction_by_layer(subject, whole),),
    )  # fmt: skip


def _by_emotion(subject: Subject, columns: Float[np.ndarray, " column"]) -> Float[np.ndarray, " emotion"]:
    """Mean over the halvings of figures of `crosswise` readings."""
    return np.asarray(columns.reshape(-1, len(subject.emotions)).mean(0))


def _same_vectors(subject: Subject, messages: Messages, place: Place) -> float:
    layer, rows = subject.reading_layer, messages.answered
    there, reply = (readings_at(subject, layer, x) for x in (messages.at(place, layer)[rows], messages.reply(layer)))
    return float(correlations(there, reply).mean())


def _along_random(subject: Subject, messages: Messages, random: np.random.Generator) -> float:
    """What directions that mean nothing in particular find of the place before the reply in the reply."""
    layer, rows = subject.reading_layer, messages.answered
    directions = _random(subject, layer, random).T
    before = messages.at("before the reply", layer)[rows]
    return float(correlations(before @ directions, messages.reply(layer) @ directions).mean())


def _beyond_the_word(word: Values, before: Values, reply: Values, random: np.random.Generator) -> str:
    """What the place before the reply adds to the user's last word."""

    def more(rows: np.ndarray) -> float:
        return float((correlations(before[rows], reply[rows]) - correlations(word[rows], reply[rows])).mean())

    low, high = bootstrap(len(word), more, random)
    difference = more(np.arange(len(word)))
    return f"Before the reply less at the user's last word: {difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}."


def _prediction_by_layer(subject: Subject, figure: Callable[[Place, int], float]) -> Chart:
    names = ("user's last word", "before the reply", "all of the message")
    rows = [
        {"layer": layer, "r": figure(place, layer), "series": name}
        for name, place in zip(names, PLACES, strict=True)
        for layer in subject.layers
    ]
    caption = "Correlation with the reply's readings, by layer (-1: the embeddings)"
    return _lines("predicts-reply", caption, rows, subject.reading_layer)


def _lines(name: str, caption: str, rows: list[dict[str, Any]], layer: int) -> Chart:
    return charts.lines(name, caption, rows, "layer", "r", "series", layer)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:119] + "…"
