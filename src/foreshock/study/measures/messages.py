"""Single messages to the assistant: residuals at the user's last word and before the reply, and the reply itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from foreshock.activations import Spanned
from foreshock.errors import TextError
from foreshock.model import EMBEDDING, Tokens
from foreshock.model.generation import generate
from foreshock.study.measures.before_reply import LAST_TOKEN, LAST_WORD, OWN_WORDS, ReadMessages, read_messages
from foreshock.study.measures.places import Halves, halves
from foreshock.study.nulls import generator
from foreshock.study.subject import Arrays, Subject
from foreshock.texts import Turn

MOST_TOKENS = 40
"""Length of a reply, which the model writes itself, taking the likeliest token each time."""
SPLITS = 4
"""Random halvings of the topics."""
SPLITS_BY_LAYER = 2
"""The same at layers that are only charted."""
Place = Literal["last word", "before the reply", "words"]
PLACES: dict[Place, str] = {"last word": LAST_WORD, "before the reply": LAST_TOKEN, "words": OWN_WORDS}
Residuals = Float[np.ndarray, "message hidden"]


@dataclass(frozen=True)
class Messages:
    """The library's scenarios, a user turn each, up to where the reply would begin."""

    subject: Subject
    _halves: dict[int, Halves] = field(default_factory=dict, repr=False)

    @cached_property
    def labels(self) -> list[str]:
        """The emotion that each message makes operative."""
        return [scenario.emotion for scenario in self.subject.library.scenarios]

    @cached_property
    def same(self) -> Bool[np.ndarray, "message message"]:
        """Pairs of different messages of one emotion."""
        code = np.unique(self.labels, return_inverse=True)[1]
        return np.asarray((code[:, None] == code) & ~np.eye(len(code), dtype=bool))

    def halves(self, layer: int) -> Halves:
        """Directions from random halves of the topics: `SPLITS` halvings at the reading layer and the embeddings."""
        if layer not in self._halves:
            many = layer in (EMBEDDING, self.subject.reading_layer)
            random = generator(self.subject.seed, f"halves at {layer}")
            self._halves[layer] = halves(self.subject, layer, SPLITS if many else SPLITS_BY_LAYER, random)
        return self._halves[layer]

    @cached_property
    def prompts(self) -> list[Tokens]:
        """Tokens of each message, up to where the reply would begin."""
        return [self.subject.model.encode_transcript([turn], reply=True) for turn in self._turns]

    @cached_property
    def _turns(self) -> list[Turn]:
        return [Turn(role="user", content=scenario.text) for scenario in self.subject.library.scenarios]

    @cached_property
    def _read(self) -> ReadMessages:
        return read_messages(self.subject, [scenario.text for scenario in self.subject.library.scenarios])

    def at(self, place: Place, layer: int) -> Residuals:
        """Residuals at a place after a layer: at one token, or the mean over the message's own words."""
        return self._read.at(PLACES[place], layer)

    @cached_property
    def replies(self) -> list[str]:
        """What the model itself writes after each message."""
        made_by = [[tokens.ids for tokens in self.prompts], MOST_TOKENS]
        return _unpacked(self.subject.kept("replies", made_by, self._write))

    def _write(self) -> Arrays:
        texts = [text.encode() for text in generate(self.subject.model, self.prompts, MOST_TOKENS)]
        return {"utf8": np.array([*b"".join(texts)], np.uint8), "lengths": np.array([len(text) for text in texts])}

    @cached_property
    def _answered(self) -> list[tuple[int, Spanned]]:
        """Number of each message that has a reply, with the conversation and the span of the reply's own tokens."""
        found: list[tuple[int, Spanned]] = []
        for number, (turn, reply) in enumerate(zip(self._turns, self.replies, strict=True)):
            if not reply.strip():
                continue
            try:
                tokens = self.subject.model.encode_transcript([turn, Turn(role="assistant", content=reply)])
            except TextError:  # the chat template rewrites this reply (a stray end mark, a block of reasoning)
                continue
            last = max(tokens.turns)
            own = [k for k, mine in enumerate(tokens.content) if mine and tokens.turns[k] == last]
            if own:
                found.append((number, (tokens, [(own[0], own[-1] + 1)])))
        return found

    @property
    def answered(self) -> list[int]:
        """Numbers of the messages that have a reply to read."""
        return [number for number, _ in self._answered]

    def reply(self, layer: int) -> Residuals:
        """Mean residual over each reply's own tokens after a layer, a row for each of `answered`."""
        return self.subject.read([spanned for _, spanned in self._answered]).at(layer)


def _unpacked(kept: Arrays) -> list[str]:
    ends = np.cumsum(kept["lengths"])
    whole = kept["utf8"].tobytes()
    return [whole[end - length : end].decode() for end, length in zip(ends, kept["lengths"], strict=True)]
