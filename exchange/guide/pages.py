"""The pages: one folder a language, static, without a script and without anything from elsewhere.

Every value is escaped by the templates' own setting; no template switches that off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from exchange.guide.facts import Kind
from exchange.guide.files import HERE
from exchange.guide.showing import PLATFORM_LISTS, Said, Showing
from exchange.guide.whole import Guide
from exchange.guide.words import Words

#: Nothing but the style sheet beside the pages. A server says the same in its header: docs/guidance.md.
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that can have happened, to choose."""

    kind: Kind
    title: Said


@dataclass(frozen=True, slots=True)
class Section:
    """A titled list of facts."""

    title: str
    facts: Sequence[object]
    anchor: str = ""


def environment() -> Environment:
    """Return what renders the templates."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )


def list_titles(words: Words) -> dict[str, str]:
    """Return what the lists of a profile are called."""
    return {
        "warnings": words("Before you report"),
        "candidates": words("For candidates"),
        "actions": words("What the platform says it may do"),
        "escalation": words("How to escalate"),
        "tools": words("How to protect your account"),
        "police": words("What police can ask for"),
    }


def choices(showing: Showing) -> list[Choice]:
    """Return what can have happened, in the order of the guide."""
    situations = showing.guide.country.situations
    return [Choice(kind, showing.said(situations[kind].title)) for kind in Kind if kind in situations]


class Pages:
    """Renders the pages of one language."""

    def __init__(self, showing: Showing, languages: Sequence[Words], *, has_pdf: bool) -> None:
        """``languages`` are all those of the guide."""
        self._showing = showing
        self._jinja = environment()
        self._others = [each for each in languages if each.language != showing.words.language]
        words, guide = showing.words, showing.guide
        self._shared: dict[str, Any] = {
            "_": words,
            "standing": showing.standing,
            "measured": showing.measured,
            "language": words.language,
            "others": self._others,
            "policy": POLICY,
            "emergency": showing.emergency,
            "draft": words.draft,
            "stale": showing.stale(),
            "stale_days": guide.stale_days,
            "made": words.day(guide.today),
            "titles": list_titles(words),
            "lists": PLATFORM_LISTS,
            "has_pdf": has_pdf,
        }

    def _page(self, template: str, page: str, **values: object) -> tuple[str, str]:
        text = self._jinja.get_template(template).render(**self._shared, page=page, **values)
        return f"{self._showing.words.language}/{page}", text

    def all(self) -> Iterator[tuple[str, str]]:
        """Yield each page's place and text."""
        showing, country = self._showing, self._showing.guide.country
        yield self._page("home.html", "index.html", situations=choices(showing), platforms=self._on(None))
        for kind, situation in country.situations.items():
            yield self._page(
                "situation.html",
                f"{kind}.html",
                kind=kind,
                title=showing.said(situation.title),
                about=showing.said(situation.about),
                now=showing.of_country(situation.now),
                crime=showing.of_country(situation.crime),
                platforms=self._on(kind),
                escalation=showing.of_country(country.escalation),
                support=showing.of_country(country.support),
            )
        for on in self._on(None):
            yield self._page("platform.html", f"platform-{on.platform}.html", on=on)
        for page, title, sections in self._lists():
            yield self._page("lists.html", page, title=title, sections=sections)
        yield self._page("sources.html", "sources.html", sources=[showing.seen(each) for each in showing.sources()])

    def _on(self, kind: Kind | None) -> list[Any]:
        return [self._showing.on(entry, kind) for entry in self._showing.guide.entries]

    def _lists(self) -> Iterator[tuple[str, str, list[Section]]]:
        words, of = self._showing.words, self._showing.of_country
        country = self._showing.guide.country
        yield (
            "evidence.html",
            words("Keep evidence"),
            [Section(words("What evidence to keep, and how"), of(country.evidence))],
        )
        yield (
            "police.html",
            words("Police and the law"),
            [
                Section(words("In an emergency"), self._showing.every_emergency, "emergency-lines"),
                Section(words("Police"), of(country.police)),
                Section(words("Electoral bodies"), of(country.electoral)),
                Section(words("When it is a crime"), of(country.law)),
            ],
        )
        yield (
            "support.html",
            words("Support, and what to do when nothing happens"),
            [
                Section(words("Support"), of(country.support)),
                Section(words("If nothing happens"), of(country.escalation)),
            ],
        )


def language_page(guide: Guide, showings: Mapping[str, Showing], languages: Sequence[Words]) -> str:
    """Return the page on which a language is chosen, with the emergency lines of each."""
    lines = [(showing.words, fact) for showing in showings.values() for fact in showing.emergency[:1]]
    template = environment().get_template("language.html")
    return template.render(policy=POLICY, emergency=lines, languages=languages, guide=guide)


def snippet(showing: Showing) -> str:
    """Return what another site puts into a page of its own: links, and no style."""
    template = environment().get_template("snippet.html")
    found: Callable[..., str] = template.render
    words = showing.words
    return found(_=words, language=words.language, address=showing.guide.address, situations=choices(showing))
