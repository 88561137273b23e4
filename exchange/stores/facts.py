"""`Facts` in a SQLite file beside the log: written on a thread of its own, looked up on the loop.

A look-up is some ten microseconds of a file whose pages are in memory; what reads much (`reports`) runs on another
thread. Nothing here is synced: the file can always be made again, and is of one piece after a crash. One that SQLite
finds damaged says so (`damaged`), and is made anew by `forget`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw

from exchange.domain.life import MemberFacts, SignalFacts
from exchange.errors import Fatal, Rejected, Unavailable
from exchange.ledger.merkle import HASH_BYTES, CompactRange
from exchange.ops.transactions import all_rows, first_row, transaction
from exchange.ports import Doomed, ToldEntry
from exchange.stores import facts_schema
from exchange.stores import sqlite_schema as schema
from exchange.stores.disk import explained
from exchange.stores.facts_looking import (
    MEMBER_COLUMNS,
    doomed_in,
    facts_of,
    forget_some,
    next_doom_ms,
    note_gone,
)
from exchange.stores.facts_sayings import MOST_NEWEST, Sayings
from exchange.stores.facts_taking import take
from exchange.stores.worker import Worker

T = TypeVar("T")

#: What the connections of a fold may hold of its file: one writes, one looks up on the loop, one reads much.
FOLD_CACHES = (schema.CACHE_BYTES, schema.CACHE_BYTES, schema.CACHE_BYTES)
#: Of the file, as far as it is looked up without a call of the system for each page.
_MAPPED_BYTES = 1 << 30
#: How long a signal that was said again may lie among the newest, before its record goes with that of the first.
_SORT_EVERY_MS = 600_000
#: Slices in which what is below the floor is forgotten at one time; what is left waits for the next.
_MOST_SLICES = 10_000


class FactsFile:
    """One log's. Use `open`."""

    def __init__(self, path: Path, most_newest: int) -> None:
        """Use `open`."""
        self.path = path
        self._worker = Worker(f"facts {path.parent.name}")
        self._reader = Worker(f"facts-reader {path.parent.name}")
        self._writing: apsw.Connection
        self._looking: apsw.Connection
        self._reading: apsw.Connection
        self._place = CompactRange()
        self.most_newest = most_newest
        self._sayings: Sayings
        self._sorted_ms = 0
        #: As long as the file has this version, and this time has not come, nothing has to go.
        self._none_doomed: tuple[object, float] | None = None
        self._beginning = asyncio.Lock()
        self._lent = False
        #: Whether SQLite has found the file damaged: then nothing of it is to be judged by.
        self.damaged = False

    @classmethod
    async def open(cls, path: Path, *, most_newest: int = MOST_NEWEST) -> FactsFile:
        """Open the file, or make it where there is none of this form, with so many signals in memory.

        Raises `Fatal`, and `Unavailable`.
        """
        file = cls(path, most_newest)
        try:
            await file._begin()
        except BaseException:
            await file.aclose()
            raise
        return file

    async def _begin(self) -> None:
        try:
            await self._worker.call(self._open)
        except Unavailable:
            if not self.damaged:
                raise
        if self.damaged:
            await self._begin_again()

    def _open(self) -> None:
        with self._typed():
            self._writing = facts_schema.open_file(self.path)
            self._looking = schema.connect(self.path, read_only=True)
            self._looking.pragma("mmap_size", _MAPPED_BYTES)
            self._reading = schema.connect(self.path, read_only=True)
        self._none_doomed = None
        self._read_again()

    def _read_again(self) -> None:
        self._read_place()
        with self._typed():
            self._sayings = Sayings(self._writing, self.most_newest)

    def _read_place(self) -> None:
        with self._typed():
            rows = all_rows(self._writing, "SELECT size, hashes FROM place")
        ((size, hashes),) = rows
        cut = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        try:
            self._place = CompactRange.of(size, cut)
        except Rejected:
            self.damaged = True

    async def lend(self) -> None:
        """Let another process take entries, until `reread`: nothing else is done to signals here meanwhile."""

        def job() -> None:
            self._lent = True

        await self._worker.call(job)

    async def reread(self, *, place_alone: bool = False) -> None:
        """Read anew what is in memory: another process has taken entries; it goes on where only the place is read."""

        def job() -> None:
            self._lent = place_alone
            (self._read_place if place_alone else self._read_again)()

        await self._worker.call(job)

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, struct.error) as error:
            self.damaged = True
            raise Unavailable(f"{self.path}: is damaged, and is made again: {error}") from error
        except apsw.ConnectionClosedError as error:
            raise Unavailable("what is known of this log is not open") from error
        except OverflowError as error:
            raise Fatal(f"{self.path}: a leaf holds a number that no table can: {error}") from error
        except OSError as error:
            raise explained(error, self.path, "the disk of what is known of this log") from error
        except schema.READ_FAILURES as error:
            raise schema.explain(error, self.path) from error

    def place(self) -> CompactRange:
        """See `Facts.place`."""
        return self._place

    async def take(self, entries: Sequence[ToldEntry], place: CompactRange) -> None:
        """See `Facts.take`."""

        def job() -> None:
            with self._typed():
                try:
                    take(self._writing, self._sayings, entries, place)
                except BaseException:
                    self._sayings.undone()
                    with suppress(Unavailable):
                        self._read_again()
                    raise

        def taken(_: None) -> None:
            self._place = place  # also for a caller that is gone

        await self._worker.call(job, then=taken)

    def signals(self, ids: Sequence[bytes]) -> Mapping[bytes, SignalFacts]:
        """See `Facts.signals`."""
        # In memory first: what leaves it is in the file by then. All in one transaction: beginning one costs most.
        newest = self._sayings.newest(ids)
        return self.looks(lambda file: facts_of(file, ids, newest))

    def member(self, member: str) -> MemberFacts:
        """See `Facts.member`."""
        with self._typed():
            row = first_row(self._looking, f"SELECT {MEMBER_COLUMNS} FROM members WHERE member = ?", (member,))  # noqa: S608
        return MemberFacts(*row) if row else MemberFacts()

    def few(self) -> Sequence[int]:
        """See `Facts.few`."""
        rows: list[Any] = self.looks(lambda file: all_rows(file, "SELECT idx FROM few ORDER BY idx"))
        return [index for (index,) in rows]

    async def doomed(self, now_ms: int, limit: int) -> Sequence[Doomed]:
        """See `Facts.doomed`."""
        if abs(now_ms - self._sorted_ms) >= _SORT_EVERY_MS:
            self._sorted_ms = now_ms
            try:
                await self.sort()
            except Unavailable:
                if self.damaged:
                    raise
        with self._typed():
            version = first_row(self._looking, "PRAGMA data_version")
        if self._none_doomed is not None and self._none_doomed[0] == version and now_ms < self._none_doomed[1]:
            return []

        def look(file: apsw.Connection) -> tuple[list[Doomed], float]:
            found = doomed_in(file, now_ms, limit)
            return found, 0.0 if found else next_doom_ms(file)

        found, next_ms = await self.reads(look)
        self._none_doomed = version, next_ms
        return found

    async def gone(self, doomed: Sequence[Doomed]) -> None:
        """See `Facts.gone`."""
        await self.writes(partial(note_gone, doomed=doomed))

    async def sort(self) -> None:
        """Put the newest signals into the index: so it is known of each whether it was said before."""
        await self._worker.call(self._sort)

    def _sort(self) -> None:
        if self._lent:
            return
        try:
            with self._typed(), transaction(self._writing):
                self._sayings.sort_in()
        except BaseException:
            self._sayings.undone()
            raise
        self._sayings.sorted_in()

    async def forget(self, below: int | None) -> None:
        """See `Facts.forget`."""
        if below is None:
            await self._begin_again()
            return
        await self.sort()
        for _ in range(_MOST_SLICES):
            if not await self._worker.call(partial(self._forget, below)):
                return

    def _forget(self, below: int) -> int:
        if self._lent:
            return 0
        with self._typed(), transaction(self._writing):
            return forget_some(self._writing, self._sayings, below)

    async def _begin_again(self) -> None:
        async with self._beginning:
            await self._remake()

    async def _remake(self) -> None:
        await self._reader.call(self._reading.close)
        self._looking.close()

        def job() -> None:
            self.damaged = True  # until there is a new one: where that fails, whoever looks next makes it
            with self._typed():
                self._writing.close()
                facts_schema.remove_file(self.path)
            self._open()
            self.damaged = False

        await self._worker.call(job)

    def looks(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run something that looks up a few rows, at once."""
        with self._typed(), self._looking:
            found = job(self._looking)
        return found  # noqa: RET504 - by its stub, a connection may swallow what is raised in it

    async def reads(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run something that reads much, beside the loop and beside what is written: one state of the file."""

        def inside() -> T:
            with self._typed(), self._reading:
                found = job(self._reading)
            return found  # noqa: RET504 - as in `looks`

        return await self._reader.call(inside)

    async def writes(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run something that changes rows, in one transaction beside the loop."""

        def inside() -> T:
            with self._typed(), transaction(self._writing):
                return job(self._writing)

        return await self._worker.call(inside)

    async def aclose(self) -> None:
        """Finish what is under way and close the file. Idempotent."""
        await self._reader.aclose()
        await self._worker.aclose()
        for name in ("_looking", "_reading", "_writing"):  # the last to go empties the write-ahead log
            connection: apsw.Connection | None = getattr(self, name, None)
            if connection is not None:
                connection.close()
