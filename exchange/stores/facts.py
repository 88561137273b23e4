"""`Facts` in a SQLite file beside the log: written on a thread of its own, looked up on the loop.

A look-up is a few microseconds of a file whose pages are in memory; what reads much (`reports`) runs on another
thread. Nothing here is synced: the file can always be made again, and is of one piece after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw

from exchange.domain.bodies import Election
from exchange.domain.elections import ElectionFacts
from exchange.domain.life import MemberFacts, SignalFacts
from exchange.errors import Rejected
from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange.ports import Doomed, ToldEntry
from exchange.stores import facts_schema
from exchange.stores import sqlite_schema as schema
from exchange.stores.facts_taking import take
from exchange.stores.worker import Worker

T = TypeVar("T")

#: Of the file, as far as it is looked up without a call of the system for each page.
_MAPPED_BYTES = 1 << 30

_SIGNAL = (
    "SELECT signal_id, idx, publisher, label, expires_at_ms, received_at_ms, directory_size, election, actioned_at_ms,"
    " audience, retracted_at, erased_at, replaced_at FROM signals JOIN statements USING (idx) WHERE signal_id = ?"
)
_AUDIENCE = 9
_MEMBER = (
    "SELECT processed_through, acknowledged_at_ms, clock_offset_ms, clock_error_ms, quarantined_from"
    " FROM members WHERE member = ?"
)


class FactsFile:
    """One log's. Use `open`."""

    def __init__(self, path: Path) -> None:
        """Use `open`."""
        self._path = path
        self._worker = Worker(f"facts {path.parent.name}")
        self._reader = Worker(f"facts-reader {path.parent.name}")
        self._writing: apsw.Connection
        self._looking: apsw.Connection
        self._reading: apsw.Connection
        self._place = CompactRange()
        self._elections: Mapping[bytes, ElectionFacts] = {}

    @classmethod
    async def open(cls, path: Path) -> FactsFile:
        """Open the file, or make it where there is none of this form. Raises `Fatal`, and `Unavailable`."""
        file = cls(path)
        await file._worker.call(file._open)
        return file

    def _open(self) -> None:
        with schema.typed(self._path):
            self._writing = facts_schema.open_file(self._path)
            self._looking = schema.connect(self._path, read_only=True)
            self._looking.pragma("mmap_size", _MAPPED_BYTES)
            self._reading = schema.connect(self._path, read_only=True)
            rows: list[tuple[Any, ...]] = self._writing.execute("SELECT size, hashes FROM place").fetchall()
            self._elections = self._read_elections()
        ((size, hashes),) = rows
        cut = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        try:
            self._place = CompactRange.of(size, cut)
        except Rejected:
            self._clear()

    def place(self) -> CompactRange:
        """See `Facts.place`."""
        return self._place

    async def take(self, entries: Sequence[ToldEntry], place: CompactRange) -> None:
        """See `Facts.take`."""
        changed = any(isinstance(entry.header.body, Election) for entry in entries)

        def job() -> Mapping[bytes, ElectionFacts]:
            with schema.typed(self._path):
                with self._writing:
                    take(self._writing, entries)
                    self._writing.execute("UPDATE place SET size = ?, hashes = ?", (place.size, b"".join(place.hashes)))
                return self._read_elections() if changed else self._elections

        self._elections = await self._worker.call(job)
        self._place = place

    def signals(self, ids: Sequence[bytes]) -> Mapping[bytes, SignalFacts]:
        """See `Facts.signals`."""
        with schema.typed(self._path), self._looking:  # in one transaction: beginning one costs more than looking
            rows = [row for id_ in ids for row in self._looking.execute(_SIGNAL, (id_,))]
        return {row[0]: signal_of(row) for row in rows}

    def member(self, member: str) -> MemberFacts:
        """See `Facts.member`."""
        with schema.typed(self._path):
            row = self._looking.execute(_MEMBER, (member,)).fetchone()
        return MemberFacts(*row) if row else MemberFacts()

    async def doomed(self, now_ms: int, limit: int) -> Sequence[Doomed]:
        """See `Facts.doomed`."""
        return await self.reads(partial(_doomed, now_ms=now_ms, limit=limit))

    async def gone(self, doomed: Sequence[Doomed]) -> None:
        """See `Facts.gone`."""

        def job() -> None:
            with schema.typed(self._path), self._writing:
                for entry in doomed:
                    if entry.signal_ids is None:
                        self._writing.execute("UPDATE statements SET gone = 1 WHERE idx = ?", (entry.index,))
                    for id_ in entry.signal_ids or ():
                        self._writing.execute("UPDATE endings SET gone = 1 WHERE erasure AND signal_id = ?", (id_,))

        await self._worker.call(job)

    def elections(self) -> Mapping[bytes, ElectionFacts]:
        """See `Facts.elections`."""
        return self._elections

    def _read_elections(self) -> dict[bytes, ElectionFacts]:
        found = {}
        rows: list[tuple[Any, ...]] = self._writing.execute("SELECT * FROM elections ORDER BY idx").fetchall()
        for id_, index, name, title, begins, ends, classes, *limits in rows:
            whom = tuple(map(int, classes.split()))
            found[id_] = ElectionFacts(id_, index, Election(name, title, begins, ends, whom, *limits))
        return found

    def _clear(self) -> None:
        with schema.typed(self._path):
            facts_schema.make_tables(self._writing)
        self._place, self._elections = CompactRange(), {}

    async def forget(self, below: int | None) -> None:
        """See `Facts.forget`."""
        if below is None:
            await self._worker.call(self._clear)
            return

        def job() -> None:
            with schema.typed(self._path), self._writing:
                self._writing.execute("DELETE FROM statements WHERE idx < ?", (below,))
                self._writing.execute("DELETE FROM signals WHERE idx < ?", (below,))
                for table in ("endings", "dispositions", "opinions"):
                    self._writing.execute(f"DELETE FROM {table} WHERE signal_id NOT IN (SELECT signal_id FROM signals)")  # noqa: S608

        await self._worker.call(job)

    async def reads(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run something that reads much, beside the loop and beside what is written: one state of the file."""

        def inside() -> T:
            with schema.typed(self._path):
                self._reading.execute("BEGIN")
                try:
                    return job(self._reading)
                finally:
                    self._reading.execute("COMMIT")

        return await self._reader.call(inside)

    async def aclose(self) -> None:
        """Finish what is under way and close the file. Idempotent."""
        await self._reader.aclose()
        await self._worker.aclose()
        for name in ("_looking", "_reading", "_writing"):  # the last to go empties the write-ahead log
            connection: apsw.Connection | None = getattr(self, name, None)
            if connection is not None:
                connection.close()


def signal_of(row: tuple[Any, ...]) -> SignalFacts:
    """Return what a row of `_SIGNAL` says."""
    names = [name for name in SignalFacts.__slots__ if name != "audience"]
    values = dict(zip(names, (*row[:_AUDIENCE], *row[_AUDIENCE + 1 :]), strict=True))
    audience: str | None = row[_AUDIENCE]
    return SignalFacts(**values, audience=None if audience is None else frozenset(audience.split()))


def _doomed(connection: apsw.Connection, *, now_ms: int, limit: int) -> list[Doomed]:
    over = connection.execute(
        "SELECT idx FROM statements WHERE gone = 0 AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?",
        (now_ms, limit),
    )
    found = [Doomed(index, None) for (index,) in over]
    asked: dict[int, set[bytes]] = {}
    rows = connection.execute(
        "SELECT signals.idx, endings.signal_id FROM endings JOIN signals USING (signal_id)"
        " WHERE erasure = 1 AND gone = 0 ORDER BY endings.idx LIMIT ?",
        (limit,),
    )
    for index, id_ in rows:
        asked.setdefault(index, set()).add(id_)
    return found + [Doomed(index, frozenset(ids)) for index, ids in asked.items()]
