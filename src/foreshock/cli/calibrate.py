"""`foreshock calibrate`: thresholds from benign conversations, with a stated false-alarm rate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, Elsewhere, StudyName, found_vectors, opened
from foreshock.cli.read_input import report, transcripts
from foreshock.errors import CalibrationError, ForeshockError, TextError

if TYPE_CHECKING:
    from foreshock.model import LanguageModel, Tokens
    from foreshock.monitor.calibration import Calibration
    from foreshock.monitor.checking import Observed
    from foreshock.monitor.rules import Rule
    from foreshock.readings import Readings
    from foreshock.texts.documents import Transcript
    from foreshock.vectors import EmotionVectors

RULES = ("desperate,calm=-1", "afraid", "hostile")
"""Watched for where nothing else is asked: what the study tied to misconduct, and two more of the same quarter."""
BUILTIN = "builtin"


def calibrate(
    study: StudyName,
    benign: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Benign conversations: .jsonl, .csv or .parquet files, Inspect logs or folders of logs. Left out: the 210 "
            "built-in ones, which are no substitute for your own traffic.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EMOTIONS[:DETECTOR]",
            help="What is watched for, e.g. desperate,calm=-1:level/32, afraid:change or hostile:extreme; may be given "
            f"several times. Left out: {' '.join(RULES)}.",
            show_default=False,
        ),
    ] = None,
    learn: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Adds a rule that is learned from labelled conversations (JSONL: messages, misaligned, scenario); "
            "`builtin` for the built-in pairs.",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Highest probability that a benign conversation raises any alarm.")
    ] = 0.05,
    roles: Annotated[
        str, typer.Option(help="Whose words are watched, comma-separated; `all` for everyone's.")
    ] = "assistant",
    layer: Annotated[
        int | None, typer.Option(help="Layer to read at; left out: the reading layer.", show_default=False)
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(
            help="Other benign conversations, on which the false-alarm rate is counted afterwards.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to; left out: rules.json beside the vectors.", show_default=False)
    ] = None,
    model: Elsewhere = None,
    seed: Annotated[int, typer.Option(help="Draws the share that scores are standardised on.", min=0)] = 0,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Set alarm thresholds from benign conversations, so that at most a share α of such conversations raises any alarm.

    The promise holds for conversations like those that were given, over all rules and however long they are. Too few of
    them for α are refused, with the number that is needed.

    Examples: `foreshock calibrate embedded` · `foreshock calibrate study/qwen traffic.jsonl --alpha 0.01
    --rule desperate,calm=-1 --rule afraid:change --check later.jsonl`
    """
    from foreshock.monitor.rules import parse_rule
    from foreshock.vectors import EmotionVectors

    path = found_vectors(study)
    vectors = EmotionVectors.load(path)
    rules = [parse_rule(words) for words in (rule or ([] if learn else RULES))]
    for one in rules:  # mistakes, before the model is opened
        vectors.readout(layer, list(one.score.weights))
    wanted = None if roles.strip() == "all" else [role.strip() for role in roles.split(",")]
    for file in [*(benign or []), *(check or [])]:
        if not file.exists():
            raise TextError(f"There is no {file}; give a file of conversations or a folder of them.")
    subject = opened(model or vectors.manifest.get("model", {}).get("name"), dtype, device)

    from rich.console import Console

    from foreshock.monitor.calibration import calibrate as calibrated
    from foreshock.monitor.checking import check as checked

    faults: list[str] = []
    with Console(stderr=True).status("Reading benign conversations …"):
        if learn:
            rules.append(_learned(subject, vectors, learn, layer))
        readings = _readings(subject, vectors, _conversations(benign or []), layer, wanted, faults)
        found = calibrated(rules, readings, alpha, subject, vectors, roles=wanted, seed=seed)
        others = _readings(subject, vectors, _conversations(check), layer, wanted, faults) if check else []
        observed = checked(found, others)
    target = out or path.parent / "rules.json"
    found.save(target)
    _show(found, observed)
    typer.echo(f"Rules: {target.resolve()}")
    if faults:
        raise typer.Exit(2)


def _conversations(paths: list[Path]) -> Iterator[Transcript | ForeshockError]:
    from foreshock.texts import benign_conversations
    from foreshock.texts.documents import Transcript

    if not paths:
        yield from (Transcript(talk.id, list(talk.turns)) for talk in benign_conversations())
    for path in paths:
        yield from transcripts(str(path))


def _readings(
    model: LanguageModel,
    vectors: EmotionVectors,
    found: Iterator[Transcript | ForeshockError],
    layer: int | None,
    roles: list[str] | None,
    faults: list[str],
) -> Iterator[Readings]:
    """Readings of each conversation that can be used; the others are said on standard error and counted."""
    from foreshock.readings import read

    def usable() -> Iterator[Tokens]:
        for one in found:
            place = "" if isinstance(one, ForeshockError) else one.place
            try:
                if isinstance(one, ForeshockError):
                    raise one
                told = one.document
                tokens = model.encode(told) if isinstance(told, str) else model.encode_transcript(told)
                if roles is not None and not set(roles) & set(tokens.roles):
                    raise TextError(f"{place} has no words of {', '.join(roles)}; see --roles.")
                yield tokens
            except ForeshockError as problem:
                report(problem, place, faults)

    yield from read(model, vectors, usable(), layer)


def _learned(model: LanguageModel, vectors: EmotionVectors, source: str, layer: int | None) -> Rule:
    """A rule from labelled conversations: mean readings of the last message of each, misaligned against honest."""
    import numpy as np

    from foreshock.monitor.rules import Level, Rule
    from foreshock.monitor.scores import learned
    from foreshock.readings import read

    told = list(_labelled(source))
    means = []
    for readings in read(model, vectors, [model.encode_transcript(turns) for turns, _, _ in told], layer):
        _, _, mean = readings.by_turn()[-1]
        means.append(list(mean.values()))
    labels, scenarios = np.array([label for _, label, _ in told]), [scenario for *_, scenario in told]
    return Rule("learned", learned(np.array(means), labels, scenarios, vectors.emotions), Level())


def _labelled(source: str) -> Iterator[tuple[list, bool, str]]:
    from foreshock.texts import warning_pairs
    from foreshock.texts.documents import parse_document
    from foreshock.texts.loading import rows_of

    if source == BUILTIN:
        for pair in warning_pairs():
            yield pair.told(pair.misaligned), True, pair.id
            yield pair.told(pair.honest), False, pair.id
        return
    for place, row in rows_of(Path(source)):
        document = parse_document(row, place)
        if isinstance(document, str) or not isinstance(row.get("misaligned"), bool) or "scenario" not in row:
            raise CalibrationError(
                f"{place} cannot be learned from; give `messages`, `misaligned` (true or false) and `scenario`."
            )
        yield document, row["misaligned"], str(row["scenario"])


def _show(calibration: Calibration, observed: Observed | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("rule", "detector", "fires above"):
        table.add_column(column, justify="right" if column == "fires above" else "left")
    for rule, limit in zip(calibration.rules, calibration.thresholds, strict=True):
        table.add_row(Text(rule.name), str(rule.detector), f"{limit:.2f}")
    console = Console(highlight=False)
    console.print(table)
    n, alpha = len(calibration.maxima[0]), calibration.alpha
    console.print(
        f"At most {alpha:g} of conversations like these {n} raise any alarm. "
        f"[dim]Calibrated on {n} conversations, besides those that standardise the scores; layer {calibration.layer}.[/]"
    )
    if observed:
        low, high = observed.interval
        verdict = "within the promise" if observed.kept else "MORE than was promised: these differ from the first ones"
        console.print(
            f"Of {observed.conversations} others {observed.alarmed} raised an alarm: "
            f"{observed.rate:.3f} [dim]\\[{low:.3f}, {high:.3f}][/], {verdict}."
        )
