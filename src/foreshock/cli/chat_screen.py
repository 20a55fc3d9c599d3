"""What `foreshock watch` shows: the reply as it comes, tinted, above a live bar of the highest readings."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
from rich.bar import Bar
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from foreshock.cli.options import printable
from foreshock.cli.tinting import FULL, tint
from foreshock.monitor.sinks import Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock.monitor.following import Heard
    from foreshock.monitor.store import Alarm

WINDOW = 16
"""Newest words of the reply that the bar's readings are averaged over."""
SHOWN = 5
REFRESH = 0.1
"""Seconds between two drawings."""


class Screen:
    """Draws one reply after the other. Finished lines are printed for good; the line that grows and the bar are redrawn."""

    def __init__(self, console: Console, emotions: Sequence[str], word: str | None) -> None:
        self.console, self.emotions = console, list(emotions)
        self.word = word
        """The emotion that words are tinted by; None: the one that reads highest in the reply so far."""
        self._line = Text()
        self._recent: deque[np.ndarray] = deque(maxlen=WINDOW)
        self.written = ""
        """The reply so far."""
        self._live: Live | None = None
        self._drawn = 0.0
        self._alarm = Terminal(console)

    def begin(self) -> None:
        """A reply begins."""
        self._line, self.written = Text(), ""
        self._recent.clear()
        self.resume()

    def take(self, heard: Heard) -> None:
        """Words of the reply, with their readings; those of the prompt are not drawn."""
        for k in range(len(heard)):
            if heard.roles[k] == "assistant" and heard.content[k] and self._live:
                values = heard.values[k, 0]
                self._recent.append(values)
                self.written += heard.pieces[k]
                self._line.append(printable(heard.pieces[k]), tint(float(values[self.emotions.index(self._tinting())])))
                self._print_finished_lines()
        if self._live and time.monotonic() > self._drawn + REFRESH:
            self._draw()

    def alarm(self, alarm: Alarm) -> None:
        """A sink: the alarm stands below the words it is about."""
        self._print_line()
        self._alarm(alarm)

    def pause(self) -> None:
        """Leave the terminal to a question."""
        self._print_line()
        if self._live:
            self._live.stop()

    def end(self, reply: str) -> None:
        """The reply is over: its last word, which the model did not run over any more, and the readings in a line."""
        rest = reply[len(self.written.strip()) :] if reply.startswith(self.written.strip()) else ""
        self._line.append(printable(rest))
        self._print_line()
        if self._live:
            self._live.stop()
            self._live = None
        if self._recent:
            told = "  ".join(f"{word} [bold]{value:+.2f}[/]" for word, value in self._highest())
            self.console.print(f"[dim]tinted by[/] {self._tinting()}[dim]; last {len(self._recent)} words:[/] {told}")

    def resume(self) -> None:
        """Draw from now on."""
        self._live = Live(Text(), console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def _tinting(self) -> str:
        return self.word or self._highest()[0][0]

    def _highest(self) -> list[tuple[str, float]]:
        mean = np.mean(self._recent, 0)
        return [(self.emotions[k], float(mean[k])) for k in np.argsort(-mean)[:SHOWN]]

    def _print_finished_lines(self) -> None:
        *finished, self._line = self._line.wrap(self.console, self.console.width, tab_size=4) or [Text()]
        for line in finished:
            self.console.print(line)

    def _print_line(self) -> None:
        if self._line:
            self.console.print(self._line)
            self._line = Text()

    def _draw(self) -> None:
        if self._live and self._recent:
            bars = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
            for word, value in self._highest():
                bars.add_row(Text(word, "dim"), Bar(FULL, 0, max(0.0, min(value, FULL)), width=30), f"{value:+.2f}")
            self._live.update(Group(self._line, bars), refresh=True)
            self._drawn = time.monotonic()
