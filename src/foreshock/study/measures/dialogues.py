"""Dialogues as plain text whose turns know their tokens, and the turns as rows with two emotions each.

Both experiments on dialogues (`speakers`, `deflection`) cross two emotions: the present speaker's and the silent
one's, or the felt and the shown. Here are what they share: layout, rows by dialogue, and what words alone hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from foreshock.activations import Span, SpanMeans
from foreshock.emotions import in_cluster_order
from foreshock.errors import TextError
from foreshock.model import EMBEDDING, LanguageModel, Tokens
from foreshock.study.nulls import shuffled_within
from foreshock.study.subject import Subject

LABELS = ("A", "B")
"""Neutral names of the two speakers; the same plain form for every model, with or without a chat template."""
OWN, SO_FAR, BEFORE = "words of the turn", "all words so far", "words before the turn"
"""What the embedding layer is averaged over: three bags of words that attention without any skill could carry."""


def laid_out(model: LanguageModel, turns: Sequence[str], situation: str = "") -> tuple[Tokens, list[Span]]:
    """A dialogue as paragraphs `A: …`, `B: …`, after a situation if there is one.

    Returns:
        The tokens, and the span of the situation's words (if any) and of each turn's, without its label.

    Raises:
        TextError: a turn has no token of its own; TooLong: beyond the model's context.
    """
    text, places = situation, [(0, len(situation))] if situation else []
    for number, turn in enumerate(turns):
        text += ("\n\n" if text else "") + f"{LABELS[number % 2]}: "
        places.append((len(text), len(text) + len(turn)))
        text += turn
    tokens = model.encode(text)
    return tokens, [_span(tokens, start, end) for start, end in places]


def _span(tokens: Tokens, start: int, end: int) -> Span:
    """The tokens whose first letter stands in a range of characters (some tokens begin with the space before)."""
    own = []
    for number, (first, last) in enumerate(tokens.spans):
        piece = tokens.text[first:last]
        letter = first + len(piece) - len(piece.lstrip())
        if last > first and start <= letter < end:
            own.append(number)
    if not own:
        raise TextError(f"A turn has no token of its own ({tokens.text[start:end][:40]!r}); give it at least one word.")
    return own[0], own[-1] + 1


@dataclass(frozen=True)
class Turns:
    """Turns as rows. Each dialogue has two emotions; `column` says which of them is to be read on a turn."""

    subject: Subject
    emotions: list[str]
    """The emotions of the dialogues in cluster order, whether they are studied or not."""
    pair: Int[np.ndarray, "dialogue 2"]
    """The two emotions of each dialogue."""
    dialogue: Int[np.ndarray, " turn"]
    column: Int[np.ndarray, " turn"]
    fold: Int[np.ndarray, " dialogue"]
    """Dialogues are held out together; shuffling stays inside a fold."""
    means: SpanMeans
    span: Int[np.ndarray, " turn"]
    """Where the turn stands among the spans."""
    first: Int[np.ndarray, " turn"]
    """Where the first span of its dialogue stands; from there to the turn all words are spans in order."""

    @property
    def own(self) -> Int[np.ndarray, " turn"]:
        """The emotion to be read."""
        return self.pair[self.dialogue, self.column]

    @property
    def beside(self) -> Int[np.ndarray, " turn"]:
        """The other emotion of the dialogue."""
        return self.pair[self.dialogue, 1 - self.column]

    def swapped(self) -> Turns:
        """The same turns, of which the other emotion is to be read."""
        return replace(self, column=1 - self.column)

    def shuffled(self, random: np.random.Generator) -> Int[np.ndarray, " turn"]:
        """Emotions to be read taken from another dialogue each; the other emotion stays true."""
        other = shuffled_within(np.arange(len(self.pair)), self.fold, random)
        return self.pair[other[self.dialogue], self.column]

    def rows(self, dialogues: Int[np.ndarray, " sample"]) -> Int[np.ndarray, " row"]:
        """All turns of the given dialogues, repeated as they are."""
        order = np.argsort(self.dialogue, kind="stable")
        starts = np.searchsorted(self.dialogue[order], np.arange(len(self.pair) + 1))
        return np.concatenate([order[starts[d] : starts[d + 1]] for d in dialogues])

    def at(self, layer: int) -> Float[np.ndarray, "turn hidden"]:
        """Denoised span means of the turns, centred."""
        return denoised(self.subject, layer, self.means.at(layer)[self.span])

    def bags(self) -> dict[str, Float[np.ndarray, "turn hidden"]]:
        """Mean word embeddings of the turn, of everything up to its end, and of everything before it.

        A model with random weights blends earlier words into a turn, so these three bound what it could hold.
        """
        counts = np.concatenate([[0], np.cumsum(self.means.tokens)])
        words = self.means.at(EMBEDDING).astype(np.float64) * self.means.tokens[:, None]
        sums = np.concatenate([np.zeros((1, words.shape[1])), np.cumsum(words, 0)])

        def mean(start: np.ndarray, end: np.ndarray) -> np.ndarray:
            held = (sums[end] - sums[start]) / (counts[end] - counts[start])[:, None]
            return denoised(self.subject, EMBEDDING, held.astype(np.float32))

        return {
            OWN: self.at(EMBEDDING),
            SO_FAR: mean(self.first, self.span + 1),
            BEFORE: mean(self.first, self.span),
        }


def denoised(
    subject: Subject, layer: int, residuals: Float[np.ndarray, "row hidden"]
) -> Float[np.ndarray, "row hidden"]:
    """Centred rows with the components of neutral dialogues projected out, as the story vectors have them."""
    basis = subject.fitted.neutral[subject.fitted.layers.index(layer)]
    centred = residuals - residuals.mean(0)
    return np.asarray(centred - (centred @ basis.T) @ basis, np.float32)


def numbered_pairs(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], Int[np.ndarray, "dialogue 2"]]:
    """The emotions that occur, in cluster order, and each pair as their numbers."""
    emotions = in_cluster_order({word for pair in pairs for word in pair})
    place = {word: number for number, word in enumerate(emotions)}
    return emotions, np.array([[place[word] for word in pair] for pair in pairs], np.int64)
