"""The conformance suite: what Foreshock relies on, shown on the model at hand. `foreshock doctor` prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from foreshock.errors import NotADecoder, TextError
from foreshock.model.anatomy import Proof
from foreshock.model.batches import pad
from foreshock.model.language_model import LanguageModel
from foreshock.model.stream import EMBEDDING, Site, add
from foreshock.texts.schema import Turn

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-1, torch.float16: 1e-2}
"""Largest relative difference (of norms, at a token) that batching and padding may make, per number format."""


def prove(model: LanguageModel) -> Iterator[Proof]:
    """Check, one after the other, everything that reading and writing rely on.

    Raises:
        NotADecoder: a check failed; the message says which and by how much.
    """
    yield from model.anatomy.proofs
    ids = _tokens(model, 24)[None]
    for part, check in _CHECKS.items():
        yield Proof(part, check(model, ids))


def _tokens(model: LanguageModel, count: int, start: int = 3) -> Tensor:
    """A run of ordinary token ids."""
    return (torch.arange(start, start + count) * 7 % (model.anatomy.vocabulary - 8) + 4).to(model.device)


def _read(
    model: LanguageModel, ids: Tensor, layers: list[int], when: str = "after", writes: dict | None = None
) -> dict[int, Tensor]:
    caught: dict[int, Tensor] = {}
    reads = {Site(k, when): (lambda hidden, k=k: caught.__setitem__(k, hidden.clone())) for k in layers}  # type: ignore[arg-type]
    model.run(ids, reads, writes)
    return caught


def difference(a: Tensor, b: Tensor) -> float:
    """Largest norm of a difference at a token, relative to the norm there."""
    a, b = a.float(), b.to(a.device).float()
    return float(((a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-6)).max())


@torch.inference_mode()
def _reads(model: LanguageModel, ids: Tensor) -> str:
    """The last hidden state that transformers returns is normed already, so it is compared after the norm."""
    own = model.model(ids, use_cache=False, output_hidden_states=True).hidden_states
    ours = _read(model, ids, list(range(EMBEDDING, model.layers)))
    last = model.layers - 1
    worst = max(difference(ours[k], own[k + 1]) for k in range(EMBEDDING, last))
    worst = max(
        worst,
        difference(model.anatomy.norm(ours[last]), own[model.layers]) if own[-1].shape == ours[last].shape else 0.0,
    )
    _require(worst == 0, "reading", f"reads differ from the model's own hidden states by {worst:.1e}")
    return f"all {model.layers} layers and the embeddings equal the model's own hidden states, to the bit"


@torch.inference_mode()
def _stops(model: LanguageModel, ids: Tensor) -> str:
    middle = model.layers // 2
    full, cut = _read(model, ids, [middle, model.layers - 1]), _read(model, ids, [middle])
    _require(torch.equal(full[middle], cut[middle]), "stopping early", "changes what was read before")
    return f"stopping after layer {middle} changes nothing there, to the bit"


@torch.inference_mode()
def _batches(model: LanguageModel, _ids: Tensor) -> str:
    texts = [_tokens(model, n, start).tolist() for n, start in ((24, 3), (9, 11), (17, 40))]
    layer = model.layers - 1
    together = pad(texts, [2, 0, 1], model.tokenizer.pad_token_id or 0, model.device)
    block = model.residuals(together, [layer])[layer]
    worst = 0.0
    for place, row in enumerate(together.rows):
        alone = _read(model, torch.tensor([texts[row]], device=model.device), [layer])[layer][0]
        worst = max(worst, difference(block[place, : len(alone)], alone))
    allowed = TOLERANCE[model.dtype]
    _require(worst <= allowed, "batching and padding", f"move residuals by {worst:.1e}, over {allowed:.0e}")
    return f"move residuals by at most {worst:.1e} of their norm (allowed in {str(model.dtype)[6:]}: {allowed:.0e})"


@torch.inference_mode()
def _writes(model: LanguageModel, ids: Tensor) -> str:
    layer = model.layers // 2
    vector = torch.linspace(-1, 1, model.hidden, device=ids.device)
    plain = _read(model, ids, [layer])[layer]
    before = _read(model, ids, [layer], "before", {layer: add(vector)})[layer]
    after = _read(model, ids, [layer], "after", {layer: add(vector)})[layer]
    _require(torch.equal(before, plain), "writing", "changes what is read before it")
    _require(torch.equal(after, plain + vector.to(plain)), "writing", "does not show up as exactly the vector added")
    return f"a vector added at layer {layer} shows up as exactly that addition"


@torch.inference_mode()
def _restores(model: LanguageModel, ids: Tensor) -> str:
    def logits() -> Tensor:
        found: Tensor = model.model(ids, use_cache=False).logits
        return found

    layer = model.layers // 2
    vector = torch.linspace(-1, 1, model.hidden, device=ids.device)
    plain = logits()
    with model.hooked(writes={layer: add(vector, 0.0)}):
        _require(torch.equal(logits(), plain), "strength 0", "changes the logits")
    try:
        with model.hooked(writes={layer: add(vector, 50.0)}):
            changed = logits()
            raise RuntimeError
    except RuntimeError:
        pass
    _require(not torch.equal(changed, plain), "writing", "does not reach the logits")
    _require(torch.equal(logits(), plain), "leaving the context", "does not restore the logits")
    return "strength 0 changes no bit; leaving the context, by an exception too, restores the logits to the bit"


def _template(model: LanguageModel, _ids: Tensor) -> str:
    if not model.has_chat_template:
        return "none: plain text only; chat messages are refused"
    try:
        tokens = model.encode([Turn(role="user", content="One and one?")], reply=True)
    except TextError as problem:
        return f"present, and cannot be used: {problem}"
    return f"present; the token before the reply is {tokens.pieces()[-1]!r}, {len(tokens)} tokens for a short question"


_CHECKS: dict[str, Callable[[LanguageModel, Tensor], str]] = {
    "reading": _reads,
    "stopping early": _stops,
    "batching, padding": _batches,
    "writing": _writes,
    "restoring": _restores,
    "chat template": _template,
}


def _require(true: bool, part: str, otherwise: str) -> None:
    if not true:
        raise NotADecoder(f"This model cannot be relied on: {part} {otherwise}. Please report its architecture.")
