"""Where alarms go. A sink is anything that takes an alarm: a function of your own, or one of these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from foreshock.errors import OutputError
from foreshock.monitor.alarms import line
from foreshock.monitor.store.records import Alarm

Sink = Callable[[Alarm], None]


class JsonLines:
    """Adds each alarm to a file as a line of JSON, which is on its way to disk when the call returns.

    Raises:
        OutputError: the file cannot be written to.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.open("a").close()
        except OSError as problem:
            raise OutputError(
                f"{path} cannot be written to ({problem.strerror}); choose a file in a folder you may write to."
            ) from problem

    def __call__(self, alarm: Alarm) -> None:
        """Add a line."""
        with self._path.open("a", encoding="ascii") as file:
            file.write(line(alarm) + "\n")


class Terminal:
    """Prints each alarm; whatever a model wrote cannot do anything to the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    def __call__(self, alarm: Alarm) -> None:
        """Print two lines."""
        head = f"⚠ {alarm.rule} {alarm.score:.2f} > {alarm.threshold:.2f}, p = {alarm.p:.3g}"
        where = f" · conversation {alarm.conversation}, {alarm.role}, turn {alarm.turn}, token {alarm.token}"
        self._console.print(Text(_harmless(head), "bold red") + Text(_harmless(where), "dim"))
        self._console.print(Text(f"  … {_harmless(alarm.text)}"))


def _harmless(text: str) -> str:
    return "".join(letter if letter.isprintable() else "·" for letter in text)
