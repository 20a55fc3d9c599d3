"""`foreshock watch`: a chat in the terminal, read while the model writes."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Elsewhere,
    StudyName,
    dose,
    found_vectors,
    opened,
    printable,
)
from foreshock.cli.outlets import Alarms, Rules, WebhookTo, Words, check_webhook, found_rules, opened_store, sinks
from foreshock.errors import CalibrationError, ForeshockError, SteeringError

if TYPE_CHECKING:
    from rich.console import Console

    from foreshock.cli.chat_screen import Screen
    from foreshock.guard import Guard
    from foreshock.model import LanguageModel
    from foreshock.monitor.calibration import Calibration
    from foreshock.monitor.monitor import Monitor, OnAlarm
    from foreshock.monitor.store import Alarm
    from foreshock.texts.schema import Turn
    from foreshock.vectors import EmotionVectors

HELP = """[bold]/tint afraid[/] tints by another emotion, [bold]/tint[/] by the highest · \
[bold]/steer calm=0.1[/] steers from now on, [bold]/steer[/] no more · [bold]/new[/] begins anew · [bold]/quit[/] ends"""


class OnAlarmOption(StrEnum):
    """What an alarm does besides being shown."""

    note = "note"
    stop = "stop"
    ask = "ask"


def watch(
    study: StudyName = "embedded",
    system: Annotated[str | None, typer.Option(help="A system message.", show_default=False)] = None,
    emotion: Annotated[
        str | None, typer.Option(help="Emotion to tint by; left out: the highest in the reply.", show_default=False)
    ] = None,
    steer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EMOTION=STRENGTH", help="Steer, e.g. calm=0.05; may be given several times.", show_default=False
        ),
    ] = None,
    rules: Rules = None,
    on_alarm: Annotated[
        OnAlarmOption, typer.Option(help="note: only show it; stop: end the reply; ask: wait for your answer.")
    ] = OnAlarmOption.note,
    guard: Annotated[
        str | None,
        typer.Option(
            metavar="EMOTION=STRENGTH",
            help="From the first alarm on, add this emotion while the first rule's score stands too high.",
            show_default=False,
        ),
    ] = None,
    alarms: Alarms = None,
    webhook: WebhookTo = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Keep conversation, readings and alarms: a SQLite file or a postgresql:// address.", show_default=False
        ),
    ] = None,
    text: Words = True,
    most: Annotated[int, typer.Option(help="Most tokens of a reply.", min=1)] = 300,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, else sampled.", min=0.0)] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.", min=0)] = 0,
    model: Elsewhere = None,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Chat with a model and watch its readings: every word is tinted as it comes, alarms stand in line.

    Lines come from the terminal or from standard input, one message a line. Ctrl-C ends a reply, Ctrl-D the chat.

    Examples: `foreshock watch embedded` · `foreshock watch study/qwen --emotion desperate --steer calm=0.05 --on-alarm ask`
    """  # fmt: skip
    from foreshock.emotions import lookup
    from foreshock.vectors import EmotionVectors

    path = found_vectors(study)
    vectors = EmotionVectors.load(path)
    word = lookup(emotion).word if emotion else None
    doses = dict(dose(text, "--steer") for text in steer or [])
    vectors.readout(None, [*([word] if word else []), *doses])  # mistakes, before the model is opened
    found = found_rules(rules, path)
    if guard and on_alarm != OnAlarmOption.note:
        raise SteeringError(
            "A guard goes on with the reply, so --guard does not go together with --on-alarm; give one."
        )
    counter = _guard(guard, found, vectors)
    check_webhook(webhook)
    subject = opened(model or vectors.manifest.get("model", {}).get("name"), dtype, device)

    from rich.console import Console

    from foreshock.cli.chat_screen import Screen
    from foreshock.monitor.monitor import DriftWarning, Monitor
    from foreshock.steering import BeyondRange

    console = Console(highlight=False)
    with contextlib.ExitStack() as stack:
        kept = opened_store(store, text, stack)
        outlets = sinks(alarms, webhook, stack)
        screen = Screen(console, vectors.emotions, word)
        monitor = Monitor(
            subject, vectors, found, sinks=[screen.alarm, *outlets], on_alarm=counter or _reaction(on_alarm, screen),
            on_tokens=screen.take, store=kept, source="watch",
        )  # fmt: skip
        stack.enter_context(monitor)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always", DriftWarning)
        _greet(console, subject, monitor.layers[0], found)
        warnings.simplefilter("ignore", BeyondRange)  # said once, by `warn_beyond`
        chat = Chat(subject, vectors, monitor, screen, system, doses, most, temperature, seed)
        chat.run(console)
        count = len(monitor.alarms)
        console.print(f"[dim]{count} alarm{'s' * (count != 1)}.[/]")


@dataclass
class Chat:
    """The conversation and the settings that its commands change."""

    model: LanguageModel
    vectors: EmotionVectors
    monitor: Monitor
    screen: Screen
    system: str | None
    doses: dict[str, float]
    most: int
    temperature: float
    seed: int
    turns: list[Turn] = field(default_factory=list)
    begun: int = 0
    """Conversations so far."""

    def run(self, console: Console) -> None:
        """Take messages and commands until there are no more."""
        self.anew()
        self.warn_beyond(console)
        for line in _lines(console):
            try:
                if line in ("/quit", "/exit"):
                    return
                self.command(console, line) if line.startswith("/") else self.say(line)
            except ForeshockError as problem:
                console.print("[red]Error:[/]", end=" ")
                console.print(str(problem), markup=False)

    def anew(self) -> None:
        """Begin a new conversation."""
        from foreshock.texts.schema import Turn

        self.begun += 1
        self.turns = [Turn(role="system", content=self.system)] if self.system else []

    def command(self, console: Console, line: str) -> None:
        """One of the commands that begin with a slash."""
        from foreshock.emotions import lookup

        name, _, rest = line.partition(" ")
        if name == "/new":
            self.anew()
            console.print("[dim]A new conversation.[/]")
        elif name == "/tint":
            if rest:
                self.vectors.readout(None, [rest.strip()])
            self.screen.word = lookup(rest.strip()).word if rest.strip() else None
        elif name == "/steer":
            doses = dict(dose(part, "/steer") for part in rest.split())
            self.vectors.readout(None, list(doses))
            self.doses = doses
            console.print(f"[dim]Steered by {rest.strip() or 'nothing'}.[/]")
            self.warn_beyond(console)
        else:
            console.print(HELP)

    def warn_beyond(self, console: Console) -> None:
        """Say it where the strength is larger than the text was measured to bear."""
        from foreshock.steering import Steering

        if self.doses and (sentence := Steering(self.doses, self.vectors).beyond()):
            console.print(f"[yellow]{sentence}[/]")

    def say(self, message: str) -> None:
        """One message and its reply."""
        from foreshock.model.generation import generate
        from foreshock.steering import Steering
        from foreshock.texts.schema import Turn

        asked = [*self.turns, Turn(role="user", content=message)]
        prompt = self.model.encode_transcript(asked, reply=True)
        self.monitor.expect([prompt], [f"watch-{os.getpid()}-{self.begun}"])
        steering = Steering(self.doses, self.vectors) if self.doses else None
        self.screen.begin()
        reply = ""
        try:
            seed = self.seed + len(self.turns)
            (reply,) = generate(
                self.model, [prompt], self.most, temperature=self.temperature, seed=seed, steering=steering
            )
        except KeyboardInterrupt:
            reply = self.screen.written
        finally:
            self.screen.end(reply)
        self.turns = [*asked, *([Turn(role="assistant", content=reply)] if reply else [])]


def _lines(console: Console) -> Iterator[str]:
    """Messages, one a line, without those that are empty."""
    while True:
        try:
            line = console.input("[bold cyan]you ›[/] ") if sys.stdin.isatty() else _piped(console)
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip():
            yield line.encode("utf-8", "replace").decode().strip()


def _piped(console: Console) -> str:
    """The next line of standard input, shown as if it were typed. Raises `EOFError` after the last."""
    line = sys.stdin.buffer.readline().decode("utf-8", "replace")
    if not line:
        raise EOFError
    console.print("[bold cyan]you ›[/] ", end="")
    console.print(printable(line.rstrip()), markup=False)
    return line


def _greet(console: Console, model: LanguageModel, layer: int, rules: Calibration | None) -> None:
    from rich.markup import escape

    console.print(f"[bold]{escape(model.name)}[/], layer {layer}. [dim]/help for commands, Ctrl-D ends.[/]")
    if rules:
        words = escape(", ".join(rule.name for rule in rules.rules))
        console.print(
            f"[dim]{len(rules.rules)} rules ({words}), at most {rules.alpha:g} of benign conversations alarmed.[/]"
        )
    else:
        console.print("[dim]No rules, so no alarms; `foreshock calibrate` makes them.[/]")


def _guard(text: str | None, rules: Calibration | None, vectors: EmotionVectors) -> Guard | None:
    if text is None:
        return None
    if rules is None:
        raise CalibrationError(
            "A guard takes over at an alarm, and there are no rules; make some with `foreshock calibrate`."
        )
    from foreshock.monitor.hand_over import guard_for

    word, strength = dose(text, "--guard")
    return guard_for(rules, vectors, {word: strength}, most=max(0.2, abs(strength)))


def _reaction(asked: OnAlarmOption, screen: Screen) -> OnAlarm:
    if asked != OnAlarmOption.ask:
        return "stop" if asked == OnAlarmOption.stop else "note"

    def ask(_alarm: Alarm) -> bool:
        screen.pause()
        try:
            return typer.confirm("Let the reply go on?")
        except typer.Abort:
            return False
        finally:
            screen.resume()

    return ask
