"""A model's profile: what its residual stream reads just before it replies to a fixed set of prompts.

Built-in prompts are of two kinds. *Neutral*: the first messages of the neutral dialogues. *Challenging*: the situations of
serious and extreme stakes in which a model may misconduct itself. A prompt is read at its last token, where the reply would
begin, as the study reads models before and after post-training (Sofroniew et al. 2026, "Assistant colon").

Two models of one family are read with the same tokens and the same vectors. A fine-tune starts from the stream of its base
model and moves it little, so the base's directions still stand for what they stood for, and a difference along them is a
difference in the same coordinates. What that cannot tell: whether the fine-tune has also turned the directions themselves
(then a reading falls although the emotion is represented as ever), and what it has newly learnt outside them. Vectors of the
fine-tune's own, by `foreshock study`, answer that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.activations import Progress, read_spans
from foreshock.errors import WrongModel
from foreshock.model import LanguageModel, Tokens
from foreshock.model.opening import Described
from foreshock.texts import Dialogue, Turn, neutral_dialogues, propensity_items
from foreshock.vectors import EmotionVectors

NEUTRAL, CHALLENGING = "neutral", "challenging"
Conversations = Mapping[str, Sequence[Sequence[Turn]]]
"""Kind → conversations that end with a user's message."""
Layouts = Mapping[str, Sequence[Tokens]]
"""Kind → the same as tokens."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One model's residuals before its replies."""

    model: dict[str, Any]
    """Its name, fingerprint, class, layers and hidden size."""
    layer: int
    residuals: dict[str, Float[np.ndarray, "prompt hidden"]]
    """Of each kind of prompts."""
    pieces: dict[int, str]
    """What its tokenizer calls each token of the prompts."""

    def readings(self, vectors: EmotionVectors, kind: str) -> Float[np.ndarray, "prompt emotion"]:
        """In standard deviations of the passages that the vectors were fitted on."""
        readout = vectors.readout(self.layer)
        return np.asarray(self.residuals[kind] @ readout.W.T + readout.b)


def builtin_prompts() -> dict[str, list[tuple[Turn, ...]]]:
    """120 neutral and 144 challenging prompts."""
    return {NEUTRAL: first_messages(neutral_dialogues()), CHALLENGING: challenging()}


def first_messages(dialogues: Sequence[Dialogue]) -> list[tuple[Turn, ...]]:
    """Each dialogue up to what the person says first, with its system prompt if it has one."""
    ends = [1 + [turn.role for turn in dialogue.turns].index("user") for dialogue in dialogues]
    return [dialogue.turns[:end] for dialogue, end in zip(dialogues, ends, strict=True)]


def challenging() -> list[tuple[Turn, ...]]:
    """Situations of serious and extreme stakes, with their system prompts."""
    items = [item for item in propensity_items() if item.stakes != "everyday"]
    return [(*((Turn(role="system", content=item.system),) if item.system else ()), *item.turns) for item in items]


def laid_out(model: LanguageModel, prompts: Conversations) -> dict[str, list[Tokens]]:
    """The prompts as a model reads them, up to where the reply would begin."""
    return {kind: [model.encode_transcript(turns, reply=True) for turns in some] for kind, some in prompts.items()}


def read_profile(
    model: LanguageModel,
    vectors: EmotionVectors,
    texts: Layouts,
    layer: int | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Read a model that the vectors need not have been made on, if it has the same shape.

    Args:
        texts: the prompts, laid out by the first of the models that are compared.
        layer: left out: the reading layer.

    Raises:
        WrongModel: its hidden size or number of blocks is another.
        VectorsError: the vectors lack the layer.
    """
    check_shape(vectors, model)
    layer = vectors.readout(layer).layer
    spanned = [(tokens, [(len(tokens) - 1, len(tokens))]) for some in texts.values() for tokens in some]
    read = read_spans(model, spanned, [layer], progress=progress).at(layer)
    ends = np.cumsum([len(some) for some in texts.values()])
    residuals = dict(zip(texts, np.split(read, ends[:-1]), strict=True))
    return Profile(model.about, layer, residuals, pieces_of(texts, model.tokenizer))


def pieces_of(texts: Layouts, tokenizer: Any) -> dict[int, str]:
    """What a tokenizer calls each token of the prompts."""
    used = sorted({token for some in texts.values() for tokens in some for token in tokens.ids})
    return dict(zip(used, tokenizer.convert_ids_to_tokens(used), strict=True))


def check_shape(vectors: EmotionVectors, model: LanguageModel) -> None:
    """Raises `WrongModel` unless a model has the hidden size and the blocks that the vectors were made on."""
    made_on, hidden = vectors.manifest.get("model", {}), vectors.directions.shape[-1]
    blocks = made_on.get("layers", model.layers)
    if (hidden, blocks) != (model.hidden, model.layers):
        raise WrongModel(
            f"These vectors are of a model with {blocks} blocks of size {hidden}, and {model.name} has {model.layers} of "
            f"size {model.hidden}; compare a model with its own fine-tunes or checkpoints."
        )


def check_comparable(first: LanguageModel, texts: Layouts, second: Described) -> None:
    """Raises `WrongModel` unless a second model, not opened yet, has the first's shape and takes every token for the same."""
    same_shape = _shape(first.model.config) == _shape(second.config)
    if same_shape and pieces_of(texts, first.tokenizer) == pieces_of(texts, second.tokenizer):
        return
    raise WrongModel(
        f"{second.name} has another {'tokenizer' if same_shape else 'hidden size or number of blocks'} than {first.name}, so "
        "their readings cannot be compared; compare a model with its own fine-tunes or checkpoints."
    )


def _shape(config: Any) -> tuple[int | None, int | None]:
    text = config.get_text_config()
    return getattr(text, "hidden_size", None), getattr(text, "num_hidden_layers", None)
