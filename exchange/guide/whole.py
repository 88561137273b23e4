"""What a guide is made of, before it is shown: facts, who said them, what was measured, and the day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from exchange.guide.checking import STALE_DAYS
from exchange.guide.facts import Country, Profile


@dataclass(frozen=True, slots=True)
class Measured:
    """How long this platform took to act on other platforms' signals, as a ledger adds it up."""

    #: It acted so many times, or more.
    at_least: int
    #: Half of them took less, in milliseconds.
    half_below_ms: int
    #: Nineteen of twenty took less.
    most_below_ms: int
    #: The days (UTC) that were looked at, the last one too.
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Entry:
    """A profile, and who said it."""

    profile: Profile
    #: The platform's own member said it.
    confirmed: bool = False
    #: What the directory calls the member that said it; empty where nobody in a ledger did.
    said_by: str = ""
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class Guide:
    """Everything that a guide is made of. The same of it makes the same bytes."""

    country: Country
    entries: tuple[Entry, ...]
    today: date
    stale_days: int = STALE_DAYS
    #: Where the guide will be; empty where that is not known.
    address: str = ""
