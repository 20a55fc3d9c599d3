"""The page of readings in a real browser: offline, bounded, tinted, and nothing that a text says is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from foreshock.model import Tokens
from foreshock.monitor.store.records import Alarm
from foreshock.readings import Readings
from foreshock.report import reading_page
from foreshock.report.reading_page import EMOTIONS, ReadingPage, shown

HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>{{ 7*7 }}\u202e\x1b[31m\x00"
WORDS = tuple(f"emotion {k:02d}" for k in range(20))


def conversation(turns: Sequence[str], layer: int = 3, seed: int = 0) -> Readings:
    """A token a word, and one of the template's before each turn."""
    text, spans, roles, numbers, content = "", [], [], [], []
    for number, said in enumerate(turns):
        for k, piece in enumerate(["<role>", *(f" {word}" for word in said.split(" "))]):
            spans.append((len(text), len(text) + len(piece)))
            text += piece
            roles.append("user" if number % 2 == 0 else "assistant")
            numbers.append(number)
            content.append(k > 0)
    tokens = Tokens(text, [0] * len(spans), spans, roles, numbers, content)
    values = np.random.default_rng(seed).normal(0, 3, (len(spans), len(WORDS))).astype(np.float32)
    values[0] = 1000  # as the attention sink has it
    return Readings(tokens, WORDS, layer, values)


def alarm(token: int, turn: int) -> Alarm:
    return Alarm("a", f"rule {HOSTILE}", 3.2, 2.5, 0.01, token, turn, "assistant", HOSTILE, datetime.now(UTC))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = ReadingPage(f"a{HOSTILE}.jsonl", f"reader{HOSTILE}", alarm_layer=4)
    talk = ["one two three four five six seven eight nine ten", f"words {HOSTILE} and more", "the last ones"]
    for k in range(3):
        readings = [conversation(talk, layer, seed=k + layer) for layer in (3, 4)]
        page.add(
            f"line {k}{HOSTILE}", f"written by x{HOSTILE}, read by y: a surrogate reader", readings, [alarm(13, 1)]
        )
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page.render([f"line 9 is bad {HOSTILE}"]))
    return path


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    """The page, which must have asked for nothing and complained of nothing when the test is over."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    requests: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"file://{path}")
    page.wait_for_selector(".timeline canvas")
    yield page
    assert not said and all(url.startswith(("file:", "data:", "blob:")) for url in requests), (said, requests)
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (390, "dark")])
def test_hostile_texts_are_shown_and_do_nothing(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("window.pwned") is None
    assert "window.pwned=1</script>" in page.locator(".messages").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
    assert "a surrogate reader" in page.locator("ul").first.inner_text()
    assert page.locator(".message .role").all_inner_texts()[:3] == ["1 user", "2 assistant", "3 user"]


def test_tint_layer_and_smoothing_follow_their_selects(page: Page) -> None:
    token = page.locator(".story span").nth(12)
    seen = {token.get_attribute("style")}
    page.locator(".emotion").first.select_option(index=3)
    seen.add(token.get_attribute("style"))
    page.locator("#smooth").select_option("1")
    seen.add(token.get_attribute("style"))
    page.locator("#layer").select_option("1")
    seen.add(token.get_attribute("style"))
    assert len(seen) == 4
    assert page.locator(".emotion").first.locator("option").count() == EMOTIONS


@pytest.mark.parametrize("window", [8, 32])
def test_the_page_smooths_as_the_library_does(page: Page, window: int) -> None:
    page.locator("#smooth").select_option(str(window))
    found = page.evaluate("conversations[0].values")
    readings = conversation(["one two three four five six seven eight nine ten", f"words {HOSTILE} and more", "the last ones"], seed=3)  # fmt: skip
    words = page.evaluate("conversations[0].layer.emotions")
    expected = readings.smoothed(window).values[:, [WORDS.index(word) for word in words]]
    expected = np.where(readings.counted()[:, None], expected, np.nan)[np.array(readings.tokens.content)]
    assert np.allclose(np.array(found, float).T, expected, atol=0.011, equal_nan=True)


def test_the_time_line_marks_the_token_under_the_pointer(page: Page) -> None:
    canvas = page.locator(".timeline canvas").first
    box = canvas.bounding_box()
    assert box
    page.wait_for_timeout(100)
    canvas.hover(position={"x": box["width"] - 4, "y": 100})
    last = page.locator(".conversation").first.locator(".story span").last
    assert "at" in (last.get_attribute("class") or "").split()
    assert "message 3" in page.locator(".figure").first.inner_text()
    page.locator(".go").first.click()
    marked = page.locator(".conversation").first.locator(".story span.at")
    assert (
        "alarm" in (marked.get_attribute("class") or "") and "alarm: rule" in page.locator(".figure").first.inner_text()
    )
    assert page.evaluate("conversations[0].view.signal('at')") == page.evaluate("conversations[0].at") + 1


def test_a_page_is_bounded_and_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ReadingPage("a.jsonl", "reader")
    for k in range(23):
        page.add(f"line {k}", "author not stated; read by reader", [conversation(["a b c"])])
    assert len(page.conversations) == 20
    said = page.render([f"line {k} is bad" for k in range(30)])
    assert "shows the first 20; the other 3 are counted" in said and "23: author not stated" in said
    assert "line 19 is bad" in said and "line 20 is bad" not in said and "and 10 more" in said
    monkeypatch.setattr(reading_page, "TOKENS", 30)
    page = ReadingPage("a.jsonl", "reader")
    for length in (25, 25, 1):
        page.add("line", "author not stated", [conversation(["a " * length])])
    assert len(page.conversations) == 2, "the first ones, and none once the page is full"


def test_a_picked_emotion_comes_first_and_characters_of_several_tokens_are_shown_once() -> None:
    tokens = Tokens("a 界 b", [0] * 5, [(0, 1), (1, 3), (2, 3), (2, 3), (3, 5)], ["text"] * 5, [0] * 5, [True] * 5)
    readings = Readings(tokens, WORDS, 1, np.zeros((5, len(WORDS)), np.float32))
    one = shown("place", "author not stated", [readings], emotion="emotion 19")
    assert "".join(one.messages[0].pieces) == "a 界 b" and one.messages[0].number is None
    assert one.data["layers"][0]["emotions"][:2] == ["emotion 19", "emotion 00"]
