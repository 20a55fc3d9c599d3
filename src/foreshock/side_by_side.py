"""One prompt, several steerings, and their replies side by side: what each does to the text, and what it costs.

for told in compare(model, vectors, "How was your day?", [Steering({"calm": s}, vectors) for s in (-0.1, 0.0, 0.1)]):
    print(told.steering.doses, told.loss, told.readings, told.text)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from foreshock.emotions import lookup
from foreshock.errors import SteeringError
from foreshock.model import LanguageModel, Tokens
from foreshock.model.branches import Branches, Reply
from foreshock.model.generation import generate
from foreshock.model.places import Characters
from foreshock.readings import read
from foreshock.steering import Steering
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors


@dataclass(frozen=True, slots=True)
class Told:
    """A reply that was written under one steering."""

    steering: Steering
    text: str
    loss: float | None
    """Mean negative log-likelihood of the reply's own words, in nats a token, under the model *without* steering, given
    the prompt. What the unsteered model writes itself is low; a text that falls apart is high, and so is a coherent one
    that it would not have chosen. A text that repeats itself is low too. None where the reply is empty."""
    readings: dict[str, float]
    """Mean reading of each steered emotion over the reply's own words at the reading layer, in standard deviations of
    the fitted passages; the text is read *without* steering. Empty where the reply is."""


def compare(
    model: LanguageModel,
    vectors: EmotionVectors,
    prompt: str | Sequence[Turn],
    steerings: Sequence[Steering],
    most: int = 60,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Told]:
    """The replies to one prompt under each steering, written in one batch with a steering of its own in each row.

    Args:
        prompt: a message to the model, or a conversation that ends with one; laid out by the chat template, where the
            model has one.
        most: the most tokens of a reply.
        temperature: 0 takes the likeliest token; sampled, the rows draw at random one by one.

    Raises:
        WrongModel: the vectors were made on another model.
        TooLong: the prompt leaves no room for the reply in the model's context.
        SteeringError: a span cannot be placed, or a layer does not exist.
    """
    turns = [Turn(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)
    tokens = model.encode_transcript(turns, reply=True)
    own = [tokens] * len(steerings)
    written = generate(
        model, own, most, temperature=temperature, seed=seed, rows=max(1, len(own)), steering=list(steerings)
    )
    texts = list(written)
    whole = [_followed(model, tokens, len(turns), text) for text in texts if text]
    read_back = iter(zip(whole, read(model, vectors, whole), strict=True))
    found = []
    for steering, text in zip(steerings, texts, strict=True):
        if not text:
            found.append(Told(steering, text, None, {}))
            continue
        reply, readings = next(read_back)
        mean = dict(zip(readings.emotions, readings.values[len(tokens) :].mean(0).tolist(), strict=True))
        words = [lookup(word).word for word in steering.doses]
        found.append(Told(steering, text, loss(model, reply, len(tokens)), {word: mean[word] for word in words}))
    return found


def loss(model: LanguageModel, text: Tokens, start: int) -> float:
    """Mean negative log-likelihood (nats a token) of the tokens from `start` on, given those before."""
    reply = Reply(text.ids, start, len(text))
    scores = Branches(model, [reply], model.layers - 1, tree=False).scores(torch.zeros(1, model.hidden))
    return -float(scores[0, 0])


def in_message(model: LanguageModel, message: str, start: int, end: int) -> Characters:
    """Characters of a message, the end not included, as a span of the prompt that `compare` makes of it.

    Raises:
        SteeringError: they are empty or outside of the message.
    """
    if not 0 <= start < end <= len(message):
        raise SteeringError(
            f"Characters {start}:{end} are empty or outside of a prompt of {len(message)}; give e.g. 0:{len(message)}."
        )
    prompt = model.encode_transcript([Turn(role="user", content=message)], reply=True)
    first = prompt.content.index(True)  # the first of the message's own tokens
    begin = len(message) - len(message.lstrip())  # templates may strip what surrounds a message
    shift = prompt.text.index(message.strip(), prompt.spans[first][0]) - begin
    return Characters(max(0, start + shift), end + shift)


def _followed(model: LanguageModel, prompt: Tokens, turn: int, text: str) -> Tokens:
    """The prompt with the reply after it, as when it was written; a template laid over both might change it."""
    gap = "" if prompt.text[-1:].isspace() else " "
    encoded = model.tokenizer(gap + text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    count, shift = len(encoded["input_ids"]), len(prompt.text)
    return Tokens(
        prompt.text + gap + text,
        [*prompt.ids, *encoded["input_ids"]],
        [*prompt.spans, *((first + shift, last + shift) for first, last in encoded["offset_mapping"])],
        [*prompt.roles, *["assistant"] * count],
        [*prompt.turns, *[turn] * count],
        [*prompt.content, *[True] * count],
    )
