"""The built guide as a reader, a screen reader and an attacker meet it."""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urldefrag

import msgspec
import pytest
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract

from exchange.cli.made_files import write
from exchange.errors import Rejected
from exchange.guide import files
from exchange.guide.building import files_of
from exchange.guide.facts import Kind, Profile, read
from exchange.guide.whole import Entry
from exchange.guide.words import DRAFTS, LANGUAGES, LOCALES, words_of
from tests.unit.guide.example import ADDRESS, TODAY, altered, guide, own_guide, profile, profile_data
from tests.unit.guide.site import Element, parsed

GUIDE = files.HERE
CHECK = ("check with the platform", "check before you rely", "check with the police")


@cache
def site() -> dict[str, bytes]:
    return files_of(own_guide())


def pages(made: dict[str, bytes]) -> dict[str, Element]:
    return {place: parsed(data.decode()) for place, data in made.items() if place.endswith(".html")}


@cache
def own_pages() -> dict[str, Element]:
    return pages(site())


def whole_pages() -> Iterator[tuple[str, Element]]:
    yield from ((place, page) for place, page in own_pages().items() if not place.startswith("snippet"))


def test_the_same_guide_makes_the_same_bytes() -> None:
    assert files_of(own_guide()) == site()


def test_every_page_is_there_in_every_language() -> None:
    assert {place.partition("/")[2] for place in site() if "/" in place} >= {f"{kind}.html" for kind in Kind}
    for language in LANGUAGES:
        others = {place.partition("/")[2] for place in site() if place.startswith(f"{language}/")}
        assert others == {place.partition("/")[2] for place in site() if place.startswith("en/")}
    assert {"guide.json", "guide.css", "qr.svg", "qr.png", "pack.zip", "guide-en.pdf", "guide-cy.txt"} <= set(site())


def test_no_fact_is_without_its_source_and_the_day_it_was_seen() -> None:
    count = 0
    for place, page in own_pages().items():
        for fact in (each for each in page.every() if each.has_class("fact")):
            count += 1
            sources = [each for each in fact.every() if each.has_class("source")]
            assert sources, f"{place}: {fact.words()[:80]}"
            for source in sources:
                (link,) = source.every("a")
                (day,) = source.every("time")
                assert link.get("href").startswith("https://")
                assert date.fromisoformat(day.get("datetime")) <= TODAY
    assert count > 500


def test_every_text_of_a_page_is_a_fact_or_one_of_our_own_words() -> None:
    """Whatever a profile says stands inside a fact, but for names, titles and what was not found."""
    facts = {" ".join(fact["text"]["en"].split()) for fact in every_fact()}
    for place, page in own_pages().items():
        for quote in page.every("p"):
            if quote.words() in facts:
                assert inside_fact(quote), f"{place}: {quote.words()[:60]}"


def every_fact() -> Iterator[dict[str, Any]]:
    def walk(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "grade" in value:
                yield value
            else:
                for each in value.values():
                    yield from walk(each)
        elif isinstance(value, list):
            for each in value:
                yield from walk(each)

    for path in (*files.own_profiles(), files.COUNTRY):
        yield from (fact for fact in walk(json.loads(path.read_bytes())) if "en" in fact["text"])


def inside_fact(element: Element | None) -> bool:
    return element is not None and (element.has_class("fact") or inside_fact(element.parent))


def test_every_fact_of_every_file_is_shown_somewhere() -> None:
    shown = " ".join(page.words() for place, page in own_pages().items() if place.startswith("en/"))
    missing = [fact["text"]["en"][:60] for fact in every_fact() if " ".join(fact["text"]["en"].split()) not in shown]
    assert missing == []


def test_what_is_old_says_so() -> None:
    text = own_pages()["en/spam.html"]
    old = [each for each in text.every("li") if each.has_class("fact") and "facebook.com/help/135" in each.words()]
    assert all("May have changed" in each.words() for each in old)
    hacked = own_pages()["en/hacked.html"].words()
    assert "Start at facebook.com/hacked. Go to www.facebook.com May have changed: check with the platform." in hacked


def test_what_is_not_known_says_check_with_the_platform() -> None:
    whole = profile_data()
    del whole["routes"][0]["response"]
    entry = Entry(read(Profile, msgspec.json.encode(whole), "example"))
    made = pages(files_of(guide(entry), pdf=()))
    page = made["en/threat.html"].words()
    assert "What response the platform promised Not found: check with the platform." in page
    assert "Not measured, or too few times to say. This is not how long it takes to answer your report." in page
    assert "Compiled from public sources, not confirmed by the platform." in page
    assert "Nothing was found." in made["en/hacked.html"].words()


def test_what_the_platform_said_itself_and_what_was_measured_are_labelled() -> None:
    made = pages(files_of(guide(), pdf=()))
    page = made["en/threat.html"].words()
    assert "Confirmed by the platform (Chatter plc), version 3." in page
    assert "not confirmed" not in page
    label = "Measured: how long this platform took to act on other platforms' signals"
    says = (
        "Half within 90 seconds, nineteen of twenty within 2 hours; 100 signals or more, 3 June 2026 to"
        " 29 November 2026. Counted in the exchange's ledger, from when a signal came to when the platform says it"
        " acted. This is not how long it takes to answer your report."
    )
    assert f"{label} {says}" in page
    assert "Within a week." in page.partition(label)[0]


def test_stale_facts_are_flagged_in_the_page_itself() -> None:
    fresh, late = guide(), guide(today=TODAY + timedelta(200))
    assert not any(each.has_class("stale") for each in pages(files_of(fresh, pdf=()))["en/threat.html"].every())
    made = files_of(late, pdf=())
    page = pages(made)["en/threat.html"]
    assert "has not been checked for more than 180 days" in page.words()
    facts = [each for each in page.every() if each.has_class("fact")]
    assert all("Not checked since" in each.words() for each in facts)
    assert b"Not checked since" in made["guide-en.txt"]


def test_every_internal_link_resolves() -> None:
    for place, page in whole_pages():
        ids = {other: {each.get("id") for each in there.every()} for other, there in own_pages().items()}
        for link in (*page.every("a"), *page.every("link")):
            address, anchor = urldefrag(link.get("href"))
            if address.startswith(("https://", "tel:")):
                continue
            target = str(PurePosixPath(place).parent / address) if address else place
            resolved = "/".join(resolve(target.split("/")))
            assert resolved in site(), f"{place}: {address}"
            assert not anchor or anchor in ids[resolved], f"{place}: #{anchor}"


def resolve(parts: list[str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part == "..":
            found.pop()
        elif part != ".":
            found.append(part)
    return found


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs() -> None:
    for place, page in own_pages().items():
        tags = {each.tag for each in page.every()}
        assert not tags & {"script", "iframe", "object", "embed", "form", "img", "style", "base", "video"}, place
        for each in page.every():
            assert not [name for name in each.attributes if name.startswith("on") or name in ("style", "src")]
            assert each.tag != "link" or not each.get("href").startswith("http")
            assert not each.get("href").startswith(("http:", "javascript:", "data:", "//"))
    assert not re.search(rb"url\(|@import|expression", site()["guide.css"])


def test_every_page_says_its_policy() -> None:
    for _, page in whole_pages():
        said = {each.get("http-equiv"): each.get("content") for each in page.every("meta")}
        policy = said["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy


def test_headings_landmarks_labels_and_languages() -> None:
    for place, page in whole_pages():
        (html,) = page.every("html")
        assert html.get("lang") == (place.partition("/")[0] if "/" in place else "en")
        assert len(page.every("main")) == len(page.every("h1")) == len(page.every("title")) == 1
        assert page.every("title")[0].words()
        ids = [each.get("id") for each in page.every() if each.get("id")]
        assert len(ids) == len(set(ids)), place
        levels = [int(each.tag[1]) for each in page.every("main")[0].every() if re.fullmatch("h[1-6]", each.tag)]
        assert all(after - before <= 1 for before, after in pairwise(levels)), place
        assert all(each.get("aria-label") for each in page.every("nav"))
        assert all(each.words() for each in page.every("a"))
        for each in page.every("section"):
            assert each.get("aria-labelledby") in ids
    assert own_pages()["en/index.html"].every("a")[0].get("href") == "#main"


def test_texts_are_marked_with_their_language() -> None:
    for fact in every_fact():
        if "cy" in fact["text"]:
            continue
        for quote in own_pages()["cy/threat.html"].every("p"):
            if quote.words() == fact["text"]["en"]:
                assert quote.language() == "en"


def test_welsh_says_that_it_is_a_draft_and_quotes_official_lines() -> None:
    assert {"cy"} == DRAFTS
    for place, page in whole_pages():
        if place.startswith("cy/"):
            assert "Draft Welsh, not checked by a speaker" in page.words(), place
            assert "Dylech bob amser ffonio 999 pan fydd yn argyfwng" in page.words()
    assert b"Drafft" in site()["guide-cy.txt"]


def test_emergency_comes_first_on_every_page() -> None:
    for place, page in whole_pages():
        body = page.every("body")[0]
        assert "999" in body.words()[:200], place
        assert any(each.get("href") == "tel:999" for each in body.every("a"))


def colours() -> dict[str, tuple[float, ...]]:
    found = re.findall(r"--([a-z-]+): #([0-9a-f]{6});", site()["guide.css"].decode())
    return {name: tuple(int(value[at : at + 2], 16) / 255 for at in (0, 2, 4)) for name, value in found}


def luminance(colour: tuple[float, ...]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("above", "below", "least"),
    [
        ("text", "page", 7.0),
        ("text", "soft", 7.0),
        ("text", "focus-page", 7.0),
        ("quiet", "page", 4.5),
        ("quiet", "soft", 4.5),
        ("link", "page", 4.5),
        ("visited", "page", 4.5),
        ("link", "soft", 4.5),
        ("warn", "warn-page", 4.5),
        ("on-danger", "danger", 7.0),
        ("line", "page", 3.0),
        ("focus", "page", 3.0),
    ],
)
def test_colours_can_be_told_apart(above: str, below: str, least: float) -> None:
    first, second = sorted((luminance(colours()[above]), luminance(colours()[below])))
    assert (second + 0.05) / (first + 0.05) >= least


def test_an_address_of_the_guide_is_an_address() -> None:
    for bad in ("http://a.example/", "https://a.example", 'https://a.example/"x/', "javascript:alert(1)/"):
        with pytest.raises(Rejected, match="address"):
            files_of(guide(address=bad), pdf=())


def test_what_may_not_be_shown_is_not() -> None:
    unsourced = profile(actions=[{"text": {"en": "so"}, "grade": "dated", "sources": ["nowhere"]}])
    with pytest.raises(Rejected, match="may not be shown"):
        files_of(guide(Entry(unsourced)), pdf=())
    with pytest.raises(Rejected, match="twice"):
        files_of(guide(Entry(profile()), Entry(profile())), pdf=())


def test_every_word_of_ours_has_its_welsh() -> None:
    needed: set[str] = set()
    for template in sorted((GUIDE / "templates").glob("*")):
        with template.open("rb") as file:
            found = [message for _, _, message, _ in babel_extract(file, ("_",), [], {})]
        needed |= {str(each if isinstance(each, str) else (each or [""])[0]) for each in found}
    for module in sorted(GUIDE.glob("*.py")):
        needed |= set(said_in(module))
    with (LOCALES / "cy.po").open("rb") as file:
        catalogue = read_po(file, locale="cy")
    known = {str(each.id): str(each.string) for each in catalogue if each.id}
    assert sorted(needed - known.keys()) == []
    assert sorted(known.keys() - needed) == []
    for english, welsh in known.items():
        assert welsh
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", welsh))


def said_in(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name == "words" and isinstance(node.args[0].value, str):
                yield node.args[0].value


def test_dates_are_written_as_the_language_does() -> None:
    assert words_of("en").day(date(2026, 11, 28)) == "28 November 2026"
    assert words_of("cy").day(date(2026, 11, 28)) == "28 Tachwedd 2026"


def test_the_pack_holds_what_is_sent_on() -> None:
    with zipfile.ZipFile(io.BytesIO(site()["pack.zip"])) as pack:
        assert pack.testzip() is None
        held = {name: pack.read(name) for name in pack.namelist()}
    assert {"guide-en.pdf", "guide-cy.pdf", "guide-en.txt", "qr.png", "snippet-en.html", "guide.json"} <= set(held)
    assert all(site()[name] == data for name, data in held.items())


def test_the_data_say_everything_the_pages_say() -> None:
    data = json.loads(site()["guide.json"])
    assert [each["profile"]["platform"] for each in data["platforms"]] == ["facebook", "x", "youtube"]
    assert not any(each["confirmed"] for each in data["platforms"])
    assert data["made"] == TODAY.isoformat()


def test_the_snippet_points_to_the_guide_and_brings_nothing() -> None:
    snippet = own_pages()["snippet-en.html"]
    assert {each.tag for each in snippet.every()} <= {"section", "p", "strong", "a", "ul", "li", "span"}
    links = [each.get("href") for each in snippet.every("a")]
    assert links[0] == "tel:999"
    assert all(each.removeprefix(ADDRESS) in site() for each in links[1:])


def test_without_an_address_there_is_no_code_and_no_snippet() -> None:
    made = files_of(replace(own_guide(), address=""), pdf=())
    assert not [name for name in made if "snippet" in name or name.startswith("qr")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_and_the_pdf_number_their_sources(language: str) -> None:
    text = site()[f"guide-{language}.txt"].decode()
    assert max(map(len, text.splitlines())) <= 400
    named, listed = set(re.findall(r"(?<=[ :,] )\[(\d+)\]", text)), re.findall(r"^  \[(\d+)\] ", text, re.MULTILINE)
    assert named <= set(listed)
    assert [int(each) for each in listed] == list(range(1, len(listed) + 1))
    pdf = site()[f"guide-{language}.pdf"]
    assert pdf.startswith(b"%PDF-")
    assert f"({language})".encode() in pdf or b"/Lang" in pdf


def test_a_letter_that_the_font_lacks_is_not_left_out_unseen(tmp_path: Path) -> None:
    data = altered(profile_data(), ("actions", 0, "text", "en"), "d\u0175r")
    entry = Entry(read(Profile, msgspec.json.encode(data), "example"))
    with pytest.raises(Rejected, match="\u0175"):
        files_of(guide(entry))
    (tmp_path / "no.ttf").write_bytes(b"no font")
    with pytest.raises(Rejected, match="TrueType"):
        files_of(guide(), font=tmp_path / "no.ttf")


def test_files_are_written_and_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("mine")
    write({"en/index.html": b"<p>", "a.txt": b"b"}, tmp_path)
    assert (tmp_path / "en" / "index.html").read_bytes() == b"<p>"
    assert (tmp_path / "own.txt").read_text() == "mine"
    with pytest.raises(Rejected):
        write({"own.txt/a": b""}, tmp_path)
