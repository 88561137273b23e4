"""What the pages show: facts with their sources and their age, in one language; nothing that is not a fact.

One view for pages, mail, PDF and JSON, so that none of them can say more than another. Templates only set it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from urllib.parse import urlsplit

from exchange.guide.checking import age_days
from exchange.guide.facts import Fact, Grade, Kind, Origin, Profile, Source, Text
from exchange.guide.whole import Entry, Guide, Measured
from exchange.guide.words import Words


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and the language that it is in."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A source as it is shown."""

    title: str
    address: str
    host: str
    seen: date
    seen_on: str
    dated: str
    origin: Origin
    stale: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A fact as it is shown."""

    said: Said
    sources: tuple[Seen, ...]
    grade: Grade
    official: bool
    address: str = ""
    host: str = ""

    @property
    def stale(self) -> bool:
        """Whether every source was seen too long ago."""
        return all(each.stale for each in self.sources)

    @property
    def checked_on(self) -> str:
        """The last day on which any of its sources was seen."""
        return max(self.sources, key=lambda each: each.seen).seen_on


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule as it is shown."""

    policy: str
    fact: Shown


@dataclass(frozen=True, slots=True)
class ShownRoute:
    """A way to report, as it is shown. What is None is not known."""

    title: Said
    steps: Shown
    account: Shown | None
    response: Shown | None


@dataclass(frozen=True, slots=True)
class OnPlatform:
    """What to do about one kind of abuse on one platform; without a kind, about all."""

    platform: str
    name: str
    version: int
    confirmed: bool
    said_by: str
    measured: Measured | None
    rules: tuple[ShownRule, ...]
    routes: tuple[ShownRoute, ...]
    no_route: tuple[Said, ...]
    lists: Mapping[str, tuple[Shown, ...]] = field(default_factory=dict)
    not_found: tuple[Said, ...] = ()


#: The lists of a profile that hold whatever has happened, and what they are called.
PLATFORM_LISTS = ("warnings", "candidates", "actions", "escalation", "tools", "police")


class Showing:
    """Shows a guide in one language."""

    def __init__(self, guide: Guide, words: Words) -> None:
        """Nothing is read but these."""
        self.guide = guide
        self.words = words

    def said(self, text: Text) -> Said:
        """Return a text in this language, or in the one that there is."""
        language = self.words.language if self.words.language in text else next(iter(sorted(text, key=_english_first)))
        return Said(text[language], language)

    def shown(self, fact: Fact, sources: Mapping[str, Source]) -> Shown:
        """Return a fact as it is shown."""
        said = self.said(fact.text)
        seen = tuple(self.seen(sources[name]) for name in fact.sources)
        return Shown(said, seen, fact.grade, said.language in fact.official, fact.address, host(fact.address))

    def seen(self, source: Source) -> Seen:
        """Return a source as it is shown."""
        day = date.fromisoformat(source.seen)
        stale = age_days(source, self.guide.today) > self.guide.stale_days
        return Seen(
            source.title,
            source.address,
            host(source.address),
            day,
            self.words.day(day),
            source.dated,
            source.origin,
            stale,
        )

    def of_country(self, facts: Iterable[Fact]) -> tuple[Shown, ...]:
        """Return facts that are the same on every platform."""
        return tuple(self.shown(fact, self.guide.country.sources) for fact in facts)

    @property
    def emergency(self) -> tuple[Shown, ...]:
        """The lines on top of every page: official wording in this language, else in the first that there is."""
        lines = self.guide.country.emergency
        return self.of_country(lines.get(self.words.language) or next(iter(lines.values())))

    @property
    def every_emergency(self) -> tuple[Shown, ...]:
        """The emergency lines of this language, and then those that are only in English: all of them may be needed."""
        english = self.of_country(self.guide.country.emergency.get("en", ()))
        return tuple(dict.fromkeys((*self.emergency, *english)))

    def on(self, entry: Entry, kind: Kind | None = None) -> OnPlatform:
        """Return what there is on a platform."""
        profile = entry.profile
        rules = [rule for rule in profile.rules if kind in (None, rule.kind)]
        routes = [route for route in profile.routes if kind is None or route.serves(kind)]
        return OnPlatform(
            profile.platform,
            profile.name,
            profile.version,
            entry.confirmed,
            entry.said_by,
            entry.measured,
            tuple(ShownRule(rule.policy, self.shown(rule.fact, profile.sources)) for rule in rules),
            tuple(
                ShownRoute(
                    self.said(route.title),
                    self.shown(route.steps, profile.sources),
                    self._maybe(route.account, profile),
                    self._maybe(route.response, profile),
                )
                for route in routes
            ),
            tuple(self.said(text) for each, text in profile.no_route.items() if kind in (None, each)),
            {
                name: tuple(self.shown(fact, profile.sources) for fact in getattr(profile, name))
                for name in PLATFORM_LISTS
            },
            tuple(self.said(text) for text in profile.not_found),
        )

    def _maybe(self, fact: Fact | None, profile: Profile) -> Shown | None:
        return None if fact is None else self.shown(fact, profile.sources)

    def standing(self, on: OnPlatform) -> str:
        """Return who vouches for what is said of a platform."""
        if not on.confirmed:
            return self.words("Compiled from public sources, not confirmed by the platform.")
        return self.words("Confirmed by the platform ({who}), version {number}.", who=on.said_by, number=on.version)

    def measured(self, on: OnPlatform) -> str:
        """Return what was measured of a platform, by whose word, and what it does not say."""
        found, words = on.measured, self.words
        said = [words("Not measured, or too few times to say.")]
        if found is not None:
            said = [
                words(
                    "Half within {half}, nineteen of twenty within {most}; {count} signals or more, {first} to {last}.",
                    half=self.duration(found.half_below_ms),
                    most=self.duration(found.most_below_ms),
                    count=f"{found.at_least:,}",
                    first=words.day(found.first_day),
                    last=words.day(found.last_day),
                ),
                words("Counted in the exchange's ledger, from when a signal came to when the platform says it acted."),
            ]
        return " ".join([*said, words("This is not how long it takes to answer your report.")])

    def duration(self, milliseconds: int) -> str:
        """Return an upper bound as it is said."""
        for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
            if milliseconds >= 2 * size:
                number = -(-milliseconds // size)
                return self._of(unit, number)
        return self._of("seconds", -(-milliseconds // 1000))

    def _of(self, unit: str, number: int) -> str:
        texts = {
            "days": self.words("{number} days", number=number),
            "hours": self.words("{number} hours", number=number),
            "minutes": self.words("{number} minutes", number=number),
            "seconds": self.words("{number} seconds", number=number),
        }
        return texts[unit]

    def stale(self) -> bool:
        """Whether any source was seen too long ago."""
        return any(self.seen(source).stale for source in self.sources())

    def sources(self) -> Sequence[Source]:
        """Return every source, without repeats, by title."""
        found = list(self.guide.country.sources.values())
        found += [source for entry in self.guide.entries for source in entry.profile.sources.values()]
        return sorted(set(found), key=lambda source: (source.title, source.address))


def _english_first(language: str) -> tuple[bool, str]:
    return language != "en", language


def host(address: str) -> str:
    """Return whose page an address is, as it is shown beside a link."""
    return urlsplit(address).hostname or ""
