"""The dashboard's pictures in docs/pictures, from a real server on a finished study.

Run: PYTHONPATH=. .venv/bin/python docs/screenshots.py [STUDY] — by default study/embedded-full; needs chromium.
Prints where the alarm of the pictures was seen: on the page, in the events, in the metrics, in the store.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from benchmarks.serving import server
from foreshock.monitor.store import Store
from tests.report.conftest import CHROMIUM, QUIET

PICTURES = Path(__file__).parent / "pictures"
TALK = (
    "My exam is tomorrow and I have not slept. What should I do?",
    "There is no time left. Everything depends on it!",
)
OTHERS = ("Tell me about the sea.", "How do I bake bread?", "Write a short poem about rain.", "What is a prime number?")


def main(study: Path) -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as folder, server(["foreshock", "serve", str(study), "--store", f"{folder}/c.db"]) as address:  # fmt: skip
        for words in OTHERS:
            body = {"model": "m", "max_tokens": 40, "seed": 1, "messages": [{"role": "user", "content": words}]}
            httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120).raise_for_status()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            page = browser.new_page(viewport={"width": 1280, "height": 940}, device_scale_factor=1.5)
            seen = live(page, address)
            conversation(page, address)
            for name, path in (("overview", "#/overview"), ("model", "#/model")):
                page.goto(f"{address}/{path}")
                page.wait_for_selector(".chart canvas, .chart svg")
                page.wait_for_timeout(1500)
                page.screenshot(path=PICTURES / f"dashboard-{name}.png")
            browser.close()
        with httpx.stream("GET", f"{address}/events?kinds=alarm", headers={"Last-Event-ID": "before-0"}) as events:
            told = next(line for line in events.iter_lines() if line.startswith("data:") and "rule" in line)
        counted = [line for line in httpx.get(f"{address}/metrics").text.splitlines() if line.startswith("foreshock_alarms_total")]  # fmt: skip
        with Store.open(f"{folder}/c.db") as store:
            kept = [f"{alarm.rule} {alarm.score:.2f} > {alarm.threshold:.2f}" for alarm in store.alarms()]
    print("page:   ", seen, "\nevents: ", told, "\nmetrics:", counted, "\nstore:  ", kept)


def live(page: Page, address: str) -> list[str]:
    """A steered and an unsteered reply side by side; returns the alarms that the page shows."""
    page.goto(address)
    page.wait_for_selector(".composer")
    for word, key, times in (("desperate", "ArrowRight", 16), ("calm", "ArrowLeft", 8)):
        page.locator("#pick").fill(word)
        page.keyboard.press("Enter")
        for _ in range(times):
            page.keyboard.press(key)
    page.get_by_role("switch").check()
    page.locator("input[type=number]").nth(1).fill("60")
    for words in TALK:
        page.locator(".composer textarea").fill(words)
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        page.locator(".composer .main").wait_for(timeout=180_000)
        page.wait_for_timeout(1000)
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.screenshot(path=PICTURES / "dashboard-live.png")
    return page.locator(".side [aria-live] li, .side .alarm").all_inner_texts()


def conversation(page: Page, address: str) -> None:
    """The list, and the newest conversation with an alarm."""
    page.goto(f"{address}/#/conversations")
    page.wait_for_timeout(1500)
    page.screenshot(path=PICTURES / "dashboard-conversations.png")
    found = httpx.get(f"{address}/api/conversations?alarm=true").json()["conversations"]
    page.goto(f"{address}/#/conversations/{found[0]['id']}" if found else f"{address}/#/conversations")
    page.wait_for_selector(".chart canvas, .chart svg")
    page.wait_for_timeout(1500)
    page.screenshot(path=PICTURES / "dashboard-conversation.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("study/embedded-full"))
