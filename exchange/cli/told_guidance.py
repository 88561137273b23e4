"""What a community's ledger says for the guide, read leaf by leaf: platforms' profiles, and how long each took to act.

Nothing is taken on the hub's word but how far the ledger goes: it can show an older tree of its own. It cannot leave a
profile out of that, let a member speak for another's platform, or make anybody faster than they were.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import msgspec

from exchange.cli.progress.counting import day_number
from exchange.cli.progress.reading import read_ledger
from exchange.domain.directory import Directory
from exchange.domain.guidance import GuidanceEntry, Guidances, may_speak, read_profile
from exchange.domain.guidance_body import Guidance
from exchange.domain.lag import Stage, added, band_of
from exchange.errors import Reason, Rejected
from exchange.guide.checking import check_profile
from exchange.guide.facts import Profile, read
from exchange.guide.whole import Entry, Measured
from exchange.ports import LagRow, Period
from exchange.stores.facts_reports import FactsReports
from exchange_client import ExchangeClient
from exchange_client.verify import VerifiedEntry


class Spoken:
    """The profiles of a ledger, each by whoever may speak for its platform. Give `take` every page of entries."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.guidances = Guidances()
        self.bodies: dict[str, Guidance] = {}
        #: Platforms of which an operator has said something.
        self.known_to_operators: set[str] = set()
        #: What was not taken, and why.
        self.refused: list[str] = []

    def take(self, page: Sequence[VerifiedEntry], directory: Directory) -> None:
        """Take the next entries, of any kind; ``directory`` is at least as new as they are."""
        for entry in page:
            body, publisher, index = entry.header.body, entry.header.publisher, entry.leaf.index
            if not isinstance(body, Guidance):
                continue
            if not may_speak(publisher, body, self.guidances.entries.get(body.platform), directory):
                self.refused.append(f"entry {index}: {publisher} does not speak for {body.platform}")
                continue
            self.guidances.apply(index, entry.header, entry.leaf.received_at_ms)
            last = self.guidances.entries.get(body.platform)
            if last is not None and last.index == index:
                self.bodies[body.platform] = body
            if body.member != publisher:
                self.known_to_operators.add(body.platform)

    def in_order(self) -> list[GuidanceEntry]:
        """Return the profiles in force: first those that an operator knows of, then the others, as they came."""
        return sorted(
            self.guidances.in_force(), key=lambda each: (each.platform not in self.known_to_operators, each.index)
        )


async def told_by(
    client: ExchangeClient,
    origin: str,
    known: Mapping[str, Entry],
    lacking: Callable[[str], list[str]],
    *,
    today: date,
    days: int,
    quiet: bool,
) -> tuple[dict[str, Entry], list[str]]:
    """Return all platforms' entries, those of the ledger before ``known`` ones, and what was left out.

    Times are those of the last ``days``; ``lacking`` tells which letters of a text cannot be printed.
    Raises `VerificationFailed` when anything of the ledger does not hold.
    """
    auditor = await client.auditor(origin)
    spoken, first = Spoken(), today - timedelta(days - 1)
    async with read_ledger(auditor, await auditor.tree(), None, until_ms=None, quiet=quiet, also=spoken.take) as ledger:
        rows = await FactsReports(ledger.facts).lag(Period(day_number(first), day_number(today)), b"")
    found, left_out = dict(known), list(spoken.refused)
    for said in spoken.in_order():
        try:
            check_standing(said, auditor.directory)
            profile = shown(said, spoken.bodies[said.platform], found, today)
            whose = auditor.directory.members[said.publisher].display_name
            check_letters(said, profile, whose, lacking)
        except Rejected as error:
            left_out.append(error.message)
            continue
        found[said.platform] = Entry(profile, said.confirmed, whose)
    for said in spoken.guidances.in_force():
        if said.member and said.platform in found:
            measured = measured_of(rows, said.member, first, today)
            found[said.platform] = replace(found[said.platform], measured=measured)
    return found, left_out


def check_letters(said: GuidanceEntry, profile: Profile, whose: str, lacking: Callable[[str], list[str]]) -> None:
    """Return if a profile and its member's name can be printed: else one could keep every guide from being made."""
    missing = lacking(msgspec.json.encode(profile).decode() + whose)
    if missing:
        raise Rejected(Reason.INVALID, f"{_where(said)}: the PDF's font has no {' '.join(missing[:5])} (see --font)")


def check_standing(said: GuidanceEntry, directory: Directory) -> None:
    """Return if whoever said a profile is not suspended: it may be in wrong hands. Raises `Rejected`."""
    if directory.is_suspended(said.publisher):
        raise Rejected(Reason.INVALID, f"{_where(said)}: that member is suspended")


def _where(said: GuidanceEntry) -> str:
    return f"{said.platform}, version {said.version}, by {said.publisher}"


def shown(said: GuidanceEntry, body: Guidance, others: Mapping[str, Entry], today: date) -> Profile:
    """Return a profile that may be shown beside others. Raises `Rejected`."""
    where = _where(said)
    profile = read(Profile, msgspec.json.encode(read_profile(body)), where)
    wrong = [finding for finding in check_profile(profile, today) if not finding.stale]
    if wrong:
        raise Rejected(Reason.INVALID, f"{where}: {wrong[0]}")
    same = [name for name, each in others.items() if _letters(each.profile.name) == _letters(profile.name)]
    if [name for name in same if name != said.platform]:
        raise Rejected(Reason.INVALID, f"{where}: {same[0]} is called so already")
    return profile


def _letters(name: str) -> str:
    """Return what is left of a name when spelling, spaces and signs are not looked at."""
    return "".join(each for each in unicodedata.normalize("NFKC", name).casefold() if each.isalnum())


def measured_of(rows: Sequence[LagRow], member: str, first: date, last: date) -> Measured | None:
    """Return how long a platform took, or None where it acted too few times to say."""
    histogram = added(row.counts for row in rows if row.stage == Stage.ACTIONED and row.receiver == member)
    at_least, half, most = band_of(histogram.total), histogram.quantile_ms(0.5), histogram.quantile_ms(0.95)
    if at_least is None or half is None or most is None:
        return None
    return Measured(at_least, half, most, first, last)
