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

import msgspec

from exchange.domain.addressed import AddressedRecord
from exchange.domain.debts import Ending, Said
from exchange.domain.life import MemberFacts, SignalFacts
from exchange.domain.proposals import Proposal
from exchange.domain.referral_facts import AddressedFacts, ReferralFacts
from exchange.domain.statement import Header
from exchange.errors import Conflict
from exchange.ledger.merkle import CompactRange
from exchange.ledger.tiles import HashTile, Tile, TileRef


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


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """One committed statement. Not of the collector's concern: a hub holds tens of thousands, and they hold bytes.

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

        So are those of every erasure before, also with no frames. The leaf inside each new frame must be the old leaf.
        Indices below the floor are ignored (bundles hold no records). Raises `CursorAboveSize` for an index that is not
        durable, before anything is changed.
        """
        ...

    async def aclose(self) -> None:
        """Finish what is under way and release everything. Idempotent."""
        ...


class History(Protocol):
    """The cold side of the same log."""

    async def tiles(self, refs: Sequence[TileRef]) -> Sequence[HashTile]:
        """Return hash tiles as wide as they are named, in one read; ``NOT_FOUND`` when the sealed tree has less."""
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


class ProposalBook(Protocol):
    """Keeps what waits for operators' signatures at this hub."""

    async def load(self) -> Sequence[Proposal]:
        """Return what was last saved, in its order. Raises `Fatal` where it is not what was saved."""
        ...

    async def save(self, proposals: Sequence[Proposal]) -> None:
        """Put these in the place of all others, durably. Raises `Unavailable`; either may be there then, and whole."""
        ...


@dataclass(frozen=True, slots=True)
class ToldEntry:
    """An entry as the fold of a log's life takes it."""

    index: int
    header: Header
    received_at_ms: int
    #: As in the leaf: kept out of lag.
    late: bool
    directory_size: int
    #: Who may read its records: None for everyone; of a restricted one whose audience record is gone, nobody.
    audience: frozenset[str] | None
    #: Whether it holds what nobody can have seen.
    canary: bool = False
    #: Only of what is said by few statements (`exchange.domain.kinds.FEW`).
    statement_id: bytes = b""
    #: Of what is said to named members; None where it is gone.
    record: AddressedRecord | None = None
    #: Whether it had records and the store holds none of them, whoever took them.
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Doomed:
    """An entry whose records have to go: all of them, or those of some signals."""

    index: int
    #: None for all.
    signal_ids: frozenset[bytes] | None


class Facts(Protocol):
    """What a log's leaves say of its signals and members: a fold on disk, which can always be made again.

    What was taken together is there together after a crash, with its place in the log. Every method raises
    `Unavailable` where the file is found to be damaged.
    """

    #: Whether it was: then it is made again, by `forget` and taking everything anew.
    damaged: bool

    def place(self) -> CompactRange:
        """Return the tree of exactly the leaves that were taken."""
        ...

    async def take(self, entries: Sequence[ToldEntry], place: CompactRange) -> None:
        """Take the next entries, and the tree with them. Raises `Unavailable` on a full disk; then nothing changed."""
        ...

    def signals(self, ids: Sequence[bytes]) -> Mapping[bytes, SignalFacts]:
        """Return what is known of these signals; an unknown one is left out."""
        ...

    def member(self, member: str) -> MemberFacts:
        """Return what is known of a member; of one that never said anything, nothing."""
        ...

    async def doomed(self, now_ms: int, limit: int) -> Sequence[Doomed]:
        """Return entries whose records have to go now and are not known to be gone, the oldest first."""
        ...

    async def gone(self, doomed: Sequence[Doomed]) -> None:
        """Note that these records are in no store any more."""
        ...

    def few(self) -> Sequence[int]:
        """Return where the statements lie that are of few (`exchange.domain.kinds.FEW`), in the order of the log."""
        ...

    async def forget(self, below: int | None) -> None:
        """Forget the signals of entries below this index, and all that was said of them; lag and activity stay.

        None: forget everything, to begin again at leaf 0.
        """
        ...


@dataclass(frozen=True, slots=True)
class Period:
    """Days since 1970 (UTC), the last one too; 0 as the last: no end."""

    from_day: int = 0
    to_day: int = 0


@dataclass(frozen=True, slots=True)
class LagRow:
    """How long one stage took between two members; ``counts`` in the buckets of `exchange.domain.lag`."""

    stage: int
    publisher: str
    #: Empty in a stage that has none.
    receiver: str
    label: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpinionRow:
    """A member's last opinion of a signal."""

    member: str
    category: int
    reason: int
    index: int


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """What a member said of one kind (of signals: and label)."""

    member: str
    kind: int
    label: int
    statements: int
    #: Signals in them, or that they name.
    signals: int


class Reports(Protocol):
    """What the facts of a log add up to. Each answer is of one state of the fold."""

    async def endings(self, after: tuple[int, bytes], limit: int) -> Sequence[Ending]:
        """Return what ended signals, behind this (index, signal id), in the order of the log."""
        ...

    async def said(self, ids: Sequence[bytes]) -> Mapping[tuple[bytes, str], Said]:
        """Return each member's last disposition of these signals, by (signal id, member)."""
        ...

    async def opinions(self, id_: bytes) -> Sequence[OpinionRow]:
        """Return the opinions of a signal, by member."""
        ...

    async def members(self) -> Mapping[str, MemberFacts]:
        """Return what is known of every member that has said something, or was flagged."""
        ...

    async def disputed(self, member: str, by: int) -> tuple[int, int]:
        """Return how many of a member's signals so many others call wrong, and how many signals it has there."""
        ...

    async def lag(self, period: Period, election: bytes) -> Sequence[LagRow]:
        """Return lag by stage, publisher, receiver and label; of signals that name an election, or (empty) of all."""
        ...

    async def activity(self, period: Period, election: bytes) -> Sequence[ActivityRow]:
        """Return what members said, by member, kind and label; as `lag`: of what names an election, or of all."""
        ...


@dataclass(frozen=True, slots=True)
class SaidOf:
    """An update or a note that counts: its record is in the log's entry."""

    id: bytes
    index: int
    kind: int
    publisher: str
    received_at_ms: int
    audience: frozenset[str]


class Referrals(Protocol):
    """What the facts of a log hold of referrals and notes: who said what to whom and when, never the words."""

    @property
    def facts(self) -> AddressedFacts:
        """What the rules ask: looked up at once."""
        ...

    async def of(self, member: str, before: int, limit: int) -> Sequence[ReferralFacts]:
        """Return referrals that a member is a party to, from entries below this index, the newest first."""
        ...

    async def said_of(self, target: bytes) -> Sequence[SaidOf]:
        """Return what was said of a referral, or noted on a signal, in the order of the log."""
        ...

    def counts(self, now_ms: int) -> tuple[int, int]:
        """Return how many referrals are open, and how many of those overdue."""
        ...
