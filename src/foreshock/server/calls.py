"""Calls of tools in a reply, as most open-weight models write them: `<tool_call>{"name": …, "arguments": …}</tool_call>`."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field

from foreshock.server.wire import Called, ToolCall

BEGIN, END = "<tool_call>", "</tool_call>"


@dataclass
class CallReader:
    """Takes a reply's text as it comes; gives what may be shown, and gathers the calls."""

    calls: list[ToolCall] = field(default_factory=list)
    _held: str = ""

    def take(self, text: str, last: bool = False) -> str:
        """The text that is none of a call's. What may be the beginning of a call waits, at the `last` no more."""
        self._held += text
        shown = ""
        while BEGIN in self._held:
            before, _, rest = self._held.partition(BEGIN)
            inside, found, after = rest.partition(END)
            if not found and not last:
                self._held = BEGIN + rest
                return shown + before
            # A call that cannot be read, or never ended, is text like any other.
            shown += before + ("" if self._read(inside) else BEGIN + inside + found)
            self._held = after
        waiting = 0 if last else next((n for n in range(len(BEGIN) - 1, 0, -1) if self._held.endswith(BEGIN[:n])), 0)
        place = len(self._held) - waiting
        shown, self._held = shown + self._held[:place], self._held[place:]
        return shown

    def _read(self, inside: str) -> bool:
        try:
            call = json.loads(inside)
            name, given = call["name"], call.get("arguments", call.get("parameters", {}))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return False
        if not isinstance(name, str):
            return False
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        self.calls.append(ToolCall(id=f"call_{uuid.uuid4().hex[:24]}", function=Called(name=name, arguments=arguments)))
        return True
