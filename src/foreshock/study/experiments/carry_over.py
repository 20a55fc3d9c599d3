"""Is a story's emotion still read on neutral text that comes after it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from foreshock.activations import Span, Spanned
from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import auroc
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.readout import readings_at
from foreshock.study.nulls import against, bootstrap, corrected_p, generator, shuffled_within
from foreshock.study.subject import Subject
from foreshock.texts import Passage
from foreshock.vectors.estimation import estimate, numbered

SENTENCES = (
    "The timetable hangs beside the door, and the second column lists the stops in order of their number.",
    "The box on the lower shelf holds twelve envelopes, a ruler and a roll of brown paper tape.",
    "Water boils at a lower temperature in the mountains than it does at the coast.",
)
"""Each story is followed by each of these, a paragraph of its own."""
GAP = "\n\n"
MOST_STORIES = 256
"""Of stories that were fitted, whole topics are read up to this many, or two topics."""
DRAWS = 1000
Values = Float[np.ndarray, "story emotion"]


@dataclass(frozen=True, slots=True)
class Stories:
    """Stories whose topic is unknown to the vectors that read them."""

    subject: Subject
    passages: list[Passage]
    rows: Int[np.ndarray, " story"]
    """Where they stand among the subject's fitted passages, or among its test passages if `fresh`."""
    emotion: Int[np.ndarray, " story"]
    topic: Int[np.ndarray, " story"]
    fresh: bool
    """Test stories on topics that were never fitted; else each topic is read by vectors of the other topics."""

    def read(self, residuals: Float[np.ndarray, "story hidden"], layer: int) -> Values:
        """Readings by vectors that never saw the story's topic."""
        subject = self.subject
        if self.fresh:
            return readings_at(subject, layer, residuals)
        means, basis = subject.means.at(layer), subject.basis(layer)
        scores = np.empty((len(residuals), len(subject.emotions)))
        for topic in np.unique(self.topic):
            train, test = subject.topic != topic, self.topic == topic
            fitted = estimate(means[train], subject.emotion[train], subject.topic[train], len(subject.emotions), subject.recipe, basis)  # fmt: skip
            scores[test] = fitted.read(residuals[test])
        return scores

    def own(self, layer: int) -> Float[np.ndarray, "story hidden"]:
        """Mean residuals over the stories themselves."""
        return (self.subject.test_means if self.fresh else self.subject.means).at(layer)[self.rows]


def chosen_stories(subject: Subject) -> Stories | None:
    """Test stories on topics of their own; where there are none, fitted stories of some topics."""
    fitted = {p.topic for p in subject.passages}
    rows = np.array([k for k, p in enumerate(subject.test_passages) if p.topic not in fitted], int)
    fresh = len({subject.test_passages[k].emotion for k in rows}) > 1
    if not fresh:
        if len(subject.topics) < 2:
            return None
        topics = max(2, MOST_STORIES * len(subject.topics) // len(subject.passages))
        rows = np.flatnonzero(subject.topic < topics)
    source = subject.test_passages if fresh else subject.passages
    passages = [source[k] for k in rows]
    emotion = numbered([p.emotion for p in passages], subject.emotions)[0]
    topic = numbered([p.topic for p in passages])[0] if fresh else subject.topic[rows]
    return Stories(subject, passages, rows, emotion, topic, fresh)


def run(subject: Subject) -> list[Finding]:
    """AUROC of the story's emotion on the neutral sentence after it."""
    stories = chosen_stories(subject)
    return [] if stories is None else [_carry_over(subject, stories)]


def _carry_over(subject: Subject, stories: Stories) -> Finding:
    layer = subject.reading_layer
    spanned = [_followed(subject, p.text, sentence) for sentence in SENTENCES for p in stories.passages]
    after = subject.read(spanned)

    def by_sentence(at: int) -> list[Values]:
        return [stories.read(part, at) for part in np.split(after.at(at), len(SENTENCES))]

    def on_sentences(at: int) -> Float[np.ndarray, " emotion"]:
        return np.asarray(np.mean([auroc(values, stories.emotion) for values in by_sentence(at)], axis=0))

    def on_stories(at: int) -> Float[np.ndarray, " emotion"]:
        return auroc(stories.read(stories.own(at), at), stories.emotion)

    here, tested = on_sentences(layer), np.unique(stories.emotion)
    each = here[tested]
    random = generator(subject.seed, "carry over")
    draws = _shuffled(np.mean([rankdata(values, axis=0) for values in by_sentence(layer)], axis=0), stories, random)
    words_alone = float(np.nanmean(on_stories(EMBEDDING)))
    value = float(each.mean())
    lines = {"neutral sentence after the story": on_sentences, "the story itself": on_stories}
    rows = [
        {"layer": at, "AUROC": float(np.nanmean(figure(at))), "series": name}
        for name, figure in lines.items()
        for at in subject.layers
    ]
    separate = [float(np.nanmean(auroc(values, stories.emotion))) for values in by_sentence(layer)]
    return Finding(
        id="carry-over",
        claim="A story's emotion is still read on neutral text after it",
        statistic=f"mean one-versus-rest AUROC over {len(tested)} emotions on the same sentence (chance 0.5)",
        estimate=value,
        interval=bootstrap(len(each), lambda picked: float(each[picked].mean()), random),
        null=against("emotions shuffled over stories within topics", value, np.nanmean(draws, axis=1).tolist()),
        published=None,
        worthwhile=0.65,
        how_to_read=(
            "Every story is followed by the same neutral sentence, and only the sentence's tokens are read; 0.5 means that nothing of the story's emotion is left on them. "
            "At layer -1 the sentence is the same for all stories, and what rises above 0.5 was carried there by the layers in between."
        ),
        baselines={
            "the same sentence in the model's embedding layer (the same by construction)": float(np.nanmean(on_sentences(EMBEDDING))),
            "the story's own words in the model's embedding layer": words_alone,
            "the story itself": float(np.nanmean(on_stories(layer))),
        },
        # A model that carries words onwards, and no emotion, would come up to this.
        floor=words_alone,
        notes=(
            f"{len(stories.passages)} stories, {_known(stories)}.",
            "The sentences, one by one: " + ", ".join(f"{figure:.2f}" for figure in separate) + ".",
        ),
        table=_table(subject, here, draws, tested),
        charts=(_by_layer(rows, layer),),
    )  # fmt: skip


def _followed(subject: Subject, story: str, sentence: str) -> Spanned:
    """The story and the sentence, with the span of the sentence's tokens."""
    tokens = subject.model.encode(story + GAP + sentence)
    begin = len(story + GAP)
    # Tokens that reach back into the story or the gap would tell the story's last letters.
    first = next(k for k, (start, end) in enumerate(tokens.spans) if start >= begin and end > start)
    last = max(k for k, (start, end) in enumerate(tokens.spans) if end > start)
    span: Span = (first, last + 1)
    return tokens, [span]


def _shuffled(ranks: Values, stories: Stories, random: np.random.Generator) -> Float[np.ndarray, "draw emotion"]:
    """AUROC of every emotion with the emotions shuffled over stories; the mean rank over sentences serves them all."""
    count = ranks.shape[1]
    hits = np.bincount(stories.emotion, minlength=count)
    draws = np.empty((DRAWS, count))
    with np.errstate(invalid="ignore"):
        for draw in range(DRAWS):
            labels = shuffled_within(stories.emotion, stories.topic, random)
            total = np.bincount(labels, ranks[np.arange(len(labels)), labels], count)
            draws[draw] = (total - hits * (hits + 1) / 2) / (hits * (len(labels) - hits))
    return draws


def _table(
    subject: Subject, here: Float[np.ndarray, " emotion"], draws: np.ndarray, tested: np.ndarray
) -> tuple[dict[str, Any], ...]:
    p = [float((1 + (draws[:, k] >= here[k]).sum()) / (1 + len(draws))) for k in tested]
    rows: list[dict[str, Any]] = [
        {"emotion": subject.emotions[k], "AUROC": float(here[k]), "p": chance, "q": q}
        for k, chance, q in zip(tested, p, corrected_p(p), strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: -float(row["AUROC"])))


def _known(stories: Stories) -> str:
    if stories.fresh:
        return f"on {len(np.unique(stories.topic))} topics that took no part in fitting"
    return "each read by vectors fitted without its topic"


def _by_layer(rows: list[dict[str, Any]], layer: int) -> Chart:
    caption = "AUROC of the story's emotion by layer (-1: the embeddings)"
    return charts.lines("carry-over", caption, rows, "layer", "AUROC", "series", layer)
