"""The pages Live and Model in a real browser, against the real server with the planted model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from foreshock.model.planted import EMOTIONS, Planted, cue
from foreshock.monitor.calibration import Calibration
from foreshock.server.settings import Served, Settings
from foreshock.vectors import EmotionVectors
from tests.report.conftest import browser  # noqa: F401
from tests.server.serving import made, serving

DESPERATE = " ".join(cue("desperate", topic, number) for topic in range(6) for number in range(2))
HOSTILE = "<img src=x onerror=window.pwned=1></div><script>window.pwned=1</script>{{ 7*7 }}\u202e"
KEY = "a-key-of-these-tests-only"
SIZES = [(1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")]
CONTRASTS = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => [0, 1, 2].map((k) => top[k] * top[3] + under[k] * (1 - top[3]));
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, e.parentElement ? ground(e.parentElement) : [255, 255, 255]); };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest('.chart')) continue;
    const under = ground(e), [a, b] = [light(over(parse(getComputedStyle(e).color), under)), light(under)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 20)}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""


@pytest.fixture(scope="module")
def locked(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server with an API key, and with a study whose words are hostile."""
    study = tmp_path_factory.mktemp("study")
    finding = {"id": "a", "claim": f"The *calm* reading {HOSTILE}", "estimate": -0.25, "interval": [-0.5, 0.1], "published": HOSTILE, "verdict": "cannot tell"}  # fmt: skip
    manifest = {"model": {"name": "planted-0"}}
    (study / "findings.json").write_text(json.dumps({"schema": 2, "manifest": manifest, "findings": [finding]}))
    settings = Settings(api_key=KEY, per_minute=100_000, patience=5)
    with serving(made(plant.model, vectors, calibration, settings=settings, study=study)) as address:
        yield address


def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:  # noqa: F811
    """A page that has asked nobody else, complained of nothing and run nothing when the test is over."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", **options)
    page.set_default_timeout(15_000)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    said = [text for text in said if "status of 4" not in text]  # refusals that a test asks for
    assert not said and all(url.startswith((address, "data:")) for url in asked), (said, asked)
    assert page.evaluate("window.pwned") is None
    page.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:  # noqa: F811
    for page in opened(browser, address):
        page.goto(address)
        page.locator(".composer").wait_for()
        yield page


def send(page: Page, words: str, most: int = 24) -> None:
    page.get_by_label("Most tokens").fill(str(most))
    page.get_by_label("Message", exact=True).fill(words)
    page.keyboard.press("Enter")


def settled(page: Page) -> None:
    page.get_by_role("button", name="Send").wait_for()
    page.locator(".reply canvas, .reply .chart svg").first.wait_for()


def tints(page: Page) -> list[str | None]:
    tokens = page.locator(".reply .token")
    return [tokens.nth(k).get_attribute("data-tint") for k in range(tokens.count())]


def test_a_reply_streams_tinted_with_its_alarm_in_line(page: Page) -> None:
    send(page, DESPERATE)
    settled(page)
    assert page.locator(".reply .token").count() > 4
    for mark in (page.locator(".reply .alarm").first, page.locator(".alarms[aria-live=polite] li").first):
        assert "desperate: " in mark.inner_text() and ">" in mark.inner_text() and "p =" in mark.inner_text()
    assert "new alarm" in page.locator("#raised").inner_text(), "it came over /events too"
    assert "Thresholds: desperate above" in page.locator(".exchange").inner_text()
    assert "alarm" in page.locator("#said").inner_text()
    before = tints(page)
    assert all(before), "the *desperate* reading of each token is shown"
    page.get_by_label("Tint by").select_option("happy")
    assert tints(page) != before
    page.locator(".reply .bubble").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert page.locator(".token.at").count() == 1
    assert "reads: happy" in page.locator(".reply .detail").inner_text()


def test_hostile_words_stay_words_and_the_conversation_goes_on(page: Page) -> None:
    sent: list[dict[str, Any]] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.get_by_label("System message").fill(HOSTILE)
    send(page, HOSTILE)
    settled(page)
    assert "onerror=window.pwned=1" in page.locator(".bubble.user").inner_text()
    send(page, "w1 w2 w3")
    page.locator(".exchange").nth(1).wait_for()
    settled(page)
    assert [message["role"] for message in sent[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert sent[0]["foreshock"]["conversation"] == sent[1]["foreshock"]["conversation"]
    assert page.locator(".bubble.user .token").count() >= 3, "the user's words are read too"
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".exchange").count() == 0


def test_side_by_side_steered_and_unsteered(page: Page) -> None:
    page.get_by_label("Emotion", exact=True).fill("no such emotion")
    page.keyboard.press("Enter")
    assert "no such emotion" in page.locator(".fault").inner_text()
    page.get_by_label("Emotion", exact=True).fill("happy")
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    slider = page.get_by_label("Steering towards happy")
    assert "more, +" in (slider.get_attribute("aria-valuetext") or "")
    page.get_by_role("switch").check()
    send(page, "w1 w2 w3 w4")
    page.locator(".reply").nth(1).locator("canvas, svg").first.wait_for()
    settled(page)
    heads = page.locator(".reply h3").all_inner_texts()
    assert heads[0].startswith("steered: happy +") and heads[1] == "unsteered"
    page.get_by_label("Tint by").select_option("happy")
    said = []
    for reply in page.locator(".reply").all():
        reply.locator(".bubble").focus()
        page.keyboard.press("Home")
        said.append(float(reply.locator(".detail").inner_text().split("happy ")[1].split(" ")[0].replace("−", "-")))
    assert said[0] > said[1], "steering towards it raises the *happy* reading"
    page.get_by_role("button", name="Reset to 0").click()
    assert slider.input_value() == "0"


def test_stop_frees_the_slot(page: Page, served: Served) -> None:
    send(page, "w1 w2 w3", most=450)
    page.locator(".reply .token").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    settled(page)
    assert page.locator(".reply .state").inner_text() == "stopped"
    for _ in range(100):
        if served.engine.load == (0, 0):
            break
        page.wait_for_timeout(20)
    assert served.engine.load == (0, 0)


def test_a_refusal_is_a_sentence_and_can_be_tried_again(page: Page) -> None:
    send(page, "w1 w2 w3", most=1_000_000)
    notice = page.locator(".notice")
    notice.wait_for()
    assert "at most 2,048 tokens" in notice.inner_text()
    page.get_by_label("Most tokens").fill("8")
    page.get_by_role("button", name="Try again").click()
    settled(page)
    assert page.locator(".notice").count() == 0 and page.locator(".reply").count() == 1


def test_the_key_is_asked_for_and_the_study_is_shown(browser: Browser, locked: str) -> None:  # noqa: F811
    for page in opened(browser, locked):
        page.goto(f"{locked}/#/model")
        for key in ("not the key of this server", KEY):
            page.get_by_label("Key", exact=True).fill(key)
            page.keyboard.press("Enter")
            page.locator("dialog", has_text="was not accepted").wait_for() if key != KEY else None
        page.locator("#map").wait_for()
        row = page.locator("section", has=page.locator("#claims")).locator("tbody tr")
        assert "window.pwned=1</script>" in row.inner_text() and row.locator("em").inner_text() == "calm"
        assert "? cannot tell" in row.inner_text() and "−0.50 to 0.10" in row.inner_text()
        assert page.evaluate("Object.keys(localStorage)") == ["foreshock-theme"], "no key outlives the tab"


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_pages_fit_and_can_be_read(browser: Browser, address: str, width: int, scheme: Any) -> None:  # noqa: F811
    for page in opened(browser, address, color_scheme=scheme):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{address}/#/model")
        page.locator(".chart canvas, .chart svg").first.wait_for()
        _check(page, width)
        page.get_by_label("Find an emotion").fill("calm")
        page.get_by_role("button", name="calm", exact=True).press("Enter")
        assert page.locator("[aria-pressed=true]").inner_text() == "calm"
        assert page.locator(".tall tbody tr:visible").count() < len(EMOTIONS)
        page.get_by_label("Axes").select_option("ratings")
        page.get_by_role("link", name="Live").click()
        if width < 900:
            page.locator("summary", has_text="Settings").click()
        send(page, DESPERATE)
        settled(page)
        _check(page, width)


def _check(page: Page, width: int) -> None:
    for theme in ("dark", "light", ""):
        page.locator("#theme").select_option(theme)
        assert page.evaluate(CONTRASTS) == [], theme
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
