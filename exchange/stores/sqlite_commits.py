"""The embedded store's writing side: one connection, one transaction per change. Runs on the writer thread.

A failure is told apart by what it leaves. Rolled back for certain (disk full, another writer in the way): nothing
changed, try again. Anything else a commit can meet (a failed write or fsync) has an unknown outcome: the store then
refuses every further change until it is opened again and reads what is durable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apsw

from exchange.errors import Conflict, ExchangeError, Fatal
from exchange.ops.transactions import first_row
from exchange.ports import AlreadyCommitted, Group, Head, StoredEntry, TreeHead
from exchange.stores import sqlite_schema as schema
from exchange.stores.entries import hash_of_leaf_in

_HEAD = (
    "SELECT durable_size, durable_root, sealed_size, sealed_root, checkpoint, floor, last_received_at_ms,"
    " last_directory_size FROM log"
)
_HEAD_TYPES = (int, bytes, int, bytes, bytes, int, int, int)
_MOVE_HEAD = (
    "UPDATE log SET durable_size = ?, durable_root = ?, sealed_size = ?, sealed_root = ?, checkpoint = ?,"
    " last_received_at_ms = ?, last_directory_size = ?"
)
#: An append that went first may have written down a later seal.
_RAISE_SEAL = "UPDATE log SET sealed_size = ?, sealed_root = ?, checkpoint = ? WHERE sealed_size < ?"


class Commits:
    """The writing connection of one log."""

    def __init__(self, path: Path, *, origin: str) -> None:
        """Open the file. Raises `Fatal` when it is not this log, or unusable."""
        self._path = path
        schema.require_format(path, schema.SCHEMA_VERSION)
        self._connection = schema.connect(path)
        #: Set once a change has an unknown outcome; raised by every call from then on.
        self.broken: Fatal | None = None
        try:
            schema.make_durable(self._connection, path)
            schema.check_file(self._connection, path, origin)
        except BaseException:
            self._connection.close()
            raise

    def head(self) -> Head:
        """Return the head as it is on disk. Raises `Fatal` when the rows do not begin and end where it says."""
        with schema.typed(self._path):
            row = self._one(_HEAD)
            (start,) = self._one("SELECT coalesce(min(idx), ?) FROM entries", (row[5],))
            (end,) = self._one("SELECT coalesce(max(idx) + 1, ?) FROM entries", (row[5],))
        if not all(map(isinstance, row, _HEAD_TYPES)):
            raise Fatal(f"{self._path}: the head is damaged")
        if (start, end) != (row[5], row[0]):
            raise Fatal(f"{self._path}: the head says entries {row[5]} to {row[0]}, the table has {start} to {end}")
        if not 0 <= row[5] <= row[2] <= row[0]:
            raise Fatal(f"{self._path}: the head says that {row[2]} of {row[0]} entries are sealed, from {row[5]} on")
        return Head(TreeHead(row[0], row[1]), TreeHead(row[2], row[3]), row[4], row[5], row[6], row[7])

    def _one(self, query: str, values: tuple[apsw.SQLiteValue, ...] = ()) -> Any:  # noqa: ANN401 - a row's types vary
        row = first_row(self._connection, query, values)
        if row is None:
            raise Fatal(f"{self._path}: a row is missing")
        return row

    def append(self, head: Head, group: Group) -> None:
        """Append a group to the durable head, and write down the seal that memory knows of."""
        last = group.entries[-1]
        moved = (
            group.head.size,
            group.head.root,
            head.sealed.size,
            head.sealed.root,
            head.checkpoint,
            last.received_at_ms,
            group.directory_size,
        )

        def change() -> None:
            size, root = self._one("SELECT durable_size, durable_root FROM log")
            if TreeHead(size, root) != head.durable:
                raise Conflict(f"the stored size is {size}, not {head.durable.size}")
            self._insert(group)
            self._connection.execute(_MOVE_HEAD, moved)

        self._transaction(change)

    def _insert(self, group: Group) -> None:
        rows = (
            (
                e.index,
                e.statement_id,
                e.leaf_hash,
                e.received_at_ms,
                e.frame,
                schema.checksum(e.statement_id, e.received_at_ms, e.frame),
            )
            for e in group.entries
        )
        tiles = ((tile.level, tile.index, tile.hashes, tile.root()) for tile in group.tiles)
        try:
            self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        except apsw.ConstraintError as error:
            raise self._repeated(group.entries, error) from error
        self._connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", tiles)

    def _repeated(self, entries: tuple[StoredEntry, ...], error: apsw.Error) -> ExchangeError:
        """Say which statements are in the log; the rows of this group do not count, they are about to go."""
        start = entries[0].index
        found = {}
        for entry in entries:
            query = "SELECT idx FROM entries WHERE statement_id = ? AND idx < ?"
            row = first_row(self._connection, query, (entry.statement_id, start))
            if row is not None:
                found[entry.statement_id] = int(row[0])
        return AlreadyCommitted(found) if found else Fatal(f"{self._path}: a row is in the way: {error}")

    def erase(self, frames: Mapping[int, bytes]) -> None:
        """Replace frames. Raises `Fatal`, with nothing changed, when one holds another leaf than the old one."""

        def change() -> None:
            for index, frame in frames.items():
                self._replace(index, frame)

        self._transaction(change)

    def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """Replace one frame. Raises `Conflict` when it is another, and as `erase`."""

        def change() -> None:
            row = first_row(self._connection, "SELECT frame FROM entries WHERE idx = ?", (index,))
            if row is None or row[0] not in {was, frame}:
                raise Conflict(f"entry {index} is not as it was")
            self._replace(index, frame)

        self._transaction(change)

    def _replace(self, index: int, frame: bytes) -> None:
        row = first_row(
            self._connection, "SELECT leaf_hash, statement_id, received_at_ms FROM entries WHERE idx = ?", (index,)
        )
        if row is None:
            return
        leaf_hash_, id_, received_at_ms = row
        if hash_of_leaf_in(frame) != leaf_hash_:
            raise Fatal(f"the frame to replace that of entry {index} holds another leaf")
        self._connection.execute(
            "UPDATE entries SET frame = ?, checksum = ? WHERE idx = ?",
            (frame, schema.checksum(id_, received_at_ms, frame), index),
        )

    def drop_below(self, head: Head, floor: int) -> None:
        """Raise the floor and delete the rows below it, and write down the seal that memory knows of.

        What is on disk otherwise waits for the next append: after a crash the floor would lie above the sealed size,
        with the entries to make the tree from gone.
        """
        sealed = head.sealed

        def change() -> None:
            self._connection.execute(_RAISE_SEAL, (sealed.size, sealed.root, head.checkpoint, sealed.size))
            self._connection.execute("UPDATE log SET floor = max(floor, ?)", (floor,))
            self._connection.execute("DELETE FROM entries WHERE idx < ?", (floor,))

        self._transaction(change)

    def _transaction(self, change: Callable[[], None]) -> None:
        if self.broken is not None:
            raise self.broken
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            change()
            self._connection.execute("COMMIT")
        except (*schema.READ_FAILURES, ExchangeError) as error:
            raise self._undo(error) from error

    def _undo(self, error: Exception) -> ExchangeError:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as second:
            return self._break(f"a transaction could not be undone: {second}")
        if isinstance(error, ExchangeError):
            return error
        if isinstance(error, schema.CLEAN_FAILURES):
            return schema.explain(error, self._path)
        return self._break(f"a commit failed, its outcome is unknown: {error}")

    def _break(self, what: str) -> Fatal:
        self.broken = Fatal(f"{self._path}: {what}", hint="restart the hub: it then reads what is durable")
        return self.broken

    def close(self, head: Head | None) -> None:
        """Close, writing down the last seal. A seal that cannot be written is made again by whoever opens next."""
        with contextlib.suppress(apsw.Error):
            if head is not None and self.broken is None:
                self._connection.execute(
                    "UPDATE log SET sealed_size = ?, sealed_root = ?, checkpoint = ? WHERE durable_size = ?",
                    (head.sealed.size, head.sealed.root, head.checkpoint, head.durable.size),
                )
        with contextlib.suppress(apsw.Error):
            self._connection.close()
