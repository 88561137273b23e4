"""A progress report in Chromium, opened from its folder: on a telephone, by keyboard, on paper, without scripts, by axe."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from exchange.cli.made_files import write
from exchange.report.building import files_of
from tests.e2e.browser.looking import fits, wrong_by_axe
from tests.unit.report.example import KEY, of_plain, plain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LONG = "An organisation whose name is much longer than anything else in its table, and <script>alert(1)</script>"


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    data = plain()
    data["figures"]["members"][1]["name"] = LONG
    data["election"]["title"] = LONG[:100]
    write(files_of(of_plain(data), KEY), folder)
    return Path(folder / "report.html").as_uri()


def test_on_a_telephone_nothing_runs_off_the_side_and_nothing_is_asked_for(page_of: str, phone: BrowserContext) -> None:
    page = phone.new_page()
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(page_of)
    assert fits(page)
    assert page.evaluate("getComputedStyle(document.querySelector('caption')).fontWeight") == "700", (
        "the style is let in"
    )
    assert {url for url in asked if not url.startswith(page_of)} == set()
    assert said == []


def test_by_keyboard_everything_is_reached_and_seen(page_of: str, desk: BrowserContext) -> None:
    page = desk.new_page()
    page.goto(page_of)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    for _ in range(9):
        page.keyboard.press("Tab")
    look = page.evaluate(
        "(() => { const at = document.activeElement, style = getComputedStyle(at);"
        " return [at.getAttribute('role'), parseFloat(style.outlineWidth), style.outlineStyle]; })()"
    )
    assert look == ["region", 3, "solid"], "a table that may be scrolled can be reached"
    page.locator("a[href='#lag']").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#lag")


def test_without_scripts_and_on_paper_everything_is_there(page_of: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_of)
    assert page.locator("svg[role='img']").count() == 2
    assert page.locator("caption", has_text="Answers owed").is_visible()
    assert page.get_by_text(LONG, exact=True).is_visible()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("footer").is_visible()
    assert page.pdf().startswith(b"%PDF-")
    context.close()


def test_axe_finds_nothing(page_of: str, desk: BrowserContext) -> None:
    page = desk.new_page()
    page.goto(page_of)
    assert wrong_by_axe(page) == {}
