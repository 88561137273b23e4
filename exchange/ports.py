"""What the hub needs of a store, stated as outcomes.

A log is held by one `LogStore`: a compare-and-set append-only sequence of entries with two sizes, *durable* and
*sealed*. `History` is the cold side of the same log: hash tiles, entry bundles, and moving what is below the floor
out of the hot part. `SealedMark` is this machine's own memory of the last checkpoint it released, and a `SnapshotFile`
keeps what can be made again.

An adapter is written natively against these contracts; adapters share no base class. What makes them equal is
``tests/contract``. Two sizes instead of one keep this true: **only durable heads are signed, and nothing
unsigned is ever seen**. At most one durable group is unsealed; whoever meets it seals it before appending another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange.errors import Conflict
from exchange.ledger.tiles import Tile


@dataclass(frozen=True, slots=True)
class TreeHead:
    """A size and the RFC 6962 root of the tree of that size."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log stands. ``sealed.size <= durable.size``; everything below ``floor`` lives in bundles only."""

    durable: TreeHead
    sealed: TreeHead
    #: The signed checkpoint of ``sealed``; empty for a log that has sealed nothing.
    checkpoint: bytes
    floor: int
    #: Of the last durable entry; 0 when there is none.
    last_received_at_ms: int
    #: Directory size named by the last durable entry; 0 when there is none.
    last_directory_size: int


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One committed statement.

    ``frame`` is the entry exactly as a feed message carries it: one element of ``SubscribeResponse.entries``, tag
    and length included, holding leaf and records (or the erased mark). The leaf is a slice of it, see
    `exchange.codec`.
    """

    index: int
    statement_id: bytes
    leaf_hash: bytes
    received_at_ms: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive entries to append at once, with what they do to the tree."""

    entries: tuple[StoredEntry, ...]
    #: Hash tiles that these entries complete.
    tiles: tuple[Tile, ...]
    #: Head of the tree with the entries in it.
    head: TreeHead
    #: Directory size named by the last entry.
    directory_size: int


class AlreadyCommitted(Conflict):
    """Statements of the group are in the log already (their ids, and where). Nothing was appended."""

    def __init__(self, indices: Mapping[bytes, int]) -> None:
        super().__init__(f"{len(indices)} statement(s) of the group are committed already")
        self.indices = dict(indices)


class LogStore(Protocol):
    """One log. All methods may be called from one event loop concurrently."""

    async def head(self) -> Head:
        """Return the current head. Never older than any append or seal that has returned."""
        ...

    async def append(self, expected: TreeHead, group: Group) -> None:
        """Append a group, atomically; on return it is durable: it survives the loss of the process and of power.

        Raises `Conflict` when the durable head is not ``expected``, or when an earlier group is unsealed;
        `AlreadyCommitted` when a statement id is present. In both cases nothing changed. Raises `Unavailable` when
        the outcome is a clean failure (disk full), and `Fatal` when it cannot be told: then re-read the head.
        """
        ...

    async def seal(self, head: TreeHead, checkpoint: bytes) -> None:
        """Make the durable head visible together with its signed checkpoint.

        Monotonic and idempotent: sealing an older or equal size changes nothing. ``head`` must be the durable head,
        else `Conflict`. Wakes `wait`. Needs no fsync of its own: an unsealed durable group is sealed again, with the
        same bytes, by whoever opens the log next.
        """
        ...

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """Return up to ``limit`` consecutive sealed entries from ``start``; fewer at the end, none at the sealed size.

        May return fewer than asked for, but at least one where one exists. Raises `CursorBelowFloor`,
        `CursorAboveSize`, and `Fatal` when an entry does not have the checksum and leaf hash it was stored with.
        """
        ...

    async def wait(self, after: int) -> int:
        """Return the sealed size as soon as it exceeds ``after``. May return early (then not above ``after``)."""
        ...

    async def find(self, statement_id: bytes) -> int | None:
        """Return the index of a durable statement that is still in the hot part, or None."""
        ...

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """Replace the frames at these indices, durably; the old bytes are gone from the store's files on return.

        The leaf inside each new frame must be the old leaf. Indices below the floor are ignored (bundles hold no
        records). Raises `CursorAboveSize` for an index that is not durable, before anything is changed.
        """
        ...

    async def aclose(self) -> None:
        """Finish what is under way and release everything. Idempotent."""
        ...


class History(Protocol):
    """The cold side of the same log."""

    async def tile(self, level: int, index: int, width: int) -> bytes:
        """Return ``width`` hashes (32 bytes each) of a hash tile; ``NOT_FOUND`` when the sealed tree has fewer."""
        ...

    async def bundle(self, index: int) -> bytes:
        """Return the entry bundle ``index`` (C2SP tlog-tiles), whole or as wide as the sealed size allows."""
        ...

    async def durable_entries(self, start: int, end: int) -> Sequence[StoredEntry]:
        """Return entries [start, end), sealed or not, checked as `LogStore.read` checks.

        For whoever must seal what a crash left. Raises `CursorAboveSize` beyond the durable size, `CursorBelowFloor`.
        """
        ...

    async def archive(self, floor: int) -> int:
        """Move every whole bundle below ``floor`` to sealed bundle files and raise the floor; return the new floor.

        The file is durable before a row goes. The floor never falls and lies on a bundle boundary at or below what
        was asked. Hash tiles stay.
        """
        ...


class SealedMark(Protocol):
    """This machine's memory of the last checkpoint that was released. What protects against a restored old store."""

    async def load(self) -> bytes | None:
        """Return the last recorded checkpoint note, or None when this machine has never recorded one."""
        ...

    async def record(self, checkpoint: bytes) -> None:
        """Record a checkpoint note durably, before it is released to anyone."""
        ...


class SnapshotFile(Protocol):
    """Keeps one snapshot, which can always be made again: losing it, or part of it, costs time and nothing else."""

    async def load(self) -> bytes | None:
        """Return what was last saved, perhaps damaged; None when there is nothing that can be read."""
        ...

    async def save(self, data: bytes) -> None:
        """Put a snapshot in the place of the last one. Raises `Unavailable`; then the last one may still be there."""
        ...

    async def discard(self) -> None:
        """Forget the snapshot, durably. Raises `Fatal` when that cannot be done."""
        ...
