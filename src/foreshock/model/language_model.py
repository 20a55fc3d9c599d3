"""A language model opened for reading and writing its residual stream."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPast

from foreshock.errors import NotFinite, TextError, TooLong
from foreshock.model import chat
from foreshock.model.anatomy import Anatomy, find_anatomy
from foreshock.model.batches import Batch, pad, plan
from foreshock.model.devices import device_of, present, weights
from foreshock.model.steered import Steers, steered
from foreshock.model.stream import EMBEDDING, Reader, Residual, Site, Writer, hooked, stopped_after
from foreshock.model.work import Block, Result, Tell, Work, Workers, silent
from foreshock.texts.schema import Turn

_PASSING = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "_attn_implementation"}
"""Fields of a configuration that change by loading or saving, and nothing in what the model computes."""


class LanguageModel:
    """A causal LM of transformers with its tokenizer, its anatomy found and proved.

    Args:
        model: any decoder-only model, e.g. from `AutoModelForCausalLM`.
        tokenizer: its fast tokenizer.
        name: what artefacts will call it.

    Raises:
        NotADecoder: its parts cannot be proved.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str = "") -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name or getattr(model.config, "_name_or_path", "") or type(model).__name__
        self.anatomy: Anatomy = find_anatomy(model)
        self.workers: Workers | None = None
        """Who does the work of `each`; None: this process."""

    @property
    def device(self) -> torch.device:
        """Where token ids go. Layers may compute elsewhere (`open_model(device="auto")`)."""
        return device_of(self.model.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """The kind of number that the weights are kept in."""
        return self.model.dtype

    @property
    def layers(self) -> int:
        """How many blocks there are; layers are numbered 0 … layers - 1, the embeddings -1."""
        return len(self.anatomy.layers)

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return self.anatomy.hidden

    @property
    def context(self) -> int | None:
        """The most tokens that the model takes, where its config says so."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end what the model writes, as its generation config and its tokenizer say."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        listed = configured if isinstance(configured, list) else [configured]
        return tuple(id for id in dict.fromkeys([*listed, self.tokenizer.eos_token_id]) if id is not None)

    @property
    def has_chat_template(self) -> bool:
        """Whether chat messages can be laid out for this model."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @cached_property
    def fingerprint(self) -> str:
        """Tells one set of weights from another, whatever dtype they are loaded in: 16 hex digits.

        A hash over the name, shape and a sample of every tensor, rounded to bfloat16.
        """
        digest = hashlib.sha256()
        samples = {}
        for name, weight in weights(self.model):
            flat = weight.flatten()
            sample = flat[:: max(1, flat.numel() // 1024)].to("cpu", torch.bfloat16)
            samples[name] = f"{name}{tuple(weight.shape)}".encode(), sample.view(torch.int16).numpy().tobytes()
        for _, parts in sorted(samples.items()):
            digest.update(b"".join(parts))
        return digest.hexdigest()[:16]

    @cached_property
    def setup(self) -> str:
        """Tells apart all that results on this model depend on: weights, configuration, tokenizer, chat template.

        For naming what is kept; unlike the fingerprint it may change with the version of transformers.
        """
        config = {key: value for key, value in self.model.config.to_dict().items() if key not in _PASSING}
        parts = [json.dumps(config, sort_keys=True, default=str), str(getattr(self.tokenizer, "chat_template", ""))]
        if inner := getattr(self.tokenizer, "backend_tokenizer", None):
            # What a call left behind (padding, truncation) does not belong to the tokenizer.
            words = json.loads(inner.to_str()) | {"padding": None, "truncation": None}
            parts.append(json.dumps(words, sort_keys=True))
        return f"{self.fingerprint}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"

    def encode(self, text: str | Sequence[Turn], reply: bool = False) -> chat.Tokens:
        """Tokens of a text or of chat messages (with `reply`, up to where the reply would begin).

        Raises:
            TextError: empty; TooLong: beyond the context; NoChatTemplate: messages without a template.
        """
        if isinstance(text, str):
            tokens = chat.encode_text(self.tokenizer, text)
        else:
            tokens = chat.encode_chat(self.tokenizer, text, reply)
        return self._fitting(tokens)

    @property
    def about(self) -> dict[str, Any]:
        """What the files made with this model say of it."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "class": type(self.model).__name__,
            "layers": self.layers,
            "hidden": self.hidden,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    @cached_property
    def takes_system(self) -> bool:
        """Whether the chat template takes a system message; some families' raise an error instead."""
        try:
            chat.encode_chat(self.tokenizer, [Turn(role="system", content="a"), Turn(role="user", content="b")])
        except TextError:
            return False
        return True

    def encode_transcript(self, turns: Sequence[Turn], reply: bool = False) -> chat.Tokens:
        """A conversation laid out by the chat template where there is one, else as plain paragraphs.

        A system message that the template refuses stands at the beginning of the user's first message, as such
        families are told to do.
        """
        if self.has_chat_template:
            return self.encode(turns if self.takes_system else chat.without_system(turns), reply)
        return self._fitting(chat.encode_transcript(self.tokenizer, turns, reply))

    def encode_messages(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> chat.Tokens:
        """Messages in OpenAI's form, with calls of tools, up to where the reply begins (see `chat.encode_messages`)."""
        return self._fitting(chat.encode_messages(self.tokenizer, messages, tools))

    def _fitting(self, tokens: chat.Tokens) -> chat.Tokens:
        if self.context and len(tokens) > self.context:
            raise TooLong(
                f"A text of {len(tokens):,} tokens is longer than the {self.context:,} that {self.name} takes "
                f"(it begins {tokens.text[:40]!r}); split it."
            )
        return tokens

    def batches(self, ids: Sequence[Sequence[int]], budget: int = 2048) -> Iterator[Batch]:
        """The texts in batches of at most `budget` tokens, longest first (see `model.batches`)."""
        for rows in plan([len(text) for text in ids], budget):
            yield pad(ids, rows, self.tokenizer.pad_token_id or 0, self.device)

    def each(
        self, work: Work[Block, Result], blocks: Iterable[tuple[int, Block]], tell: Tell = silent
    ) -> Iterator[tuple[int, Result]]:
        """What `work(model, block, tell)` gives for each numbered block, here one after the other.

        Workers do several at a time, and give the results in the order in which they are done (`work.in_order` sorts).
        """
        if self.workers:
            return self.workers.each(work, blocks, tell)
        return ((number, work(self, block, tell)) for number, block in blocks)

    @contextlib.contextmanager
    def hooked(
        self, reads: Mapping[Site, Reader] | None = None, writes: Mapping[int, Writer] | None = None
    ) -> Iterator[None]:
        """Every forward pass inside, generation too, calls these readers and writers (see `stream`)."""
        with hooked(self.anatomy, reads, writes):
            yield

    @contextlib.contextmanager
    def steered(
        self, steering: Steers | Sequence[Steers], prompts: Sequence[chat.Tokens] | None = None
    ) -> Iterator[None]:
        """Every forward pass inside, generation too, is steered; leaving the context leaves no trace.

        Args:
            steering: one for all rows of a batch, or a list with one a row (see `foreshock.steering`).
            prompts: the rows' prompts, needed for spans of characters. Without them the prompt is what the pass
                that begins a sequence holds, as when generating.

        Raises:
            SteeringError: a span cannot be placed, or the batch has other rows than the list.
        """
        rows = steering if isinstance(steering, Sequence) else [steering]
        with steered(self, [one.writes(self) for one in rows], prompts):
            yield

    @torch.inference_mode()
    def run(self, ids: Tensor, reads: Mapping[Site, Reader], writes: Mapping[int, Writer] | None = None) -> None:
        """Run padded token ids just as far as the deepest read asks for; no logits are computed."""
        deepest = max(site.layer for site in reads)
        with hooked(self.anatomy, reads, writes), stopped_after(self.anatomy, deepest):
            self.anatomy.decoder(input_ids=ids, use_cache=False)

    def residuals(self, batch: Batch, layers: Sequence[int]) -> dict[int, Residual]:
        """The residual stream after each of `layers` for one padded batch, in the model's dtype.

        Raises:
            NotFinite: a value at a real token is NaN or infinite.
        """
        caught: dict[int, Residual] = {}
        reads = {Site(layer): _keep(caught, layer) for layer in layers}
        self.run(batch.ids, reads)
        for layer, hidden in caught.items():
            check_finite(hidden[batch.mask().to(hidden.device)], layer)
        return caught

    def logits(
        self, last: Float[Tensor, "batch token hidden"], tokens: Sequence[int] | None = None
    ) -> Float[Tensor, "batch token vocabulary"]:
        """The logits that the model itself makes of its last block's output, in float32.

        Some families scale or cap what comes out of the unembedding, so the model's own forward pass does the work,
        with its decoder standing aside. Gradients are kept where `last` has any.

        Args:
            tokens: the only tokens whose logits are wanted; they are unembedded in float32, as bfloat16 rounds logits
                to steps of an eighth and coarser. None: the whole vocabulary, unembedded in the model's dtype.
        """
        decoder = self.anatomy.decoder
        stood = decoder.__dict__.get("forward")  # accelerate puts its own there
        with torch.set_grad_enabled(last.requires_grad), finely(self.anatomy.unembedding, tokens):
            normed = _Normed(last_hidden_state=self.anatomy.norm(last))
            decoder.forward = lambda *_args, **_kwargs: normed
            try:
                ids = torch.zeros(last.shape[:2], dtype=torch.long, device=self.device)
                logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
            finally:
                del decoder.forward
                if stood is not None:
                    decoder.forward = stood
            return logits.float()

    @torch.inference_mode()
    def unembed(self, directions: Float[Tensor, "direction hidden"]) -> Float[Tensor, "direction vocabulary"]:
        """Logit lens: what each direction adds to the logits through the final norm's gain and the unembedding.

        The norm's and the unembedding's constant parts cancel; the scale of a direction does not matter.
        """
        norm, head = self.anatomy.norm, self.anatomy.unembedding
        size = directions.norm(dim=-1, keepdim=True).clamp_min(1e-12) / self.hidden**0.5  # rms 1, as the norm expects
        with present(head):
            weight: Tensor = head.weight  # type: ignore[assignment]
            scaled = (directions / size).to(weight)
            zero = torch.zeros_like(scaled[:1])
            return ((norm(scaled) - norm(zero)).to(weight) @ weight.T).float()


@contextlib.contextmanager
def finely(head: Any, tokens: Sequence[int] | None) -> Iterator[None]:
    """Within the context an unembedding gives the logits of `tokens` alone, in float32; None leaves it as it is."""

    def instead(_module: Any, args: tuple[Any, ...], _out: Tensor) -> Tensor:
        with present(head):
            wanted = torch.tensor(list(tokens or ()), device=head.weight.device)
            bias = None if getattr(head, "bias", None) is None else head.bias[wanted].float()
            return functional.linear(args[0].to(wanted.device).float(), head.weight[wanted].float(), bias)

    handle = None if tokens is None else head.register_forward_hook(instead)
    try:
        yield
    finally:
        if handle:
            handle.remove()


class _Normed(BaseModelOutputWithPast):  # type: ignore[misc]  # transformers is untyped here
    """A decoder's output that has nothing but its last hidden state; what some families add is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def check_finite(hidden: Tensor, layer: int) -> None:
    """Raises `NotFinite` when the stream after `layer` holds NaN or infinity."""
    if not torch.isfinite(hidden).all():
        where = "the embeddings" if layer == EMBEDDING else f"layer {layer}"
        raise NotFinite(
            f"The activations at {where} are NaN or infinite; the number format may be too narrow: use --dtype float32."
        )


def _keep(into: dict[int, Residual], layer: int) -> Reader:
    def read(hidden: Residual) -> None:
        into[layer] = hidden

    return read
