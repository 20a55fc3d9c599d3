"""Texts → means over spans of tokens and Moments, streamed.

The corpus is walked in blocks of a few hundred texts. A block is tokenised, read in length-sorted
batches, pooled inside the forward pass, and kept as one file named by a hash of everything that made
it: model, tokens, layers, recipe. So a killed run, started again, reads only the blocks it lacks and
ends with the same numbers, and two studies that want the same activations share them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from foreshock.errors import TextError
from foreshock.files import write_bytes
from foreshock.model import LanguageModel, Site, Tokens
from foreshock.model.batches import Batch
from foreshock.model.language_model import check_finite
from foreshock.model.stream import Reader, Residual
from foreshock.model.work import silent

BLOCK = 256
"""Texts in one block: the unit of work that a kill can cost."""
SKIP = 8
"""First tokens of a passage left out of its mean: the attention sink sits there."""
FORMAT = 2
"""Raised when the numbers in a block come to mean something else."""

Span = tuple[int, int]
"""A range of a text's tokens, its end not included."""
Spanned = tuple[Tokens, Sequence[Span]]
"""A text and the spans whose mean residuals are wanted; a single token is a span of one."""
Progress = Callable[[int, int], None]
"""Called with the texts and tokens just read."""
Arrays = dict[str, np.ndarray]


@dataclass
class Moments:
    """Counts and sums over tokens; adding two gives the moments of both. All that a worker sends back."""

    count: int
    total: Float[np.ndarray, "layer hidden"]
    norm: Float[np.ndarray, " layer"]
    """Sum of the tokens' residual norms."""

    @classmethod
    def zero(cls, layers: int, hidden: int) -> Moments:
        """The moments of nothing."""
        return cls(0, np.zeros((layers, hidden)), np.zeros(layers))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.norm + other.norm)

    @property
    def mean(self) -> Float[np.ndarray, "layer hidden"]:
        """Mean residual over tokens."""
        return self.total / max(self.count, 1)

    @property
    def mean_norm(self) -> Float[np.ndarray, " layer"]:
        """Mean residual norm over tokens: the unit of steering strength."""
        return self.norm / max(self.count, 1)


@dataclass(frozen=True, slots=True)
class SpanMeans:
    """One mean residual for each span and kept layer, and the moments of all their tokens.

    Spans stand in the order of their texts, and within a text as they were asked for.
    """

    values: Float[np.ndarray, "span layer hidden"]
    tokens: Int[np.ndarray, " span"]
    """How many tokens each mean is over."""
    layers: tuple[int, ...]
    moments: Moments

    def at(self, layer: int) -> Float[np.ndarray, "span hidden"]:
        """The means after one layer."""
        return self.values[:, self.layers.index(layer)]


def whole(tokens: Tokens, skip: int = SKIP) -> Span:
    """A passage from its `skip`-th token on; of a shorter one the last token, so that no text is lost."""
    return min(skip, len(tokens) - 1), len(tokens)


def read_passages(
    model: LanguageModel,
    texts: Iterable[Tokens],
    layers: Sequence[int],
    *,
    skip: int = SKIP,
    store: Path | None = None,
    budget: int = 2048,
    progress: Progress | None = None,
) -> SpanMeans:
    """The mean residual of each text over its tokens from the `skip`-th on (paper, "Extraction").

    Arguments and errors as for `read_spans`.
    """
    spanned = ((text, [whole(text, skip)]) for text in texts)
    return read_spans(model, spanned, layers, store=store, budget=budget, progress=progress)


def read_spans(
    model: LanguageModel,
    texts: Iterable[Spanned],
    layers: Sequence[int],
    *,
    store: Path | None = None,
    budget: int = 2048,
    progress: Progress | None = None,
) -> SpanMeans:
    """The mean residual over each span of each text.

    Args:
        texts: read once, in order; may be longer than memory.
        layers: layer numbers, counted from 0; -1 is the embeddings. Nothing above the last one is computed.
        store: folder for finished blocks; None keeps them in memory only.
        budget: most tokens in a batch, padding included.

    Raises:
        NotFinite: the model gives NaN or infinity.
        TextError: there are no texts, a span is empty, or a layer that the model lacks is asked for.
    """
    layers = tuple(sorted(set(layers)))
    wrong = [layer for layer in layers if not -1 <= layer < model.layers]
    if wrong or not layers:
        raise TextError(f"{model.name} has layers -1 … {model.layers - 1}; {wrong or 'none'} was asked for.")
    found: dict[int, Arrays] = {}

    def missing() -> Iterator[tuple[int, tuple[list[Spanned], Path | None]]]:
        for number, block in enumerate(_blocks(texts)):
            _check_spans(block)
            kept = store.absolute() / f"{_key(model, block, layers, budget)}.safetensors" if store else None
            if kept and (finished := _load_block(kept)):
                found[number] = finished
                tell(len(block), 0)
            else:
                yield number, (block, kept)

    tell = progress or silent
    work = partial(_finish_block, layers=layers, budget=budget)
    for number, arrays in model.each(work, missing(), tell):
        found[number] = arrays
    if not found:
        raise TextError("There are no texts to read; give at least one.")
    blocks = [found[number] for number in sorted(found)]
    counts = np.concatenate([block["tokens"] for block in blocks])
    moments = sum((_moments(block) for block in blocks), Moments.zero(len(layers), model.hidden))
    return SpanMeans(np.concatenate([block["values"] for block in blocks]), counts, layers, moments)


def _blocks(texts: Iterable[Spanned]) -> Iterator[list[Spanned]]:
    texts = iter(texts)
    while block := list(itertools.islice(texts, BLOCK)):
        yield block


def _check_spans(texts: list[Spanned]) -> None:
    for text, spans in texts:
        for start, end in spans:
            if not 0 <= start < end <= len(text):
                raise TextError(f"The span {start}:{end} is empty or outside of a text of {len(text)} tokens.")


def _moments(block: Arrays) -> Moments:
    count = int(block["tokens"].sum())
    total = np.einsum("p,plh->lh", block["tokens"], block["values"], dtype=np.float64)
    return Moments(count, total, block["norm"].astype(np.float64))


def _key(model: LanguageModel, texts: list[Spanned], layers: tuple[int, ...], budget: int) -> str:
    read = [(text.ids, list(spans)) for text, spans in texts]
    made_by = [FORMAT, model.setup, str(model.dtype), layers, budget, read]
    return hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:32]


def _finish_block(
    model: LanguageModel, block: tuple[list[Spanned], Path | None], tell: Progress, layers: tuple[int, ...], budget: int
) -> Arrays:
    """Read a block and keep it, where it is to be kept: whoever reads it, so that its end is safe from all others'."""
    texts, kept = block
    if kept and (finished := _load_block(kept)):  # by a worker that died before it could say so
        tell(len(texts), 0)
        return finished
    found = _read_block(model, texts, layers, budget, tell)
    if kept:
        write_bytes(kept, save(found))
    return found


def _load_block(path: Path) -> Arrays | None:
    """A finished block; None when it is missing or damaged, so that it is read again."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _read_block(
    model: LanguageModel, texts: list[Spanned], layers: tuple[int, ...], budget: int, tell: Progress
) -> Arrays:
    first = np.cumsum([0, *(len(spans) for _, spans in texts)])  # where each text's spans begin
    values = np.empty((first[-1], len(layers), model.hidden), np.float32)
    tokens = np.empty(first[-1], np.int64)
    norm = np.zeros(len(layers), np.float64)
    for batch in model.batches([text.ids for text, _ in texts], budget):
        places = np.concatenate([np.arange(first[row], first[row + 1]) for row in batch.rows])
        if len(places):
            pooled, lengths, norms = _pool(model, batch, [texts[row][1] for row in batch.rows], layers)
            values[places], tokens[places] = pooled, lengths
            norm += norms
        tell(len(batch.rows), int(batch.lengths.sum()))
    return {"values": values, "tokens": tokens, "norm": norm}


def _pool(
    model: LanguageModel, batch: Batch, spans: list[Sequence[Span]], layers: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Pool one batch while it runs, so that no layer's activations outlive the next layer."""
    mask = torch.zeros(len(spans), max(map(len, spans)), batch.ids.shape[1])
    for row, own in enumerate(spans):
        for place, (start, end) in enumerate(own):
            mask[row, place, start:end] = 1
    wanted = mask.sum(2) > 0
    pooled: dict[int, tuple[Tensor, Tensor]] = {}

    def pooling(layer: int) -> Reader:
        def read(hidden: Residual) -> None:
            weights = mask.to(hidden.device)
            wide = hidden.float()
            # bmm, so that what stands in padding is multiplied by 0 and added nowhere.
            mean = (torch.bmm(weights, wide) / weights.sum(2, keepdim=True).clamp_min(1))[wanted.to(hidden.device)]
            check_finite(mean, layer)
            pooled[layer] = mean.cpu(), (wide.norm(dim=-1) * weights.sum(1)).sum().cpu()

        return read

    model.run(batch.ids, {Site(layer): pooling(layer) for layer in layers})
    means = torch.stack([pooled[layer][0] for layer in layers], 1)
    norms = torch.stack([pooled[layer][1] for layer in layers])
    return means.numpy(), mask.sum(2)[wanted].numpy().astype(np.int64), norms.double().numpy()


def read_tokens(
    model: LanguageModel, texts: Iterable[Tokens], layer: int, budget: int = 2048
) -> Iterator[Float[Tensor, "token hidden"]]:
    """The residual stream after `layer` at every token of each text, in the texts' order."""
    texts = iter(texts)
    while block := list(itertools.islice(texts, BLOCK)):
        found: dict[int, Tensor] = {}
        for batch in model.batches([text.ids for text in block], budget):
            hidden = model.residuals(batch, [layer])[layer]
            for place, row in enumerate(batch.rows):
                found[row] = hidden[place, : len(block[row])].clone()
        yield from (found[row] for row in range(len(block)))
