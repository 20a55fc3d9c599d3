"""Watching every supported family while it generates: the tokens that it wrote, and the readings of the finished text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf

from foreshock.model import LanguageModel
from foreshock.model.chat import encode_text
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import Monitor
from foreshock.readings import read
from foreshock.vectors import EmotionVectors
from tests.architectures.families import FAMILIES, word_tokenizer
from tests.exact_vectors import exact

LAYERS = (1, 2)
NO_STATIC = {"falcon-alibi"}
"""Families that do not generate with a static cache, watched or not."""


def opened(name: str) -> tuple[LanguageModel, EmotionVectors]:
    torch.manual_seed(0)
    model = LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES[name]).float(), word_tokenizer(), name)
    random = np.random.default_rng(0).standard_normal((3, model.hidden)).astype(np.float32)
    directions = random / np.linalg.norm(random, axis=-1, keepdims=True)
    return model, exact(model, directions, LAYERS, ("happy", "calm", "afraid"))


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_heard_is_what_was_written(name: str, cache: str) -> None:
    if cache == "static" and name in NO_STATIC:
        pytest.skip("does not generate with a static cache, watched or not")
    model, vectors = opened(name)
    ids = torch.tensor([[0, 0, 5, 6, 7, 8, 9], [11, 12, 13, 14, 15, 16, 17]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    given = {} if cache == "dynamic" else {"cache_implementation": "static"}
    heard: list[Heard] = []
    with torch.inference_mode(), Monitor(model, vectors, layers=LAYERS, on_tokens=heard.append):
        out = model.model.generate(ids, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0, **given)  # fmt: skip
    for row, padding in ((0, 2), (1, 0)):
        own = [one for one in heard if one.row == row]
        written = out[row, padding:-1].tolist()
        assert [int(id) for one in own for id in one.ids] == written and len({one.conversation for one in own}) == 1
        tokens = encode_text(model.tokenizer, " ".join(f"t{id}" for id in written))
        assert tokens.ids == written
        for k, layer in enumerate(LAYERS):
            (offline,) = read(model, vectors, [tokens], layer)
            assert np.allclose(np.concatenate([one.values[:, k] for one in own]), offline.values, atol=2e-3)
