"""What the bare model could do: the ceiling that reading is measured against."""

from __future__ import annotations

import torch

from foreshock.model import LanguageModel

LENGTH, ROWS = 128, 16
"""Full rows without padding, of about the stories' length; as many tokens in a pass as `read_passages` takes."""


@torch.inference_mode()
def ceiling(model: LanguageModel, tokens: int, layer: int) -> None:
    """The bare blocks 0 … `layer` over so many tokens, with nothing read."""
    decoder, layers = model.anatomy.decoder, model.anatomy.layers
    ids = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % 40_000 + 5
    depth = model.model.config.num_hidden_layers
    decoder.layers, model.model.config.num_hidden_layers = layers[: layer + 1], layer + 1
    try:
        while tokens:
            part = ids[: tokens // LENGTH] if tokens >= LENGTH else ids[:1, :tokens]
            decoder(input_ids=part, use_cache=False)
            tokens -= part.numel()
    finally:
        decoder.layers, model.model.config.num_hidden_layers = layers, depth
