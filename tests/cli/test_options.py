"""What a model's folders are called, and which file its vectors are."""

from __future__ import annotations

from pathlib import Path

import pytest

from foreshock.cli.behave import behave
from foreshock.cli.options import found_vectors, numbers, short_name
from foreshock.cli.study import study
from foreshock.errors import ModelError, VectorsError


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (None, "embedded"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5-7B-Instruct"),
        ("models/Qwen2.5-7B/", "Qwen2.5-7B"),
        ("/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m"),
        ("vectors-0.5.safetensors", "vectors-0.5"),
        ("runs/a/checkpoint-200", "a-checkpoint-200"),
        ("runs/b/checkpoint-200/", "b-checkpoint-200"),
        ("checkpoint-200", "checkpoint-200"),
    ],
)
def test_a_name_keeps_its_dots_and_a_checkpoint_its_run(model: str | None, name: str) -> None:
    assert short_name(model) == name


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_each_model_finds_its_own_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for size in ("0.5B", "7B"):
        put(Path(f"study/Qwen2.5-{size}/vectors.safetensors"))
        assert found_vectors(f"Qwen/Qwen2.5-{size}") == Path(f"study/Qwen2.5-{size}/vectors.safetensors")
    with pytest.raises(VectorsError, match=r"study/Qwen2\.5-3B/vectors"):
        found_vectors("Qwen/Qwen2.5-3B")


def test_a_models_file_is_not_taken_for_its_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(Path("base.gguf"), b"GGUF")
    with pytest.raises(VectorsError, match=r"run `foreshock study base\.gguf` first"):
        found_vectors("base.gguf")
    kept = put(Path("study/base/vectors.safetensors"))
    assert found_vectors("base.gguf") == kept
    assert found_vectors(str(put(Path("own.safetensors")))) == Path("own.safetensors")


@pytest.mark.parametrize(("command", "folder"), [(study, "study"), (behave, "behave")])
def test_commands_write_to_the_whole_name(
    command: object, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):  # after the folder was proved to be writable
        command("models/none/Tiny-2.5-7B-Instruct")
    assert [path.name for path in (tmp_path / folder).iterdir()] == ["Tiny-2.5-7B-Instruct"]


def test_a_layer_named_twice_is_taken_once() -> None:
    assert numbers("3,3,2-4", "--layers") == [3, 2, 4]
