"""A community's key epochs: a pure fold over its log, and the rules for what the pseudonym service says.

`KeyEpochs.apply` takes the log's statements of this kind in order. The first announcement of a number wins, numbers
only grow, and what is destroyed stays so: a statement that says otherwise is refused by a hub, and counts for nothing
in a fold.

Whoever has a service's key can announce what it likes, for ever: so a fold holds a bounded number of epochs for each
publisher, and nothing that was announced keeps its publisher from announcing another, once it has ended the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from exchange.domain.bodies import (
    Budget,
    BudgetTotal,
    KeyEpoch,
    State,
)
from exchange.domain.statement import Header
from exchange.domain.validation import DAY_MS, Findings, check_envelope

PUBLIC_KEY_BYTES = 33
MAX_LIFE_DAYS = 400
MAX_DATA_VERSIONS = 16
MAX_TOTALS = 1_000
#: Epochs that one publisher has announced and not destroyed; and those that it has destroyed that are remembered.
MAX_STANDING = MAX_DESTROYED = 16
#: How far a number may lie above the last one: a typing error must not use up the numbers that there are.
MAX_STEP = 1_000
#: A version's name and its text: for ever in a leaf, so nothing that could be an identifier.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}", re.ASCII)


class EpochState(StrEnum):
    """Where a key epoch stands."""

    COMING = "coming"
    LIVE = "live"
    ENDED = "ended"
    DESTROYED = "destroyed"

    @classmethod
    def at(cls, now_ms: int, begins_ms: int, ends_ms: int, *, destroyed: bool) -> EpochState:
        """Return where one with these times stands at a time."""
        if destroyed:
            return cls.DESTROYED
        if now_ms < begins_ms:
            return cls.COMING
        return cls.LIVE if now_ms < ends_ms else cls.ENDED


@dataclass(frozen=True, slots=True)
class KeyEpochEntry:
    """What the log knows of one key epoch."""

    #: As it was announced.
    epoch: KeyEpoch
    publisher: str
    #: Index of the leaf that announced it.
    announced_at: int
    #: Index of the leaf that said its key is destroyed; None as long as there is one.
    destroyed_at: int | None = None

    def state(self, now_ms: int) -> EpochState:
        """Return where it stands at a time."""
        destroyed = self.destroyed_at is not None
        return EpochState.at(now_ms, self.epoch.begins_ms, self.epoch.ends_ms, destroyed=destroyed)

    def is_live(self, now_ms: int) -> bool:
        """Whether pseudonyms are made and matched under it."""
        return self.state(now_ms) is EpochState.LIVE

    def is_destroyed_by(self, publisher: str) -> bool:
        """Whether this publisher has said that its key is destroyed."""
        return self.destroyed_at is not None and self.publisher == publisher


class KeyEpochs:
    """The folded state. Read it freely between calls of `apply`; only `apply` writes."""

    def __init__(self) -> None:
        #: The highest number that was announced; 0 where there is none.
        self.newest = 0
        self.entries: dict[int, KeyEpochEntry] = {}

    def apply(self, index: int, header: Header) -> None:
        """Take the next statement, of another kind too, and its place in the log."""
        body = header.body
        if not isinstance(body, KeyEpoch):
            return
        known = self.entries.get(body.number)
        if body.state == State.ACTIVE and body.number > self.newest:
            if len(self.standing(header.publisher)) < MAX_STANDING:
                self.entries[body.number] = KeyEpochEntry(body, header.publisher, index)
                self.newest = body.number
        elif body.state == State.ENDED and known is not None and _is_its_end(known, header.publisher, body):
            self.entries[body.number] = replace(known, destroyed_at=index)
            self._forget(header.publisher)

    def _forget(self, publisher: str) -> None:
        destroyed = [number for number, entry in self.entries.items() if entry.is_destroyed_by(publisher)]
        for number in sorted(destroyed)[:-MAX_DESTROYED]:
            del self.entries[number]

    def standing(self, publisher: str) -> list[KeyEpochEntry]:
        """Return the epochs that this publisher has announced and not destroyed, in the order of their numbers."""
        found = [entry for _, entry in sorted(self.entries.items()) if entry.publisher == publisher]
        return [entry for entry in found if entry.destroyed_at is None]

    def told_at(self) -> Iterator[int]:
        """Yield the indexes of the leaves that tell of these epochs."""
        for entry in self.entries.values():
            yield entry.announced_at
            if entry.destroyed_at is not None:
                yield entry.destroyed_at

    def live(self, now_ms: int) -> list[KeyEpochEntry]:
        """Return the epochs that are live, the oldest first: one, or two in an overlap."""
        return [entry for _, entry in sorted(self.entries.items()) if entry.is_live(now_ms)]

    def ends_of_live(self, now_ms: int) -> dict[int, int]:
        """Return when each live epoch ends, by number: what `Rules` wants to know."""
        return {entry.epoch.number: entry.epoch.ends_ms for entry in self.live(now_ms)}


def _is_its_end(known: KeyEpochEntry, publisher: str, body: KeyEpoch) -> bool:
    same = (known.publisher, known.epoch.public_key) == (publisher, body.public_key)
    return same and known.destroyed_at is None


def validate_key_epoch(header: Header, body: KeyEpoch, epochs: KeyEpochs) -> None:
    """Check a statement about a key epoch against those that there are. Raises `InvalidStatement`."""
    findings = Findings()
    check_envelope(findings, header)
    findings.check(not header.signal_ids, "signal_ids", "have no place in a key_epoch")
    findings.check(len(body.public_key) == PUBLIC_KEY_BYTES, "key_epoch.public_key", "must be 33 bytes")
    if body.state == State.ACTIVE:
        _check_announcement(findings, body, epochs, epochs.standing(header.publisher))
    elif body.state == State.ENDED:
        known = epochs.entries.get(body.number)
        right = known is not None and _is_its_end(known, header.publisher, body)
        findings.check(right, "key_epoch.number", "is not that of an epoch of yours, with this key and not destroyed")
        bare = not (body.begins_ms or body.ends_ms or body.data_versions)
        findings.check(bare, "key_epoch", "has neither times nor versions when it is destroyed")
    else:
        findings.add("key_epoch.state", "is mandatory")
    findings.raise_if_any()


def _check_announcement(
    findings: Findings, body: KeyEpoch, epochs: KeyEpochs, standing: Sequence[KeyEpochEntry]
) -> None:
    newest = epochs.newest
    following = newest < body.number <= newest + MAX_STEP
    findings.check(
        following, "key_epoch.number", f"must be above {newest}, the last one announced, by {MAX_STEP:,} at most"
    )
    findings.check(
        len(standing) < MAX_STANDING, "key_epoch", f"is the {MAX_STANDING + 1}th of yours: end one that is over"
    )
    findings.check(0 < body.begins_ms < body.ends_ms, "key_epoch.ends_ms", "must lie behind begins_ms")
    longest_ms = MAX_LIFE_DAYS * DAY_MS
    findings.check(
        body.ends_ms - body.begins_ms <= longest_ms, "key_epoch.ends_ms", f"is over {MAX_LIFE_DAYS} days from begins_ms"
    )
    findings.check(
        not standing or standing[-1].epoch.begins_ms < body.begins_ms,
        "key_epoch.begins_ms",
        "must lie behind the beginning of the epoch before it",
    )
    names = [version.name for version in body.data_versions]
    findings.check(len(names) <= MAX_DATA_VERSIONS, "key_epoch.data_versions", f"are more than {MAX_DATA_VERSIONS}")
    findings.check(names == sorted(set(names)), "key_epoch.data_versions", "must be sorted by name, without repeats")
    plain = all(_WORD.fullmatch(word) for each in body.data_versions for word in (each.name, each.version))
    findings.check(plain, "key_epoch.data_versions", "hold a name or version that is not a short plain word")


def validate_budget(header: Header, body: Budget, members: Collection[str], *, now_ms: int) -> None:
    """Check a day's totals. ``members`` are those of the exchange. Raises `InvalidStatement`."""
    findings = Findings()
    check_envelope(findings, header)
    findings.check(not header.signal_ids, "signal_ids", "have no place in a budget")
    findings.check(0 < body.day < now_ms // DAY_MS, "budget.day", "must be a day that is over")
    findings.check(0 < len(body.totals) <= MAX_TOTALS, "budget.totals", f"must be 1 to {MAX_TOTALS:,}")
    places = [(total.member, total.key_epoch) for total in body.totals]
    findings.check(places == sorted(set(places)), "budget.totals", "must be sorted by member and epoch, no repeats")
    known = all(total.member in members for total in body.totals)
    findings.check(known, "budget.totals", "name somebody who is not a member")
    findings.check(all(map(_is_a_total, body.totals)), "budget.totals", "have an epoch and a number each, above 0")
    findings.raise_if_any()


def _is_a_total(total: BudgetTotal) -> bool:
    return total.key_epoch > 0 and total.evaluations > 0
