"""What a profile must hold, and what is said when it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exchange.errors import Rejected
from exchange.guide.checking import STALE_DAYS, check_country, check_profile
from exchange.guide.facts import Profile, facts, plain, read, schema, texts
from exchange.guide.files import own_profiles, read_country, read_profile_file
from tests.unit.guide.example import SEEN, TODAY, country, country_data, fact, profile, profile_data, source

ROOT = Path(__file__).parents[3]


def wrong(**changes: Any) -> list[str]:
    return [str(each) for each in check_profile(profile(**changes), TODAY)]


def test_the_example_is_good() -> None:
    assert wrong() == []


@pytest.mark.parametrize("path", own_profiles(), ids=lambda path: path.stem)
def test_our_own_profiles_are_good_and_named_after_their_platform(path: Path) -> None:
    found = read_profile_file(path)
    assert found.platform == path.stem
    assert [each for each in check_profile(found, TODAY) if not each.stale] == []
    assert read(Profile, json.dumps(plain(found)).encode(), "again") == found


def test_our_own_country_is_good() -> None:
    assert [each for each in check_country(read_country(), TODAY) if not each.stale] == []


def test_there_are_three_platforms() -> None:
    assert [path.stem for path in own_profiles()] == ["facebook", "x", "youtube"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"actions": [fact(sources=["nowhere"])]}, "names sources that are not there: nowhere"),
        ({"actions": [fact(address="https://a.example/with space")]}, "not the address of a page"),
        ({"actions": [fact(address="https://user@a.example/")]}, "not the address of a page"),
        ({"actions": [fact(address='https://a.example/"onclick')]}, "not the address of a page"),
        ({"actions": [fact("  ")]}, "is blank"),
        ({"actions": [{**fact(), "text": {"de": "Etwas"}}]}, "in none of the languages"),
        ({"actions": [fact("Write to jo@example.org.")]}, "mail address"),
        ({"actions": [fact("Ring 0345 600 0459.")]}, "telephone"),
        ({"sources": {"page": source(), "other": source()}}, "sources.other: is no fact's source"),
        ({"sources": {"page": source(address="")}}, "has no address"),
        ({"sources": {"page": source(address="https://[")}}, "not the address of a page"),
        ({"sources": {"page": source(address="https://a.example")}}, "is a whole site's: name the page"),
        ({"sources": {"page": source(address="https://a.example/")}}, "is a whole site's: name the page"),
        ({"sources": {"page": source(seen="2026-02-30")}}, "is no day"),
        ({"sources": {"page": source(seen="2026-12-30")}}, "is yet to come"),
        ({"sources": {"page": source(origin="copy")}}, "so its grade is old"),
        ({"sources": {"page": source(origin="third_party")}}, "so its grade is old"),
        ({"rules": profile_data()["rules"][1:]}, "nothing is said of threat"),
        ({"routes": []}, "no way to report threat"),
        ({"no_route": {}}, "no way to report hacked"),
        ({"languages": ["en", "cy"]}, "sorted"),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, Any], words: str) -> None:
    assert any(words in each for each in wrong(**changes))


def test_a_profile_that_does_not_fit_into_a_leaf_is_told() -> None:
    letters = Random(7)
    long = [fact("".join(chr(letters.randrange(0x4E00, 0x9FFF)) for _ in range(1_900))) for _ in range(16)]
    assert any("a leaf takes" in each for each in wrong(actions=long))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"platform": "Chatter"},
        {"version": 0},
        {"languages": []},
        {"extra": 1},
        {"rules": [{"kind": "rude", "policy": "", "fact": fact()}]},
        {"actions": [{"text": {"en": "so"}, "grade": "dated", "sources": []}]},
        {"actions": [{"text": {"en": "so"}, "grade": "dated"}]},
        {"actions": [fact(grade="good")]},
        {"actions": [fact(address="http://a.example/")]},
        {"actions": [fact(address="javascript:alert(1)")]},
        {"actions": [fact("x" * 2001)]},
        {"sources": {"page": {**source(), "seen": "yesterday"}}},
    ],
)
def test_the_schema_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="example"):
        profile(**changes)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"null"])
def test_what_is_no_profile_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        read(Profile, data, "example")


def test_facts_go_stale_by_the_day() -> None:
    seen = date.fromisoformat(SEEN)
    last, first = seen + timedelta(STALE_DAYS), seen + timedelta(STALE_DAYS + 1)
    assert check_profile(profile(), last) == []
    (stale,) = check_profile(profile(), first)
    assert stale.stale
    assert "look again" in str(stale)
    assert check_profile(profile(), first, STALE_DAYS + 1) == []


def test_emergency_lines_are_official_wording_only() -> None:
    data = country_data()
    data["emergency"]["en"][0]["official"] = []
    data["emergency"]["cy"][0]["sources"] = ["irish"]
    found = [str(each) for each in check_country(country(data), TODAY)]
    assert "emergency.en[0]: is not official wording" in found
    assert "emergency.cy[0]: is not official wording" in found
    del data["emergency"]["cy"]
    assert "emergency.cy: is missing" in [str(each) for each in check_country(country(data), TODAY)]


def test_every_situation_is_there() -> None:
    data = country_data()
    del data["situations"]["spam"]
    found = [str(each) for each in check_country(country(data), TODAY) if "situations" in each.where]
    assert found == ["situations.spam: is missing"]


def test_every_fact_and_text_is_found() -> None:
    whole = profile()
    places = [where for where, _ in facts(whole)]
    assert {"rules[0].fact", "routes[0].steps", "routes[0].account", "routes[0].response", "tools[0]"} <= set(places)
    written = json.dumps(plain(whole))
    assert len(places) == written.count('"grade"')
    assert {"routes[0].title", "no_route.hacked", "not_found[0]"} <= {where for where, _ in texts(whole)}


def test_the_published_schema_is_the_one_that_is_read() -> None:
    page = ROOT / "docs" / "guidance-schema.json"
    assert json.loads(page.read_text()) == json.loads(json.dumps(schema())), "run: python docs/generate.py"


def test_the_command_line_does_without_the_packages_of_the_guide() -> None:
    code = (
        "import sys\n"
        "for name in ('babel', 'jinja2', 'reportlab', 'segno'):\n"
        "    sys.modules[name] = None\n"
        "from exchange.cli import main\n"
        "main(['guide', 'build', 'nowhere'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "signal-exchange[guide]" in done.stderr
    helped = subprocess.run(
        [sys.executable, "-c", code.replace("['guide', 'build', 'nowhere']", "['--help']")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "guidance" in helped.stdout
