"""The pages Conversations and Overview in a real browser, over a store with hostile transcripts and a long one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page

from foreshock.monitor.store import Conversation
from foreshock.server.settings import Served
from tests.report.conftest import browser  # noqa: F401
from tests.server.hostile import IDS, SCRIPT, fill, say

LONG = 20_000
TURNS = 20


@pytest.fixture(scope="module")
def filled(served: Served, address: str) -> str:
    assert served.store
    fill(served.store)
    served.store.add(Conversation("long", datetime(2026, 11, 25, tzinfo=UTC), "planted", "test"))
    words = [f" word{k}" for k in range(LONG // TURNS)]
    for turn in range(TURNS):
        say(served.store, "long", turn, ("user", "assistant")[turn % 2], words, alarm=700 if turn == 15 else None)
    served.store.flush()
    return address


@pytest.fixture
def page(browser: Browser, filled: str) -> Iterator[Page]:  # noqa: F811
    """A page that fails the test where a script of a transcript runs, anything is blocked, or a request leaves."""
    with browser.new_context(viewport={"width": 1280, "height": 860}) as context:
        page, wrong = context.new_page(), []
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda problem: wrong.append(str(problem)))
        page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda asked: None if asked.url.startswith((filled, "data:")) else wrong.append(asked.url))
        yield page
        assert wrong == []


def opened(page: Page, address: str, id: str) -> None:
    page.goto(f"{address}/#/conversations/{quote(id, safe='')}")
    page.locator(".course canvas").wait_for()
    page.locator(".stretch [data-tint]").first.wait_for()


def until(page: Page, expression: str, argument: str | None = None) -> None:
    """Wait until it is true; not by Playwright's own way, which the page's policy forbids."""
    for _ in range(500):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{expression} never became true")


def test_the_list_is_searched_filtered_and_walked_by_keys(page: Page, filled: str) -> None:
    page.goto(f"{filled}/#/conversations?alarm=true")
    page.locator(".list a").nth(1).wait_for()
    assert page.locator(".list a").count() == 2 and page.locator(".list .alarm").count() == 2
    page.get_by_label("Alarms").select_option("")
    page.locator(".list a").nth(3).wait_for()
    page.get_by_label("Search").fill("word999")
    page.locator(".list a").nth(1).wait_for(state="detached")
    assert "search=word999" in page.url
    page.get_by_label("Search").fill("nobody said this")
    page.get_by_text("No conversation fits.").wait_for()
    page.get_by_label("Search").fill("")
    page.locator(".list a").nth(3).wait_for()
    page.locator(".list a").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".course canvas").wait_for()
    assert page.locator("h1 bdi").text_content() == IDS[2]


@pytest.mark.parametrize("id", IDS)
def test_hostile_words_stay_words(page: Page, filled: str, id: str) -> None:
    page.goto(f"{filled}/#/conversations")
    page.locator(".list a").nth(3).wait_for()
    assert SCRIPT in (page.locator(".list").text_content() or "")
    opened(page, filled, id)
    assert page.locator("h1 bdi").text_content() == id
    tokens = page.locator(".token").all_text_contents()
    assert tokens.count(SCRIPT) == 2 and tokens.count("</script>") == 2 and "\u202eright to left" in tokens
    assert page.locator("main").evaluate("main => main.querySelectorAll('script, img, b, style, iframe').length") == 0
    if id == IDS[2]:
        page.locator(".why summary").click()
        assert "“desperate<b>” rose to 9.50, above its threshold of 5.25" in page.locator(".why p").inner_text()
        assert page.locator(".said").nth(1).locator(".alarmed").count() == 1


def test_a_long_conversation_has_elements_only_where_it_is_looked_at(page: Page, filled: str) -> None:
    opened(page, filled, "long")
    assert page.locator(".token").count() < LONG / 2
    assert page.evaluate("document.querySelector('.transcript').textContent.length") > 5 * LONG
    slider = page.get_by_role("slider")
    assert slider.get_attribute("aria-valuemax") == str(LONG)
    page.get_by_role("button", name="Go to it in message 16").click()
    page.locator(".token.at.alarmed").wait_for()
    assert (page.locator(".token.at").text_content() or "").strip() == "word700"
    at = 15 * (LONG // TURNS) + 700
    assert slider.get_attribute("aria-valuenow") == str(at + 1)
    assert page.locator(".token.at").evaluate("e => { const y = e.getBoundingClientRect().top; return y > 0 && y < innerHeight; }")  # fmt: skip
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuenow") == str(at + 2)
    page.keyboard.press("Home")
    until(page, "document.querySelector('.token.at')?.place === 0")


def test_time_line_and_text_follow_each_other(page: Page, filled: str) -> None:
    opened(page, filled, "long")

    def seen() -> float:
        return float(page.locator(".seen").evaluate("e => e.getBoundingClientRect().left"))

    begin = seen()
    page.evaluate("scrollTo({ top: document.documentElement.scrollHeight / 2, behavior: 'instant' })")
    until(page, f"document.querySelector('.seen').getBoundingClientRect().left > {begin + 100}")
    page.locator(".course canvas").click(position={"x": 300, "y": 60})
    place = page.locator(".token.at").evaluate("e => e.place")
    assert LONG * 0.1 < place < LONG * 0.35
    pointer = page.locator(".pointer").evaluate("e => e.getBoundingClientRect().left")
    canvas = page.locator(".course canvas").bounding_box()
    assert canvas and abs(pointer - canvas["x"] - 300) < 3
    until(page, f"document.querySelector('.seen').getBoundingClientRect().left < {pointer + 20}")


def test_another_emotion_tints_anew_and_not_by_colour_alone(page: Page, filled: str) -> None:
    opened(page, filled, "long")
    api = httpx.get(f"{filled}/api/conversations/long", params={"emotions": "calm"}).json()
    page.get_by_label("Tint by").select_option("calm")
    page.get_by_text("Tint: the calm reading").wait_for()
    tints = page.locator(".token").evaluate_all("all => all.slice(0, 200).map((e) => Number(e.dataset.tint ?? 0))")
    values = [row[0] for row in api["readings"][0]["values"]][:200]
    assert all(tint * value >= 0 for tint, value in zip(tints, values, strict=True)) and len(set(tints)) > 5
    lines = {
        sign: page.locator(f".stretch [data-tint='{sign}']").first.evaluate(
            "e => getComputedStyle(e).textDecorationStyle"
        )
        for sign in ("4", "-4")
    }
    assert lines == {"4": "solid", "-4": "dotted"}


def test_the_overview_is_told_in_charts_and_words_and_kept_fresh(page: Page, filled: str) -> None:
    page.goto(f"{filled}/#/overview")
    page.locator(".pictures canvas").first.wait_for()
    assert page.get_by_text("Not told yet: it takes 20 conversations").count() == 1
    asked = {"model": "any", "messages": [{"role": "user", "content": "w1 w2 w3"}], "max_tokens": 4}
    before = page.locator(".facts").inner_text()
    assert httpx.post(f"{filled}/v1/chat/completions", json=asked, timeout=60).is_success
    until(page, "before => document.querySelector('.facts').innerText !== before", before)
    assert "desperate<b>" in (page.locator(".pictures table").nth(1).text_content() or "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser: Browser, filled: str, scheme: str) -> None:  # noqa: F811
    with browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        for place in ("conversations", f"conversations/{quote(IDS[2], safe='')}", "overview"):
            page.goto(f"{filled}/#/{place}")
            page.locator(".list a, .course canvas, .pictures canvas").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
