"""Replies written by the model itself, many prompts at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from foreshock.errors import SteeringError, TooLong
from foreshock.model.chat import Tokens
from foreshock.model.language_model import LanguageModel
from foreshock.model.steered import Steers

ROWS = 16
"""Prompts generated from at once: 16 streams cost little more than one on a CPU."""


def generate(
    model: LanguageModel,
    prompts: Sequence[Tokens],
    most: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    rows: int = ROWS,
    steering: Steers | Sequence[Steers] | None = None,
) -> Iterator[str]:
    """The text that the model writes after each prompt, in order; at most `most` new tokens each.

    Args:
        temperature: 0 takes the likeliest token; else tokens are sampled with this temperature from the
            likeliest 95 % (nucleus), the same ones for the same seed, prompts and `rows`.
        steering: one for all prompts, or a list with one a prompt.

    Raises:
        TooLong: a prompt leaves no room for the reply in the model's context.
        SteeringError: the steering cannot be done.
    """
    check_room(model, prompts, most)
    if isinstance(steering, Sequence) and len(steering) != len(prompts):
        raise SteeringError(
            f"{len(steering)} steerings and {len(prompts)} prompts do not go together; give one for all, or one a prompt."
        )
    for start in range(0, len(prompts), rows):
        part = prompts[start : start + rows]
        own = steering[start : start + rows] if isinstance(steering, Sequence) else steering
        with contextlib.nullcontext() if own is None else model.steered(own, part):
            texts = _together(model, part, most, temperature, seed + start)
        yield from texts


def check_room(model: LanguageModel, prompts: Sequence[Tokens], most: int) -> None:
    """Raises `TooLong` where a prompt and `most` new tokens are more than the context holds."""
    longest = max((len(prompt) for prompt in prompts), default=0)
    if model.context and longest + most > model.context:
        raise TooLong(
            f"A prompt of {longest:,} tokens and a reply of up to {most:,} are more than the {model.context:,} that "
            f"{model.name} takes; shorten the prompt or ask for fewer tokens."
        )


@torch.inference_mode()
def _together(model: LanguageModel, prompts: Sequence[Tokens], most: int, temperature: float, seed: int) -> list[str]:
    """Padded on the left, as generating goes on at the right; the mask and positions take the padding out."""
    longest = max(len(prompt) for prompt in prompts)
    padding = model.tokenizer.pad_token_id or 0
    ids = torch.full((len(prompts), longest), padding, device=model.device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt.ids)
        mask[row, longest - len(prompt) :] = 1
    # A model's own defaults (penalties, a shorter list of candidates) would make its replies another experiment.
    plain = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    drawn = {"do_sample": True, "temperature": temperature, "top_p": 0.95, "top_k": 0}
    sampling = {**plain, **(drawn if temperature else {"do_sample": False})}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = model.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=most, pad_token_id=padding, **sampling
        )
    return [model.tokenizer.decode(row[longest:], skip_special_tokens=True).strip() for row in out]
