"""The page opens offline in a real browser, draws its charts and runs nothing a text says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from foreshock.model.planted import Planted
from foreshock.report.folder import write_study
from foreshock.report.page import figure, probability, render_sweep, tinted
from foreshock.study.running import Study, run_study
from foreshock.sweep import Hit, Tops

HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>{{ 7*7 }}\u202e"


@pytest.fixture(scope="module")
def study(plant: Planted) -> Study:
    hostile = [p.model_copy(update={"text": f"{p.text} {HOSTILE}", "topic": p.topic + HOSTILE}) for p in plant.passages]
    return run_study(plant.model, replace(plant.library, stories=hostile))


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(study, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(browser: Browser, folder: Path, study: Study, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{folder / 'report.html'}")
    charts = sum(len(finding.charts) for finding in study.findings)
    page.wait_for_function(f"document.querySelectorAll('.chart canvas').length === {charts}", timeout=20_000)
    assert not errors and all(url.startswith(("file:", "data:", "blob:")) for url in requests), (errors, requests)
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
    for finding in study.findings:
        assert page.locator(f"section#{finding.id}").is_visible()
    page.close()


def test_tinting_follows_the_chosen_emotion(browser: Browser, folder: Path) -> None:
    page = browser.new_page()
    page.goto(f"file://{folder / 'report.html'}")
    token = page.locator(".card .story span").first
    before = token.get_attribute("title")
    page.locator(".card select").first.select_option(index=1)
    assert token.get_attribute("title") != before and "window.pwned" in page.locator(".card .story").first.inner_text()
    page.close()


def test_the_folder_holds_what_others_rely_on(folder: Path, study: Study) -> None:
    card = json.loads((folder / "findings.json").read_text())
    assert card["schema"] == 2 and card["manifest"]["model"]["name"] == "planted-0"
    for finding in card["findings"]:
        assert {"id", "claim", "estimate", "interval", "null", "published", "verdict"} <= set(finding)
        assert finding["verdict"] in {"holds", "does not hold", "cannot tell"}
    pictures = {path.stem for path in (folder / "charts").iterdir()}
    assert pictures == {chart.name for finding in study.findings for chart in finding.charts}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "charts").iterdir())
    assert (folder / "vectors.safetensors").is_file()


def test_a_story_offers_its_own_emotion_first(study: Study) -> None:
    passage, readings = study.gallery[0]
    story = tinted(passage, readings)
    assert story.offered[0] == passage.emotion and len(set(story.offered)) == len(story.offered)
    assert len(story.pieces) == len(readings.tokens)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.001, "0.00"), (0.128, "0.13"), (49152, "49,152"), (5429.5, "5,430"), ("word", "word"), (None, "–")],
)
def test_figures(value: float | str | None, shown: str) -> None:
    assert figure(value) == shown


def test_a_small_p_is_not_shown_as_nought() -> None:
    assert [probability(p) for p in (0.5, 0.001, 0.00005)] == ["= 0.500", "= 0.001", "< 0.001"]


def test_the_page_of_a_sweep_runs_nothing_a_text_says(browser: Browser, tmp_path: Path) -> None:
    hit = Hit(1.5, f"a{HOSTILE}, line 1", ("w1 ", HOSTILE, " w2"), (0.5, 7.0, -7.0), token=1)
    tops = Tops(1, 1, 3, 0, {"calm": [hit], "sad": [hit]}, {"calm": [hit], "sad": []})
    path = tmp_path / "sweep.html"
    path.write_text(render_sweep(tops, {"model": {"name": HOSTILE}}, HOSTILE))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"file://{path}")
    assert page.evaluate("window.pwned") is None
    assert page.locator("section:visible").count() == 1 and page.locator("section:visible .card").count() == 2
    page.locator("#emotion").select_option("sad")
    assert page.locator("section:visible .card").count() == 1
    assert "window.pwned" in page.locator("section:visible .story").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
