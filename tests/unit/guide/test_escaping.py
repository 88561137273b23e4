"""Whatever a member fills into a profile stands in the pages as text, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from exchange.errors import Rejected
from exchange.guide.building import files_of
from exchange.guide.facts import Profile, read
from exchange.guide.whole import Entry
from tests.unit.guide.example import altered, country, country_data, guide, profile_data
from tests.unit.guide.site import parsed

ATTACK = "<script>alert(1)</script>'\"{{7*7}}{% raw %}&lt;\u202e"


def filled(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every text that a member fills."""
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


def test_every_field_of_the_schema_is_among_those_that_are_attacked() -> None:
    named = {step for place in PLACES for step in place if isinstance(step, str)}
    texts = {"text", "policy", "title", "name", "address", "dated", "seen", "not_found", "no_route", "steps"}
    assert set(Profile.__struct_fields__) - {"format", "version"} <= named | {"languages"}
    assert texts <= named


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_whatever_a_member_fills_in_is_escaped_or_refused(place: tuple[Any, ...]) -> None:
    data = altered(profile_data(), place, ATTACK)
    try:
        made = files_of(guide(Entry(read(Profile, msgspec.json.encode(data), "example"))), pdf=())
    except Rejected:
        return  # addresses, days, languages, names and kinds have forms of their own
    raw = b"\n".join(text for name, text in made.items() if name.endswith(".html"))
    assert b"<script" not in raw
    assert b"alert(1)" in raw
    assert b"{{7*7}}" in raw, "rendered twice"
    for name, text in made.items():
        assert not name.endswith(".html") or not parsed(text.decode()).every("script")


@pytest.mark.parametrize("place", [("situations", "threat", "title", "en"), ("evidence", 0, "text", "en")], ids=str)
def test_the_country_is_escaped_too(place: tuple[Any, ...]) -> None:
    made = files_of(guide(country=country(altered(country_data(), place, ATTACK))), pdf=())
    assert all(b"<script" not in text for name, text in made.items() if name.endswith(".html"))
