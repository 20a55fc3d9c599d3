"""The card of the texts counts what is there."""

from __future__ import annotations

from docs.count_texts import BEGIN, CARD, END, counted


def test_the_card_is_current() -> None:
    assert CARD.read_text().split(BEGIN)[1].split(END)[0] == counted(), "run `python docs/count_texts.py`"
