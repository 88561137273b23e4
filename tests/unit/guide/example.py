"""A small guide to spoil: a country and a platform with one of everything."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import msgspec

from exchange.guide.facts import Country, Kind, Profile, plain, read
from exchange.guide.files import own_profiles, read_country, read_profile_file
from exchange.guide.whole import Entry, Guide, Measured

TODAY = date(2026, 11, 29)
SEEN = "2026-11-01"
ADDRESS = "https://guide.example.org/"


def fact(text: str = "Something is so.", **changes: Any) -> dict[str, Any]:
    return {"text": {"en": text}, "grade": "dated", "sources": ["page"], "address": "https://a.example/go"} | changes


def source(**changes: Any) -> dict[str, Any]:
    return {
        "title": "A page",
        "address": "https://a.example/page",
        "seen": SEEN,
        "origin": "official",
        "dated": "May",
    } | changes


def profile_data(**changes: Any) -> dict[str, Any]:
    """Return a profile that is good, with every field filled."""
    return {
        "format": 1,
        "platform": "chatter",
        "name": "Chatter",
        "version": 3,
        "languages": ["en"],
        "sources": {"page": source()},
        "rules": [{"kind": kind.value, "policy": f"Policy on {kind}", "fact": fact()} for kind in Kind],
        "routes": [
            {
                "kinds": [kind.value for kind in Kind if kind is not Kind.HACKED],
                "title": {"en": "Report"},
                "steps": fact("Press the button."),
                "account": fact("Yes."),
                "response": fact("Within a week."),
            }
        ],
        "no_route": {"hacked": {"en": "Nothing was found."}},
        "actions": [fact()],
        "warnings": [fact()],
        "escalation": [fact()],
        "tools": [fact()],
        "candidates": [fact()],
        "police": [fact()],
        "not_found": [{"en": "How long it takes"}],
    } | changes


def profile(**changes: Any) -> Profile:
    return read(Profile, msgspec.json.encode(profile_data(**changes)), "example")


def country_data() -> dict[str, Any]:
    """Return the project's own country as plain values, to change."""
    return plain(read_country())


def country(data: dict[str, Any]) -> Country:
    return read(Country, msgspec.json.encode(data), "example")


def guide(*entries: Entry, **changes: Any) -> Guide:
    """Return a guide of these, or of a platform that has confirmed its profile and was measured."""
    measured = Measured(100, 90_000, 7_200_000, date(2026, 6, 3), TODAY)
    values: dict[str, Any] = {"country": read_country(), "today": TODAY, "address": ADDRESS} | changes
    return Guide(
        entries=entries or (Entry(profile(), confirmed=True, said_by="Chatter plc", measured=measured),), **values
    )


def own_guide() -> Guide:
    """Return the guide that comes with the project."""
    return guide(*(Entry(read_profile_file(path)) for path in own_profiles()))


def altered(data: Any, place: tuple[Any, ...], text: str) -> Any:
    """Return the same data with one text changed."""
    copy = json.loads(json.dumps(data))
    at = copy
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = text
    return copy
