"""`foreshock compare`: what a fine-tune, or some steps of training, did to the profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, found_vectors, opened, short_name
from foreshock.errors import WrongModel

if TYPE_CHECKING:
    from foreshock.model import LanguageModel
    from foreshock.profile import Profile
    from foreshock.vectors import EmotionVectors


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="Base model or earlier checkpoint: hub name, folder, .gguf file, or `embedded`."
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Its fine-tune, or a later checkpoint.")],
    vectors: Annotated[
        str | None,
        typer.Option(
            help="The study whose vectors read both: its folder, its vectors.safetensors or a model's name; "
            "left out: that of A.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the page, the charts and findings.json; left out: compare/A-B.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on standard output.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the nulls and intervals.", min=0)] = 0,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Compare two models of one family: which emotions read otherwise just before they reply.

    Both read the same neutral and challenging prompts, laid out by A's chat template, with the same vectors. The models are
    opened one after the other. Vectors of another hidden size, or a B with another tokenizer, are an error. Without --vectors
    they have to be of A's own weights.

    Examples: `foreshock compare embedded runs/sad/checkpoint-200` ·
    `foreshock compare Qwen/Qwen3-4B-Base Qwen/Qwen3-4B --vectors study/Qwen3-4B-Base`
    """  # fmt: skip
    from foreshock.vectors import EmotionVectors

    folder = out or Path("compare") / f"{short_name(first)}-{short_name(second)}"
    loaded = EmotionVectors.load(found_vectors(vectors or first))

    import transformers
    from rich.console import Console

    from foreshock.files import check_writable
    from foreshock.model.opening import described
    from foreshock.profile import builtin_prompts, check_comparable, check_shape, laid_out, read_profile
    from foreshock.report.folder import write_comparison
    from foreshock.study.compare import compare as compared

    console, models = Console(stderr=True), (_named(first), _named(second))
    with console.status(f"Looking at {second} …"):
        transformers.utils.logging.disable_progress_bar()
        other = described(models[1])  # what is wrong with B is said before A is read
    model = opened(models[0], dtype, device)
    if vectors is None:
        _check_own(loaded, model)
    check_shape(loaded, model)
    texts = laid_out(model, builtin_prompts())
    check_comparable(model, texts, other)
    check_writable(folder)
    with console.status(f"Reading {model.name} …"):
        before = read_profile(model, loaded, texts)
    del model  # two large models need not fit together
    model = opened(models[1], dtype, device)
    with console.status(f"Reading {model.name} …"):
        after = read_profile(model, loaded, texts)
    with console.status("Drawing nulls …"):
        findings = compared(before, after, loaded, seed)
    manifest = _manifest(before, after, loaded.manifest, seed)
    page = write_comparison(findings, manifest, folder)
    if as_json:
        typer.echo((folder / "findings.json").read_text(encoding="utf-8"))
        return

    from foreshock.cli.study import summary
    from foreshock.report.page import plain

    summary(findings)
    for finding in findings:
        typer.echo(f"{finding.claim}: {plain(finding.notes[0])}")
    typer.echo(f"Layer {before.layer}. Page: {page.resolve()}")


def _named(name: str) -> str | None:
    return None if name == "embedded" else name


def _check_own(vectors: EmotionVectors, model: LanguageModel) -> None:
    made_on = vectors.manifest.get("model", {})
    if made_on.get("fingerprint") != model.fingerprint:
        raise WrongModel(
            f"The study found for {model.name} is of {made_on.get('name', 'another model')} with other weights; say with "
            f"--vectors that these are to read both, or run `foreshock study {model.name}` first."
        )


def _manifest(before: Profile, after: Profile, vectors: dict[str, Any], seed: int) -> dict[str, Any]:
    """Everything that made the findings."""
    from importlib.metadata import version

    names = f"{short_name(before.model['name'])} → {short_name(after.model['name'])}"
    return {
        "model": {"name": names},
        "first": before.model,
        "second": after.model,
        "vectors": {"model": {"name": "another model"} | vectors.get("model", {}), "texts": vectors.get("texts")},
        "prompts": {kind: len(rows) for kind, rows in before.residuals.items()},
        "reading_layer": before.layer,
        "versions": {name: version(name) for name in ("foreshock", "torch", "transformers", "numpy")},
        "seed": seed,
    }
