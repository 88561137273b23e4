"""What a fact is: a text, where it was seen and when, and how far it may be relied on.

Everything that the guide tells somebody who is threatened is a fact, and no fact is without a source. Where nothing was
found there is no fact, and the pages say: check with the platform. docs/guidance-schema.json is made of these classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from exchange.errors import Reason, Rejected

#: Where pages are: absolute, without a name, a port or a space in it.
ADDRESS = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.[a-z]{2,}(?:/[^\s<>\"'`\\]*)?", re.ASCII)

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
Day = Annotated[str, msgspec.Meta(pattern=r"^20[0-9]{2}-[01][0-9]-[0-3][0-9]$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^$|^https://", max_length=500)]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}$")]
#: A text by language.
Text = Annotated[
    dict[Language, Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]], msgspec.Meta(min_length=1)
]
SourceIds = Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]


class Kind(StrEnum):
    """What can happen to somebody. The guide is organised by it."""

    THREAT = "threat"
    HARASS = "harass"
    HATE = "hate"
    PRIVATE = "private"
    IMPERSON = "imperson"
    INTIMATE = "intimate"
    COORD = "coord"
    ELECTION = "election"
    SPAM = "spam"
    HACKED = "hacked"


class Grade(StrEnum):
    """How far a fact may be relied on, and so what is said beside it."""

    #: An official text, dated 2024 or later, or dated by its content.
    DATED = "dated"
    #: An official text whose date is not visible, or one of 2021 to 2023.
    UNDATED = "undated"
    #: Older, or seen only in a copy or with third parties: it may have changed.
    OLD = "old"


class Origin(StrEnum):
    """What a source is."""

    OFFICIAL = "official"
    #: A public archive's copy of an official page, word for word.
    ARCHIVED = "archived"
    #: Somebody else's copy.
    COPY = "copy"
    THIRD_PARTY = "third_party"


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all of it is: values that cannot change, and no field that is not known."""


class Source(Plain, frozen=True):
    """Where facts were seen."""

    title: str
    address: Address
    #: When it was seen, by whoever wrote the fact down.
    seen: Day
    origin: Origin
    #: The date on the page itself, as it says it; empty where it has none.
    dated: str = ""


class Fact(Plain, frozen=True):
    """One thing that is so, as far as its sources say."""

    text: Text
    grade: Grade
    sources: SourceIds
    #: The page that it points to, where there is one to go to.
    address: Address = ""
    #: Languages in which the text is official wording, word for word.
    official: tuple[Language, ...] = ()


class Rule(Plain, frozen=True):
    """What breaches a platform's terms."""

    kind: Kind
    #: The platform's own name for the rule.
    policy: str
    fact: Fact


class Route(Plain, frozen=True):
    """A way to report."""

    #: Empty: whatever has happened.
    kinds: tuple[Kind, ...]
    title: Text
    #: The steps, and the address of the form or of the page that explains them.
    steps: Fact
    #: Whether an account is needed.
    account: Fact | None = None
    #: What response is promised.
    response: Fact | None = None

    def serves(self, kind: Kind) -> bool:
        """Whether it is a way to report this."""
        return not self.kinds or kind in self.kinds


class Profile(Plain, frozen=True):
    """One platform. docs/guidance.md says how to write one."""

    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    platform: Name
    name: str
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**32)]
    languages: Annotated[tuple[Language, ...], msgspec.Meta(min_length=1, max_length=8)]
    sources: dict[Name, Source]
    rules: tuple[Rule, ...]
    routes: tuple[Route, ...]
    #: What there is no known way to report, and what to do instead.
    no_route: dict[Kind, Text] = {}
    #: What it says it may do about a breach.
    actions: tuple[Fact, ...] = ()
    #: What to know before reporting.
    warnings: tuple[Fact, ...] = ()
    #: What to do when nothing happens.
    escalation: tuple[Fact, ...] = ()
    #: How to protect an account.
    tools: tuple[Fact, ...] = ()
    #: A way that is for candidates only.
    candidates: tuple[Fact, ...] = ()
    #: What police can ask it for.
    police: tuple[Fact, ...] = ()
    #: What was looked for and not found.
    not_found: tuple[Text, ...] = ()


class Situation(Plain, frozen=True):
    """What has happened, and what to do now."""

    title: Text
    about: Text
    now: tuple[Fact, ...]
    crime: tuple[Fact, ...]


class Country(Plain, frozen=True):
    """What is the same on every platform: police, electoral bodies, evidence, support."""

    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    country: Name
    languages: tuple[Language, ...]
    sources: dict[Name, Source]
    #: By language, official wording only.
    emergency: dict[Language, tuple[Fact, ...]]
    situations: dict[Kind, Situation]
    evidence: tuple[Fact, ...]
    police: tuple[Fact, ...]
    electoral: tuple[Fact, ...]
    escalation: tuple[Fact, ...]
    support: tuple[Fact, ...]
    law: tuple[Fact, ...]


P = TypeVar("P", Profile, Country)


def read(kind: type[P], data: bytes, where: str) -> P:
    """Return a profile or a country of its JSON. Raises `Rejected` (INVALID) that says where it is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(Reason.INVALID, f"{where}: {error}", hint="docs/guidance-schema.json is the form") from error


def plain(value: Profile | Country) -> dict[str, Any]:
    """Return a profile as plain values, which is what is published."""
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def schema() -> dict[str, Any]:
    """Return the JSON schema of a profile."""
    made = msgspec.json.schema(Profile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A platform's profile", **made}


def facts(value: object, where: str = "") -> Iterator[tuple[str, Fact]]:
    """Yield every fact in a profile or a country, with its place."""
    if isinstance(value, Fact):
        yield where, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from facts(getattr(value, name), f"{where}.{name}" if where else name)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from facts(each, f"{where}.{key}")
    elif isinstance(value, tuple):
        for place, each in enumerate(value):
            yield from facts(each, f"{where}[{place}]")


def texts(value: object, where: str = "") -> Iterator[tuple[str, Text]]:
    """Yield every text, with its place."""
    if isinstance(value, Mapping) and value and all(isinstance(each, str) for each in value.values()):
        yield where, dict(value)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from texts(getattr(value, name), f"{where}.{name}" if where else name)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from texts(each, f"{where}.{key}")
    elif isinstance(value, tuple):
        for place, each in enumerate(value):
            yield from texts(each, f"{where}[{place}]")
