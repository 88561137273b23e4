"""Whatever a member or an operator fills in stands in the guide as text, field by field and form by form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from exchange.errors import Rejected
from exchange.guide.building import files_of
from exchange.guide.facts import Profile, read
from exchange.guide.pdf import as_pdf
from exchange.guide.showing import Showing
from exchange.guide.whole import Entry
from exchange.guide.words import words_of
from tests.unit.guide.example import altered, country, country_data, guide, profile_data
from tests.unit.guide.site import parsed

#: What would run, break out of an attribute, or be rendered a second time.
ATTACK = (
    '<script>alert(1)</script>\'" onmouseover=alert(1) x="</title></q><img src=x onerror=alert(1)><svg/onload=alert(1)>'
    "{{7*7}}{% raw %}{number}%s<!--]]>&lt;"
)
NOT_ADDRESSES = (
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "//evil.example/",
    "http://a.example/",
    "https:javascript:alert(1)",
    "https://evil.example\\@a.example/",
    "https://user:word@a.example/",
    "https://a.example:8443/",
    'https://a.example/"onmouseover="alert(1)',
    "https://a.example/<script>",
    "https://a.example/ javascript:alert(1)",
    "https://a.example/\njavascript:alert(1)",
    "https://\u0430.example/",
)


def filled(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every text that somebody fills."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from filled(each, (*place, key))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            if at == 0:
                yield from filled(each, (*place, at))


PLACES = sorted(filled(profile_data()), key=str)
#: These have forms of their own: what is not one is refused. All others are free text.
FORMED = {"platform", "address", "seen", "origin", "grade", "kind", "kinds", "languages", "sources"}
ADDRESSES = [place for place in PLACES if place[-1] == "address"]
TEXTS = [place for place in PLACES if not {place[-1], place[-2] if len(place) > 1 else ""} & FORMED or "text" in place]
#: Of what is the same on every platform, one of each kind of field.
COUNTRY_TEXTS = [
    ("situations", "threat", "title", "en"),
    ("situations", "threat", "about", "en"),
    ("situations", "threat", "now", 0, "text", "en"),
    ("emergency", "en", 0, "text", "en"),
    ("evidence", 0, "text", "en"),
    ("sources", "protectuk", "title"),
]


def entry(data: dict[str, Any]) -> Entry:
    return Entry(read(Profile, msgspec.json.encode(data), "example"), confirmed=True, said_by="Chatter plc")


def shape(made: dict[str, bytes]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return what each page is made of, without its texts: elements, and the names of their attributes."""
    pages = {name: parsed(data.decode()) for name, data in made.items() if name.endswith(".html")}
    return {
        name: sorted((each.tag, tuple(sorted(each.attributes))) for each in page.every())
        for name, page in pages.items()
    }


@cache
def plain_shape() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    return shape(files_of(guide(entry(profile_data())), pdf=()))


def check_forms(made: dict[str, bytes], expected: dict[str, list[tuple[str, tuple[str, ...]]]]) -> None:
    """Whatever was filled in, the pages are made of the same elements, and the data are data."""
    assert shape(made) == expected, "a text has become an element or an attribute"
    raw = b"\n".join(data for name, data in made.items() if name.endswith(".html"))
    assert b"<script" not in raw
    assert b"alert(1)" in raw
    assert b"{{7*7}}" in raw, "rendered twice"
    assert ATTACK in json.dumps(json.loads(made["guide.json"]), ensure_ascii=False).replace('\\"', '"')
    assert (
        "".join(ATTACK.split()) in "".join(made["guide-en.txt"].decode().split())
        or b"alert(1)" not in made["guide-en.txt"]
    )
    assert {each.tag.rpartition("}")[2] for each in ET.fromstring(made["qr.svg"].decode()).iter()} == {
        "svg",
        "g",
        "title",
        "path",
    }


def test_every_field_of_the_schema_is_among_those_that_are_attacked() -> None:
    named = {step for place in PLACES for step in place if isinstance(step, str)}
    texts = {"text", "policy", "title", "name", "address", "dated", "seen", "not_found", "no_route", "steps"}
    assert set(Profile.__struct_fields__) - {"format", "version"} <= named | {"languages"}
    assert texts <= named
    assert len(TEXTS) > 15


@pytest.mark.parametrize("place", TEXTS, ids=lambda place: ".".join(map(str, place)))
def test_whatever_a_member_fills_in_is_text(place: tuple[Any, ...]) -> None:
    check_forms(files_of(guide(entry(altered(profile_data(), place, ATTACK))), pdf=()), plain_shape())


@pytest.mark.parametrize(
    "place", [place for place in PLACES if place not in TEXTS], ids=lambda place: ".".join(map(str, place))
)
def test_what_has_a_form_of_its_own_is_refused_in_any_other(place: tuple[Any, ...]) -> None:
    with pytest.raises(Rejected):
        files_of(guide(entry(altered(profile_data(), place, ATTACK))), pdf=())


@pytest.mark.parametrize("bad", NOT_ADDRESSES)
@pytest.mark.parametrize("place", ADDRESSES, ids=lambda place: ".".join(map(str, place)))
def test_nothing_but_the_address_of_a_page_is_linked_to(place: tuple[Any, ...], bad: str) -> None:
    with pytest.raises(Rejected):
        files_of(guide(entry(altered(profile_data(), place, bad))), pdf=())


@pytest.mark.parametrize("bad", NOT_ADDRESSES)
def test_so_it_is_with_the_country_and_the_guide_itself(bad: str) -> None:
    for place in (("sources", "protectuk", "address"), ("situations", "threat", "now", 0, "address")):
        with pytest.raises(Rejected):
            files_of(guide(country=country(altered(country_data(), place, bad))), pdf=())
    for address in (bad, f"{bad}/"):
        with pytest.raises(Rejected):
            files_of(guide(address=address), pdf=())


@pytest.mark.parametrize("letter", ["\u202e", "\u2066", "\u200f", "\x00", "\x1b", "\u2028"])
@pytest.mark.parametrize("place", TEXTS, ids=lambda place: ".".join(map(str, place)))
def test_letters_that_are_not_seen_and_turn_a_line_around_are_refused(place: tuple[Any, ...], letter: str) -> None:
    with pytest.raises(Rejected, match="not seen"):
        files_of(guide(entry(altered(profile_data(), place, f"Report{letter}it"))), pdf=())


def test_the_name_of_the_member_that_confirms_is_text() -> None:
    check_forms(files_of(guide(replace(entry(profile_data()), said_by=ATTACK)), pdf=()), plain_shape())


@pytest.mark.parametrize("place", COUNTRY_TEXTS, ids=lambda place: ".".join(map(str, place)))
def test_what_is_the_same_on_every_platform_is_text_too(place: tuple[Any, ...]) -> None:
    made = files_of(guide(entry(profile_data()), country=country(altered(country_data(), place, ATTACK))), pdf=())
    check_forms(made, plain_shape())
    if place[-2:] == ("title", "en"):
        assert b"alert(1)" in made["snippet-en.html"]


def test_on_paper_a_text_sets_nothing_and_links_to_nothing() -> None:
    markup = '<a href="https://evil.example/">x</a><font size="60">y</font><img src="/etc/passwd"/><para>&amp;</b>'
    text = ("rules", 0, "fact", "text", "en")
    pdf = as_pdf(Showing(guide(entry(altered(profile_data(), text, markup))), words_of("en")))
    assert pdf.startswith(b"%PDF-")
    assert b"/URI" not in pdf
    assert b"/Image" not in pdf.replace(b"/ImageB", b"").replace(b"/ImageC", b"").replace(b"/ImageI", b"")


def test_what_was_measured_is_on_paper_too() -> None:
    whole = guide()
    without = replace(whole, entries=(replace(whole.entries[0], measured=None),))
    for language in ("en", "cy"):
        papers = [as_pdf(Showing(each, words_of(language))) for each in (whole, without)]
        assert papers[0] != papers[1]
