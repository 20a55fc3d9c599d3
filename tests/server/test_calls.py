"""Calls of tools in a reply that comes piece by piece."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from foreshock.server.calls import BEGIN, END, CallReader

CALL = f'{BEGIN}\n{{"name": "find", "arguments": {{"word": "sea"}}}}\n{END}'


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60))
def test_wherever_the_text_is_cut_the_call_is_read_and_the_rest_shown(cuts: list[int]) -> None:
    reader, shown, place = CallReader(), "", 0
    text = f"Let me look. {CALL} and {CALL} < done <tool"
    for cut in cuts:
        shown += reader.take(text[place : place + cut])
        place += cut
    shown += reader.take(text[place:], last=True)
    assert shown == "Let me look.  and  < done <tool"
    assert [call.function.name for call in reader.calls] == ["find", "find"]
    assert json.loads(reader.calls[0].function.arguments) == {"word": "sea"}
    assert reader.calls[0].id != reader.calls[1].id


def test_what_is_no_call_is_text() -> None:
    for wrong in ("not JSON", "[1]", '{"name": 3}', '{"arguments": {}}'):
        reader = CallReader()
        text = f"{BEGIN}{wrong}{END}!"
        assert reader.take(text) + reader.take("", last=True) == text and not reader.calls
    reader = CallReader()
    assert reader.take(f"so {BEGIN}cut off") == "so "
    assert reader.take("", last=True) == f"{BEGIN}cut off"
