"""Whether facts may be shown: every one with its source, none of them stale, every kind of abuse covered.

The schema says what a profile looks like; this says what it must hold. The same questions are asked before a profile
is published and before a guide is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from exchange.domain.guidance import MAX_COMPRESSED_BYTES, guidance_of, holds_identifier
from exchange.guide.facts import ADDRESS, Country, Fact, Grade, Kind, Origin, Profile, Source, facts, plain, texts

#: Facts older than this are stale: platforms change their rules several times a year.
STALE_DAYS = 180
#: No controls, no separators of lines, and nothing that changes the direction of what stands beside it.
_SEEN = re.compile("[^\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]*")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where. What is only stale may be shown, and is marked there."""

    where: str
    what: str
    stale: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def age_days(source: Source, today: date) -> int:
    """Return how many days ago a source was seen."""
    return (today - date.fromisoformat(source.seen)).days


def check_profile(profile: Profile, today: date, stale_days: int = STALE_DAYS) -> list[Finding]:
    """Return what is wrong with a profile."""
    found = [*_check_facts(profile, today, stale_days), *_check_cover(profile)]
    if list(profile.languages) != sorted(set(profile.languages)):
        found.append(Finding("languages", "must be sorted, without repeats"))
    values = plain(profile)
    if holds_identifier(values):
        found.append(Finding("profile", "holds what looks like a mail address or a telephone number"))
    size = len(guidance_of(values).profile)
    if size > MAX_COMPRESSED_BYTES:
        found.append(Finding("profile", f"is {size:,} bytes compressed; a leaf takes {MAX_COMPRESSED_BYTES:,}"))
    return found


def check_country(country: Country, today: date, stale_days: int = STALE_DAYS) -> list[Finding]:
    """Return what is wrong with what is the same on every platform."""
    found = list(_check_facts(country, today, stale_days))
    found += [Finding(f"situations.{kind}", "is missing") for kind in Kind if kind not in country.situations]
    for language in country.languages:
        lines = country.emergency.get(language, ())
        if not lines:
            found.append(Finding(f"emergency.{language}", "is missing"))
        found += [
            Finding(f"emergency.{language}[{place}]", "is not official wording")
            for place, fact in enumerate(lines)
            if language not in fact.official or not _is_official(fact, country.sources)
        ]
    return found


def _is_official(fact: Fact, sources: dict[str, Source]) -> bool:
    return all(each in sources and sources[each].origin is Origin.OFFICIAL for each in fact.sources)


def _check_facts(value: Profile | Country, today: date, stale_days: int) -> Iterator[Finding]:
    used: set[str] = set()
    for where, fact in facts(value):
        used.update(fact.sources)
        missing = [each for each in fact.sources if each not in value.sources]
        if missing:
            yield Finding(where, f"names sources that are not there: {', '.join(missing)}")
            continue
        yield from _check_address(f"{where}.address", fact.address)
        named = [value.sources[each] for each in fact.sources]
        if fact.grade is not Grade.OLD and all(each.origin in (Origin.COPY, Origin.THIRD_PARTY) for each in named):
            yield Finding(where, "is seen only in copies or with third parties, so its grade is old")
    for name, source in value.sources.items():
        where = f"sources.{name}"
        if name not in used:
            yield Finding(where, "is no fact's source")
        yield from _check_source(where, source, today, stale_days)
    yield from _check_letters(plain(value))
    for where, text in texts(value):
        if not set(text) & set(value.languages):
            yield Finding(where, "is in none of the languages")
        yield from (Finding(where, "is blank") for each in text.values() if not each.strip())


def _check_letters(value: Any, where: str = "") -> Iterator[Finding]:  # noqa: ANN401 - plain values
    if isinstance(value, str):
        if not _SEEN.fullmatch(value):
            yield Finding(where, "holds letters that are not seen, or that turn a line around")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _check_letters(each, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from _check_letters(each, f"{where}[{place}]")


def _check_source(where: str, source: Source, today: date, stale_days: int) -> Iterator[Finding]:
    if not source.address:
        yield Finding(where, "has no address")
    elif ADDRESS.fullmatch(source.address) and not urlsplit(source.address).path.strip("/"):
        yield Finding(f"{where}.address", "is a whole site's: name the page")
    yield from _check_address(f"{where}.address", source.address)
    try:
        age = age_days(source, today)
    except ValueError:
        yield Finding(f"{where}.seen", f"{source.seen} is no day")
        return
    if age < 0:
        yield Finding(f"{where}.seen", f"{source.seen} is yet to come")
    elif age > stale_days:
        yield Finding(f"{where}.seen", f"{source.seen} is {age} days ago: look again", stale=True)


def _check_address(where: str, address: str) -> Iterator[Finding]:
    if address and not ADDRESS.fullmatch(address):
        yield Finding(where, f"{address[:80]!r} is not the address of a page")


def _check_cover(profile: Profile) -> Iterator[Finding]:
    for kind in Kind:
        if not any(rule.kind is kind for rule in profile.rules):
            yield Finding("rules", f"nothing is said of {kind}")
        if kind not in profile.no_route and not any(route.serves(kind) for route in profile.routes):
            yield Finding("routes", f"there is no way to report {kind}")
