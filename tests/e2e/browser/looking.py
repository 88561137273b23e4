"""What is asked of every page, whatever is on it."""

from __future__ import annotations

from importlib.resources import files

from playwright.sync_api import Page

#: The narrowest that must do without scrolling to the side (WCAG 1.4.10).
PHONE = {"width": 320, "height": 640}
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def fits(page: Page) -> bool:
    """Whether nothing runs off the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def wrong_by_axe(page: Page) -> dict[str, list[str]]:
    """Return what axe-core finds wrong with a page."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found = page.evaluate("tags => axe.run({runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})", WCAG)
    assert found["passes"]
    return {each["id"]: [node["html"][:100] for node in each["nodes"][:3]] for each in found["violations"]}
