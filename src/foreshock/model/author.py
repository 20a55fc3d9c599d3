"""A local model as an author of stories (see `foreshock.texts.writing`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from foreshock.errors import ModelError
from foreshock.model.chat import Tokens
from foreshock.model.generation import generate
from foreshock.model.language_model import LanguageModel
from foreshock.texts.schema import Turn
from foreshock.texts.writing import Author

MOST = 180
"""Most tokens of an answer: 90 words and a title that will be cut off; what runs on is dropped for its length."""


def local_author(model: LanguageModel, temperature: float) -> Author:
    """The model as an author; each call writes all its texts at the same time.

    A model without a chat template is given the prompt as plain text with `Story:` after it.
    """

    def write(prompts: Sequence[str], seed: int) -> list[str]:
        tokens = [_encoded(model, prompt) for prompt in prompts]
        try:
            return list(generate(model, tokens, MOST, temperature=temperature, seed=seed, rows=len(tokens)))
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{len(tokens)} stories at once are too many for the memory of {model.device}; use a smaller --batch."
            ) from None

    return write


def _encoded(model: LanguageModel, prompt: str) -> Tokens:
    if model.has_chat_template:
        return model.encode([Turn(role="user", content=prompt)], reply=True)
    return model.encode(f"{prompt}\n\nStory:")
