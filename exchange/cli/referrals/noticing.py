"""What `exchange referrals watch` has to tell, and its memory of what it has told: each thing once, over restarts.

A notice is a count of each sort of event. Its events are put together and noted before it is sent, and so is its own
id: a notice that was under way when the process died is sent again with the same id and the same counts, by which
whoever gets it can tell. The memory holds digests only.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import apsw

from exchange.domain.addressed import ReferralState
from exchange.errors import Fatal, Reason, Rejected
from exchange.ops.transactions import all_rows
from exchange_client import ReferralReport
from exchange_client.private_database import PrivateDatabase

#: Sorts of events, in words for people: a referral to us that waits for its first word; a question to us; an answer to
#: ours; one that is overdue at either end; one that is open, and soon gone with the community's retention.
SORTS = {
    "new": "new",
    "asked": "with a question",
    "answered": "with an answer",
    "overdue": "overdue",
    "ending": "open and soon gone",
}
_VERSION = 1
_TABLES = """
CREATE TABLE told(
    origin TEXT NOT NULL, channel TEXT NOT NULL, referral BLOB NOT NULL, event BLOB NOT NULL, sort TEXT NOT NULL,
    notice TEXT, sent INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (origin, channel, event)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell, once."""

    sort: str
    #: Digests: of the referral, and of what is told of it.
    referral: bytes
    event: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told at once: no identifier, no content, and nobody's name."""

    id: str
    origin: str
    new: int = 0
    asked: int = 0
    answered: int = 0
    overdue: int = 0
    ending: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each sort."""
        return {sort: getattr(self, sort) for sort in SORTS}

    @property
    def words(self) -> str:
        """The counts for people."""
        return ", ".join(f"{count} {SORTS[sort]}" for sort, count in self.counts.items() if count)


def events_of(reports: Iterable[ReferralReport], member: str, *, now_ms: int) -> list[Event]:
    """Return what there is to tell a member of its open referrals."""
    found: list[Event] = []
    for report in reports:
        if report.authority == member and not report.state:
            found.append(_event("new", report, b""))
        if report.publisher == member and report.state == ReferralState.ASKED:
            found.append(_event("asked", report, _last(report)))
        if report.authority == member and report.state == ReferralState.ANSWERED:
            found.append(_event("answered", report, _last(report)))
        if report.overdue:
            found.append(_event("overdue", report, report.due_ms.to_bytes(8, "big")))
        if report.ends_soon(now_ms):
            found.append(_event("ending", report, b""))
    return found


def _last(report: ReferralReport) -> bytes:
    """Return which question or answer it is: another one is told again."""
    return report.steps[-1].id if report.steps else b""


def _event(sort: str, report: ReferralReport, which: bytes) -> Event:
    return Event(sort, sha256(report.id).digest(), sha256(b"\0".join((sort.encode(), report.id, which))).digest())


def _make(connection: apsw.Connection) -> None:
    connection.execute(_TABLES)


class Memory:
    """What was told of one community's referrals, by each channel."""

    def __init__(self, path: Path, origin: str) -> None:
        """Open the file, or make it. Raises `Fatal` (CONFIG), and `Rejected` where another watch has it open."""
        self._file = PrivateDatabase(path, _VERSION, _make)
        self._origin = origin
        try:
            self._alone = _alone(path.with_name(f"{path.stem}-{sha256(origin.encode()).hexdigest()[:16]}.lock"))
        except BaseException:
            self._file.close()
            raise

    async def note(self, channel: str, events: Sequence[Event], open_now: Iterable[bytes]) -> None:
        """Note what is to be told, if it was not; forget what was told of referrals that are not open any more."""
        digests = {sha256(id_).digest() for id_ in open_now}

        def job(connection: apsw.Connection) -> None:
            known = all_rows(
                connection,
                "SELECT DISTINCT referral FROM told WHERE origin = ? AND channel = ?",
                (self._origin, channel),
            )
            gone = [(self._origin, channel, referral) for (referral,) in known if referral not in digests]
            connection.executemany(
                "DELETE FROM told WHERE origin = ? AND channel = ? AND referral = ? AND (sent = 1 OR notice IS NULL)",
                gone,
            )
            connection.executemany(
                "INSERT OR IGNORE INTO told (origin, channel, referral, event, sort) VALUES (?, ?, ?, ?, ?)",
                [(self._origin, channel, each.referral, each.event, each.sort) for each in events],
            )

        await self._file.run(job)

    async def next(self, channel: str) -> Notice | None:
        """Return the notice to send now, first one that was put together before; None where there is none."""
        place = (self._origin, channel)

        def job(connection: apsw.Connection) -> Notice | None:
            left = all_rows(
                connection,
                "SELECT DISTINCT notice FROM told WHERE origin = ? AND channel = ? AND sent = 0 AND notice IS NOT NULL",
                place,
            )
            notice = str(left[0][0]) if left else secrets.token_hex(16)
            if not left:
                query = "UPDATE told SET notice = ? WHERE origin = ? AND channel = ? AND notice IS NULL"
                connection.execute(query, (notice, *place))
            counted = all_rows(
                connection,
                "SELECT sort, count(*) FROM told WHERE origin = ? AND channel = ? AND notice = ? GROUP BY sort",
                (*place, notice),
            )
            counts: dict[str, int] = dict(counted)
            return Notice(notice, self._origin, **counts) if counts else None

        return await self._file.run(job)

    async def sent(self, channel: str, notice: Notice) -> None:
        """Note that a notice has arrived."""
        query = "UPDATE told SET sent = 1 WHERE origin = ? AND channel = ? AND notice = ?"

        def job(connection: apsw.Connection) -> None:
            connection.execute(query, (self._origin, channel, notice.id))

        await self._file.run(job)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._alone.close()


def _alone(path: Path) -> BinaryIO:
    """Return what keeps another watch out until it is closed, or the process has ended."""
    try:
        held = path.open("wb")
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        why = "another watch of this community runs with this client file"
        raise Rejected(Reason.CONFIG, why, hint="one at a time: both would tell the same") from error
    return held
