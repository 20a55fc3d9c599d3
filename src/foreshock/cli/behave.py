"""`foreshock behave`: what emotions do to conduct, by matched replies and by counted rollouts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, Model, OnRay, Workers, opened, short_name, strengths_of
from foreshock.cli.study import progress_bar, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock.texts.schema import PropensityItem

EXPERIMENTS = ("own-words", "preference-steering", "propensity", "dose-response")
"""The first finds the layer and the strengths that the others steer with."""


def behave(
    model: Model = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Your own stories, if the model was studied with them.", show_default=False),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Your own situations and replies (JSONL, see docs/behaviour.md).", show_default=False),
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(help="Comma-separated kinds of conduct, e.g. coercion,facts; left out: all.", show_default=False),
    ] = None,
    emotions: Annotated[
        str, typer.Option(help="Comma-separated emotions whose doses are measured.")
    ] = "desperate,calm,loving,hostile",
    strengths: Annotated[
        str, typer.Option(help="Their strengths: low:high:count, or a comma-separated list.")
    ] = "-0.2,-0.1,-0.05,0.05,0.1,0.2",
    only: Annotated[
        str | None,
        typer.Option(
            help=f"Comma-separated parts of: {', '.join(EXPERIMENTS[1:])}; left out: all.", show_default=False
        ),
    ] = None,
    logs: Annotated[
        list[Path] | None,
        typer.Option(help="Inspect logs of rollout tasks, or folders of them, to be counted too.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; left out: behave/MODEL.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 0,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
    ray: OnRay = None,
    workers: Workers = None,
) -> None:
    """Measure what every emotion does to every kind of conduct, beside what random directions do.

    Takes over what `foreshock study` has read of the same model, and its emotions; without a study it takes the 32 core
    ones. A killed run, started again with the same words, goes on where it was.

    Examples: `foreshock behave` · `foreshock behave Qwen/Qwen3-0.6B --emotions desperate,calm --strengths -0.2:0.2:9`
    """
    from dataclasses import replace

    from rich.console import Console

    from foreshock.emotions import lookup
    from foreshock.errors import SteeringError
    from foreshock.files import check_writable
    from foreshock.texts import builtin_library, load_passages, stories

    dosed = tuple(dict.fromkeys(lookup(word.strip()).word for word in emotions.split(",")))
    doses = tuple(strength for strength in strengths_of(strengths, "--strengths") if strength)
    if not doses:
        raise SteeringError(f"--strengths {strengths!r} holds nothing but 0; give at least one other, e.g. 0.1.")
    situations = _items(items, families)
    names = ["own-words", *_parts(only)]
    name = short_name(model)
    folder, study = out or Path("behave") / name, Path("study") / name
    check_writable(folder)
    passages = load_passages(texts) if texts else stories(_studied(study) | set(dosed))
    library = replace(builtin_library(passages), propensity=situations)

    from foreshock.report.card import summary_line
    from foreshock.report.folder import write_study
    from foreshock.study.running import run_study

    counted = _counted(logs or [], seed)
    subject = opened(model, dtype, device, ray, workers)
    console = Console(stderr=True)
    store = study / "activations" if (study / "activations").is_dir() else folder / "activations"
    with progress_bar(console, len(names) + 2) as (advance, announce):
        result = run_study(
            subject, library, only=names, dosed=dosed, strengths=doses, seed=seed, store=store, progress=advance, announce=announce,
        )  # fmt: skip
    result = replace(result, findings=[*result.findings, *counted])
    with console.status("Drawing the report …"):
        page = write_study(result, folder)
    summary(result.findings)
    typer.echo(summary_line(subject.name, [f.verdict for f in result.findings]))
    typer.echo(f"Report: {page.resolve()}")


def _items(path: Path | None, families: str | None) -> Sequence[PropensityItem]:
    from foreshock.errors import TextError
    from foreshock.study.measures.conduct import LEAST
    from foreshock.texts import load_propensity_items, propensity_items

    found = load_propensity_items(path) if path else propensity_items()
    wanted = {name.strip() for name in families.split(",")} if families else {item.family for item in found}
    if missing := wanted - {item.family for item in found}:
        known = ", ".join(dict.fromkeys(item.family for item in found))
        raise TextError(f"There are no situations of: {', '.join(sorted(missing))}; there are: {known}.")
    chosen = [item for item in found if item.family in wanted]
    count = Counter(item.family for item in chosen)
    if few := [f"{family} {n}" for family, n in count.items() if n < LEAST]:
        raise TextError(f"A family needs {LEAST} situations to be measured; there are only: {', '.join(few)}.")
    return chosen


def _parts(only: str | None) -> list[str]:
    from foreshock.errors import StudyError

    wanted = [name.strip() for name in only.split(",")] if only else list(EXPERIMENTS[1:])
    for name in wanted:
        if name not in EXPERIMENTS[1:]:
            raise StudyError(f"There is no part {name!r} of the behaviour; there are: {', '.join(EXPERIMENTS[1:])}.")
    return wanted


def _studied(study: Path) -> set[str]:
    """The emotions of the model's study, so that what it read need not be read again; else the core ones."""
    from foreshock.emotions import core
    from foreshock.texts import stories
    from foreshock.vectors import EmotionVectors

    vectors = study / "vectors.safetensors"
    known = {story.emotion for story in stories()}
    found = set(EmotionVectors.load(vectors).emotions) if vectors.is_file() else set()
    return found if found and found <= known else set(core())


def _counted(logs: Sequence[Path], seed: int) -> list:
    if not logs:
        return []
    from foreshock.behaviour.rollouts.rates import read_rates
    from foreshock.study.rollouts import findings_of

    return findings_of(read_rates(*logs), seed)
