"""The built guide in Chromium: on a telephone, by keyboard alone, enlarged, on paper, without scripts, by axe-core.

With EVERY_PAGE=1 axe-core looks at every page; else at one of each kind.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from exchange.cli.made_files import write
from exchange.guide.building import files_of
from tests.e2e.browser.looking import PHONE, fits, wrong_by_axe
from tests.unit.guide.example import TODAY, own_guide

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[3]
#: One of each kind, in both languages between them: axe-core takes seconds for each.
PAGES = (
    "index.html",
    "en/index.html",
    "en/threat.html",
    "en/platform-x.html",
    "en/police.html",
    "en/sources.html",
    "cy/index.html",
    "cy/harass.html",
)
#: What can have the focus, in the order of the keyboard, and how it looks when it has: what is not outlined.
_OUTLINES = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]
    .filter(e => e.checkVisibility())
    .filter(e => {
        e.focus({focusVisible: true});
        const {outlineWidth, outlineStyle} = getComputedStyle(e);
        return document.activeElement !== e || e.tabIndex || !(parseFloat(outlineWidth) >= 2 && outlineStyle === 'solid');
    })
    .map(e => e.outerHTML.slice(0, 100))"""


@cache
def headers() -> dict[str, str]:
    """Return the headers that the documentation tells a server to send."""
    page = (ROOT / "docs" / "guidance.md").read_text()
    found = dict(re.findall(r"^([A-Z][A-Za-z-]+): (.+)$", page, re.MULTILINE))
    assert "Content-Security-Policy" in found
    return found


class Server(SimpleHTTPRequestHandler):
    """Serves the site as documented."""

    def end_headers(self) -> None:
        for name, value in headers().items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its own signature
        pass


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return files_of(own_guide(), pdf=())


@pytest.fixture(scope="module")
def every_page(made: dict[str, bytes]) -> list[str]:
    """Every page, in both languages."""
    found = [name for name in made if name.endswith(".html") and not name.startswith("snippet")]
    assert len(found) > 35
    return found


@pytest.fixture(scope="module")
def site(made: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    write(made, folder)
    late = replace(own_guide(), today=TODAY + timedelta(300))
    write(files_of(late, pdf=()), folder / "late")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_on_a_telephone_nothing_runs_off_the_side_and_nothing_comes_from_elsewhere(
    site: str, every_page: list[str], phone: BrowserContext
) -> None:
    page = phone.new_page()
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(f"{message.location['url']}: {message.text}"))
    for place in every_page:
        page.goto(site + place)
        assert fits(page), place
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.emergency')).backgroundColor") == "rgb(155, 0, 0)"
        )
        emergency = page.locator(".emergency a[href='tel:999']").bounding_box()
        assert emergency is not None
        assert emergency["y"] < PHONE["height"] / 2, "999 is on the first screen"
    assert {url for url in asked if not url.startswith(site)} == set()
    said = [each for each in said if "/favicon.ico" not in each]  # a browser asks for one by itself
    assert said == [], "the policy that is documented lets everything through that the pages need"


def test_what_is_touched_is_large_enough(site: str, phone: BrowserContext) -> None:
    page = phone.new_page()
    page.goto(site + "en/index.html")
    for link in page.locator(".choice a, nav a, .top a").all():
        box = link.bounding_box()
        assert box is not None
        assert box["height"] >= 24
        assert box["width"] >= 24


def test_enlarged_to_twice_the_size_nothing_is_lost(site: str, every_page: list[str], browser: Browser) -> None:
    """A window of 1280 at 200 % is 640 wide; and letters alone twice as large, on a telephone of 390."""
    context = browser.new_context()
    page = context.new_page()
    for place in every_page:
        page.set_viewport_size({"width": 640, "height": 400})
        page.goto(site + place)
        assert fits(page), place
        page.set_viewport_size({"width": 390, "height": 700})
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.evaluate("innerWidth") == 390
        assert fits(page), place
    context.close()


def test_by_keyboard_alone(site: str, desk: BrowserContext) -> None:
    page = desk.new_page()
    page.goto(site + "en/index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    box = page.locator(".skip").bounding_box()
    assert box is not None
    assert box["x"] >= 0, "seen as soon as it has the focus"
    page.keyboard.press("Enter")
    page.wait_for_url("**#main")
    page.goto(site + "en/index.html")
    links = page.locator("a").count()
    for _ in range(links):
        page.keyboard.press("Tab")
        look = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.tagName, parseFloat(s.outlineWidth), s.outlineStyle]; })()"
        )
        assert look[0] == "A"
        assert look[1] >= 2
        assert look[2] == "solid"
    assert page.evaluate("document.activeElement.getAttribute('href')") == "sources.html"
    page.locator("a[href='threat.html']").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/threat.html")


def test_on_every_page_the_keyboard_reaches_everything_and_it_shows_and_on_paper_it_is_whole(
    site: str, every_page: list[str], desk: BrowserContext
) -> None:
    page = desk.new_page()
    for place in every_page:
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(site + place)
        assert page.evaluate(_OUTLINES) == [], place
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1_000})  # A4 within its margins
        assert fits(page), place
        assert page.locator("h1").is_visible()
        assert page.locator(".emergency").is_visible()
        assert page.locator("nav:visible").count() == 0


def test_without_scripts_every_page_says_the_same(
    site: str, every_page: list[str], made: dict[str, bytes], browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page = context.new_page()
    for place in every_page:
        assert b"<script" not in made[place], place
        page.goto(site + place)
        assert page.locator("h1").is_visible(), place
        assert page.locator(".emergency").is_visible(), place
    context.close()


def test_without_scripts_everything_is_there(site: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(site)
    page.click("a[href='en/index.html']")
    page.click("a[href='threat.html']")
    assert page.locator("h1").inner_text() == "Somebody threatens me with violence"
    assert page.locator("#facebook").is_visible()
    assert page.locator(".fact .source time").first.is_visible()
    page.click("a[href='../cy/threat.html']")
    assert page.locator("h1").inner_text() == "Mae rhywun yn fy mygwth â thrais"
    context.close()


def test_on_paper(site: str, desk: BrowserContext) -> None:
    page = desk.new_page()
    page.goto(site + "en/threat.html")
    page.emulate_media(media="print")
    assert page.locator(".emergency q").is_visible()
    assert not page.locator("nav").first.is_visible()
    after = page.evaluate("getComputedStyle(document.querySelector('main a[href^=https]'), '::after').content")
    assert "https" in after, "an address that cannot be clicked is written out"
    assert page.pdf().startswith(b"%PDF-")


def test_axe_finds_nothing(site: str, every_page: list[str], desk: BrowserContext) -> None:
    page = desk.new_page()
    looked_at = every_page if os.environ.get("EVERY_PAGE") else PAGES
    for place in (*looked_at, "late/index.html", "late/cy/police.html"):
        page.goto(site + place)
        assert wrong_by_axe(page) == {}, place
        assert not place.startswith("late") or page.locator(".emergency .stale").first.is_visible()
