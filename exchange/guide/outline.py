"""The guide as one text from beginning to end: what the mail and the PDF are made of.

The pages name a fact's sources beside it. Here each has a number, and the last chapter lists them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from exchange.guide.facts import Kind
from exchange.guide.pages import choices, list_titles
from exchange.guide.showing import PLATFORM_LISTS, OnPlatform, Seen, Showing, Shown

WIDTH = 72


class Part(Enum):
    """What a piece of the text is."""

    TITLE = "title"
    CHAPTER = "chapter"
    SECTION = "section"
    HEAD = "head"
    ALARM = "alarm"
    WARNING = "warning"
    FACT = "fact"
    TEXT = "text"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Piece:
    """One paragraph."""

    part: Part
    text: str


def outline(showing: Showing) -> Iterator[Piece]:
    """Yield the guide, paragraph by paragraph."""
    words, guide = showing.words, showing.guide
    yield Piece(Part.TITLE, words("Abuse online: a guide for candidates"))
    made = words(
        "Made on {day} from facts that were seen in public pages, or in stored copies of them. Not legal advice.",
        day=words.day(guide.today),
    )
    yield Piece(Part.TEXT, made)
    if guide.address:
        yield Piece(Part.TEXT, f"{guide.address}{words.language}/index.html")
    if words.draft:
        yield Piece(Part.WARNING, words("Draft, not checked by a speaker."))
    if showing.stale():
        yield Piece(
            Part.WARNING,
            words(
                "Some of this guide has not been checked for more than {number} days. It is marked where it stands.",
                number=guide.stale_days,
            ),
        )
    yield Piece(Part.CHAPTER, words("In danger now?") + " 999")
    for fact in showing.emergency:
        yield Piece(Part.ALARM, f"“{fact.said.text}”")
        yield from _numbers(showing, fact)
    for choice in choices(showing):
        yield from _situation(showing, choice.kind)
    yield from _of_country(showing)
    for entry in guide.entries:
        yield from _of_platform(showing, showing.on(entry))
    yield Piece(Part.CHAPTER, words("Sources"))
    for number, source in enumerate(showing.sources(), 1):
        yield Piece(Part.SOURCE, f"[{number}] {_source(showing, showing.seen(source))}")


def _of_country(showing: Showing) -> Iterator[Piece]:
    words, country = showing.words, showing.guide.country
    for title, facts in (
        (words("What evidence to keep, and how"), country.evidence),
        (words("Police"), country.police),
        (words("Electoral bodies"), country.electoral),
        (words("When it is a crime"), country.law),
        (words("If nothing happens"), country.escalation),
        (words("Support"), country.support),
    ):
        yield Piece(Part.CHAPTER, title)
        yield from _facts(showing, showing.of_country(facts), words("check before you rely on it."))


def _of_platform(showing: Showing, on: OnPlatform) -> Iterator[Piece]:
    titles, check = list_titles(showing.words), showing.words("check with the platform.")
    yield Piece(Part.CHAPTER, on.name)
    for name in PLATFORM_LISTS:
        if on.lists[name]:
            yield Piece(Part.SECTION, titles[name])
            yield from _facts(showing, on.lists[name], check)


def _situation(showing: Showing, kind: Kind) -> Iterator[Piece]:
    words, situation = showing.words, showing.guide.country.situations[kind]
    check = words("check before you rely on it.")
    yield Piece(Part.CHAPTER, showing.said(situation.title).text)
    yield Piece(Part.TEXT, showing.said(situation.about).text)
    yield Piece(Part.SECTION, words("What to do now"))
    yield from _facts(showing, showing.of_country(situation.now), check)
    for entry in showing.guide.entries:
        on = showing.on(entry, kind)
        yield Piece(Part.SECTION, words("On {platform}", platform=on.name))
        yield from _platform(showing, on)
    yield Piece(Part.SECTION, words("When it is a crime"))
    yield from _facts(showing, showing.of_country(situation.crime), check)


def _platform(showing: Showing, on: OnPlatform) -> Iterator[Piece]:
    words = showing.words
    check, unknown = words("check with the platform."), words("Not found: check with the platform.")
    yield Piece(Part.WARNING, showing.standing(on))
    yield Piece(Part.HEAD, words("Which rule it breaks"))
    for rule in on.rules:
        yield from _fact(showing, rule.fact, check, rule.policy)
    if not on.rules:
        yield Piece(Part.TEXT, unknown)
    yield Piece(Part.HEAD, words("Where and how to report"))
    yield from (Piece(Part.TEXT, said.text) for said in on.no_route)
    if not on.routes and not on.no_route:
        yield Piece(Part.TEXT, unknown)
    for route in on.routes:
        yield from _fact(showing, route.steps, check, route.title.text)
        for title, fact in (
            (words("Do you need an account?"), route.account),
            (words("What response the platform promised"), route.response),
        ):
            if fact is None:
                yield Piece(Part.FACT, _titled(title, unknown))
            else:
                yield from _fact(showing, fact, check, title)
    yield Piece(Part.HEAD, words("Measured: how long this platform took to act on other platforms' signals"))
    yield Piece(Part.TEXT, showing.measured(on))


def _facts(showing: Showing, facts: Iterable[Shown], check: str) -> Iterator[Piece]:
    for fact in facts:
        yield from _fact(showing, fact, check)


def _fact(showing: Showing, fact: Shown, check: str, title: str = "") -> Iterator[Piece]:
    words = showing.words
    text = f"“{fact.said.text}”" if fact.official else fact.said.text
    text = _titled(title, text) if title else text
    if fact.grade == "old":
        text += f" ({words('May have changed:')} {check})"
    if fact.stale:
        text += f" ({words('Not checked since {day}:', day=fact.checked_on)} {check})"
    yield Piece(Part.FACT, text)
    if fact.address:
        yield Piece(Part.SOURCE, fact.address)
    yield from _numbers(showing, fact)


def _titled(title: str, text: str) -> str:
    return f"{title} {text}" if title.endswith("?") else f"{title}: {text}"


def _numbers(showing: Showing, fact: Shown) -> Iterator[Piece]:
    """Yield where a fact was seen, by the numbers of the last chapter, and when."""
    words = showing.words
    numbers = {(source.title, source.address): number for number, source in enumerate(showing.sources(), 1)}
    named = ", ".join(f"[{numbers[each.title, each.address]}] {words('seen')} {each.seen_on}" for each in fact.sources)
    yield Piece(Part.SOURCE, f"{words('Source:')} {named}")


def _source(showing: Showing, seen: Seen) -> str:
    words = showing.words
    dated = seen.dated or words("none")
    return f"{seen.title}, {seen.address}, {words('seen')} {seen.seen_on}; {words('date on the page:')} {dated}."


def as_text(showing: Showing) -> str:
    """Return the guide as plain text, for an e-mail."""
    lines: list[str] = []
    for piece in outline(showing):
        match piece.part:
            case Part.TITLE | Part.CHAPTER:
                line = "=" if piece.part is Part.TITLE else "-"
                lines += ["", "", piece.text, line * min(len(piece.text), WIDTH)]
            case Part.SECTION | Part.HEAD:
                lines += ["", f"# {piece.text}" if piece.part is Part.SECTION else f"{piece.text}:"]
            case Part.ALARM | Part.WARNING:
                lines += ["", *_wrapped(piece.text, "! ", "  ")]
            case Part.FACT:
                lines += ["", *_wrapped(piece.text, "* ", "  ")]
            case Part.SOURCE:
                lines += _wrapped(piece.text, "  ", "  ")
            case Part.TEXT:
                lines += ["", *_wrapped(piece.text, "", "")]
    return "\n".join(lines).strip() + "\n"


def _wrapped(text: str, first: str, following: str) -> list[str]:
    wrap = textwrap.TextWrapper(
        WIDTH, initial_indent=first, subsequent_indent=following, break_long_words=False, break_on_hyphens=False
    )
    return wrap.wrap(text)
