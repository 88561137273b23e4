"""Gives statements their place: groups them, extends the tree, commits, signs, seals, and answers.

One order of effects, always: build the group -> append (durable) -> sign the durable head -> record the mark ->
seal (visible) -> answer. Only durable heads are signed, and the answer is the last thing that happens. Recovery after
a crash runs the same signing and sealing on the group that was left unsealed.

While one group commits, the next one gathers: that is the whole of group commit. Everything here runs on the event
loop but the SQL and the fsyncs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from exchange import codec
from exchange.codec import SequencedHeader
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import SignalHeader
from exchange.domain.statement import (
    Header,
    Leaf,
    Statement,
    audience_id,
    signal_ids,
    statement_id,
)
from exchange.errors import Conflict, ExchangeError, Fatal, Reason, Rejected, Unavailable, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.tree import Extension, Tree
from exchange.ports import AlreadyCommitted, Group, Head, History, LogStore, SealedMark, StoredEntry, TreeHead
from exchange.proving import inclusion_proof
from exchange.publish.clock import WatchedClock
from exchange.publish.intake import Candidate
from exchange.publish.recovery import check_head, check_mark, continued, load_tree
from exchange.publish.waiting import MAX_GROUP, Receipt, Waiting, WaitingRoom


@dataclass(frozen=True, slots=True)
class Committed:
    """A group that is sealed."""

    #: Index of its first entry.
    first: int
    #: What its leaves say.
    said: Sequence[SequencedHeader]
    records: int
    #: What its append took.
    seconds: float


@dataclass(frozen=True, slots=True)
class _Built:
    group: Group
    extension: Extension
    leaves: tuple[bytes, ...]
    said: tuple[SequencedHeader, ...]


async def nothing(_index: int, _statement: Statement, _header: Header) -> None:
    """Do nothing about a statement that comes again."""


class Sequencer:
    """The one writer of one log in this process."""

    def __init__(
        self,
        origin: str,
        store: LogStore,
        history: History,
        mark: SealedMark,
        key: SigningKey,
        clock: WatchedClock,
        *,
        judge: Callable[[Candidate], int],
        ready: Callable[[Head], Awaitable[None]],
        max_group: int = MAX_GROUP,
        committed: Callable[[Committed], None] = lambda _: None,
        repeated: Callable[[int, Statement, Header], Awaitable[None]] = nothing,
    ) -> None:
        """``judge`` runs policy at group time and returns the directory size; ``ready(head)`` waits until it may.

        ``committed`` hears of each group that this sequencer has sealed. ``repeated`` hears of a statement that is in
        the log already and comes again, with records that are its own, before that is answered. It may raise
        `Unavailable`.
        """
        self._repeated = repeated
        self.origin = origin
        self._store = store
        self._history = history
        self._mark = mark
        self._key = key
        self._clock = clock
        self._judge = judge
        self._ready = ready
        self._committed = committed
        self._waiting = WaitingRoom(max_group)
        self._tree = Tree()
        #: Head of that tree.
        self._at = TreeHead(0, self._tree.root())
        #: What this hub has put on its mark, the size and the checkpoint; and who writes it.
        self._marked, self._noted = 0, b""
        self._marking = asyncio.Lock()
        self._fatal: ExchangeError | None = None
        self._ended = False

    @property
    def failure(self) -> ExchangeError | None:
        """Why this log no longer takes statements; None while it does."""
        return self._fatal

    async def open(self, *, adopt: bool = False) -> None:
        """Finish what a crash left, check that the log is not an old copy, and load the tree.

        Raises `Fatal`: ROLLED_BACK when the store is behind, or beside, what this machine has released before, CORRUPT
        when it does not hold what its head says. ``adopt`` accepts a log that this machine has no mark of.
        """
        head = await self._store.head()
        await check_mark(self.origin, head, self._history, self._mark, self._key, adopt=adopt)
        self._stand_on(await load_tree(self.origin, head, self._history))
        await check_head(self.origin, head, self._history, self._key)
        if head.sealed != head.durable or not head.checkpoint:
            await self._seal(head.durable)
        elif adopt and await self._mark.load() is None:
            await self._mark.record(head.checkpoint)

    def offer(self, candidate: Candidate) -> asyncio.Future[Receipt]:
        """Queue a checked statement; the future resolves to its receipt or to the error that refused it.

        Raises `Unavailable` when too many of its member wait, and once the sequencer has stopped.
        """
        if self._ended:
            raise Unavailable("this log takes no statements now", retry_after_ms=30_000)
        return self._waiting.offer(candidate)

    async def repeated(self, statement: Statement, header: Header) -> Receipt | None:
        """Return the receipt of a statement that is in the log already, or None.

        Raises `VerificationFailed` (REPLAY_MISMATCH) when it is there with other signatures, or is sent now with
        records that are not its own.
        """
        index = await self._store.find(statement_id(statement.payload))
        if index is None or index >= (await self._store.head()).sealed.size:
            return None
        receipt = await self._receipt(index)
        # Counted before they are hashed: an empty record costs its sender nothing.
        own_records = len(statement.records) == len(header.signal_ids) and (
            tuple(signal_ids(header.origin, header.publisher, statement.records)) == header.signal_ids
        )
        same_signatures = codec.decode_leaf(receipt.leaf).signatures == statement.signatures
        if not (own_records and same_signatures and _own_audience(statement, header)):
            raise _mismatch()
        await self._repeated(index, statement, header)
        return receipt

    async def run(self) -> None:
        """Commit groups until cancelled. A `Fatal` stops this log for good; what waits is refused."""
        batch: list[Waiting] = []
        try:
            while True:
                await self._waiting.someone()
                batch = self._waiting.take()
                await self._commit(batch)
                batch = []  # not held until the next one comes
        except Exception as error:
            self._fatal = error if isinstance(error, ExchangeError) else Fatal(f"{self.origin}: a bug: {error!r}")
            raise
        finally:
            self._ended = True
            gone = Unavailable("the hub is stopping, or this log has stopped", retry_after_ms=1_000)
            for waiting in (*batch, *self._waiting.empty()):
                waiting.fail_all(gone)

    async def _commit(self, batch: list[Waiting]) -> None:
        while batch:
            try:
                batch = await self._attempt(batch)
            except Unavailable as error:
                for waiting in batch:
                    waiting.fail_all(error)
                return

    async def _attempt(self, batch: list[Waiting]) -> list[Waiting]:
        """Commit a group, or find out what is in the way; return what is to be tried again."""
        head = await self._store.head()
        while head.durable != self._at or head.sealed != head.durable:
            head = await self._catch_up(head)
        await self._ready(head)
        batch, built = self._build(batch, head)
        if built is None:
            return batch
        started = time.monotonic()
        try:
            await self._store.append(head.durable, built.group)
        except AlreadyCommitted as repeat:
            return await self._answer_repeats(batch, repeat.indices)
        except Conflict:
            return batch
        seconds = time.monotonic() - started
        checkpoint = await self._seal(built.group.head)
        self._tree, self._at = built.extension.tree, built.group.head
        self._answer(batch, built, checkpoint)
        records = sum(len(waiting.candidate.statement.records) for waiting in batch)
        self._committed(Committed(built.group.entries[0].index, built.said, records, seconds))
        return []

    def _build(self, batch: list[Waiting], head: Head) -> tuple[list[Waiting], _Built | None]:
        """Judge each statement again and make the group; refused ones are answered and drop out."""
        received_at_ms = self._clock.receive_ms(head.last_received_at_ms)
        kept: list[Waiting] = []
        entries: list[StoredEntry] = []
        leaves: list[bytes] = []
        said: list[SequencedHeader] = []
        directory_size = head.last_directory_size
        for waiting in batch:
            accepted = self._accepted(waiting)
            if accepted is None:
                continue
            first, judged_at = accepted
            directory_size = max(directory_size, judged_at)
            index = head.durable.size + len(kept)
            leaf, entry = _entry(first.candidate, index, received_at_ms, directory_size)
            kept.append(first)
            leaves.append(leaf)
            entries.append(entry)
            said.append(SequencedHeader(first.candidate.header, received_at_ms, first.candidate.late, directory_size))
        if not kept:
            return kept, None
        extension = self._tree.extend([entry.leaf_hash for entry in entries])
        new_head = TreeHead(extension.tree.size, extension.tree.root())
        group = Group(tuple(entries), extension.full_tiles, new_head, directory_size)
        return kept, _Built(group, extension, tuple(leaves), tuple(said))

    def _accepted(self, waiting: Waiting) -> tuple[Waiting, int] | None:
        """Judge a statement again; return it with the directory's size, or None once it was answered with a refusal.

        In place of one that is refused its twins are asked, which may be signed otherwise; the others wait behind it.
        """
        line = [waiting, *waiting.twins]
        for position, each in enumerate(line, start=1):
            try:
                judged_at = self._judge(each.candidate)
            except ExchangeError as error:
                each.fail(error)
                continue
            each.twins = line[position:]
            return each, judged_at
        return None

    async def _seal(self, head: TreeHead) -> bytes:
        """Sign a durable head, remember it on this machine, make it visible; return the signed checkpoint."""
        checkpoint = sign_checkpoint(Checkpoint(self.origin, head.size, head.root), self._key)
        await self._remember(head, checkpoint)
        await self._store.seal(head, checkpoint)
        return checkpoint

    async def saw(self, head: TreeHead, checkpoint: bytes) -> None:
        """Remember what another hub has sealed, before this one lets anybody see it. Raises `Fatal` if it is not ours.

        All hubs of a log have one key, and signing is deterministic: what another one signed we would have signed.
        """
        if checkpoint != sign_checkpoint(Checkpoint(self.origin, head.size, head.root), self._key):
            raise Fatal(f"{self.origin}: the store's checkpoint is not that of its sealed size")
        await self._remember(head, checkpoint)

    async def _remember(self, head: TreeHead, checkpoint: bytes) -> None:
        async with self._marking:
            if head.size == self._marked and checkpoint != self._noted and self._noted:
                raise Fatal(f"{self.origin}: there are two trees of {head.size} entries", reason=Reason.ROLLED_BACK)
            if head.size > self._marked or not head.size:
                await self._mark.record(checkpoint)
                self._marked, self._noted = head.size, checkpoint

    def _stand_on(self, tree: Tree) -> None:
        self._tree, self._at = tree, TreeHead(tree.size, tree.root())

    async def _catch_up(self, head: Head) -> Head:
        """Somebody else wrote: take what is new into the tree, and seal what is unsealed; return the head then.

        Raises `Fatal` when it does not continue the tree that this hub has signed.
        """
        self._stand_on(await continued(self.origin, self._tree, head, self._history))
        if head.sealed != head.durable:
            await self._seal(head.durable)
        return await self._store.head()

    def _answer(self, batch: list[Waiting], built: _Built, checkpoint: bytes) -> None:
        prove = built.extension.tree.prover()
        for waiting, entry, leaf in zip(batch, built.group.entries, built.leaves, strict=True):
            proof = prove(entry.index)
            waiting.succeed(Receipt(self.origin, entry.index, leaf, proof, checkpoint))
            for twin in waiting.twins:
                self._answer_twin(
                    waiting.candidate, twin, Receipt(self.origin, entry.index, leaf, proof, checkpoint, repeated=True)
                )

    @staticmethod
    def _answer_twin(first: Candidate, twin: Waiting, receipt: Receipt) -> None:
        if twin.candidate.statement.signatures == first.statement.signatures:
            twin.succeed(receipt)
        else:
            twin.fail(_mismatch())

    async def _answer_repeats(self, batch: list[Waiting], indices: dict[bytes, int]) -> list[Waiting]:
        """Answer statements that are in the log already, each with a fresh proof; return the others."""
        fresh: list[Waiting] = []
        for waiting in batch:
            index = indices.get(waiting.candidate.statement_id)
            if index is None:
                fresh.append(waiting)
                continue
            try:
                receipt = await self._receipt(index)
                signatures = codec.decode_leaf(receipt.leaf).signatures
                for each in (waiting, *waiting.twins):
                    if each.candidate.statement.signatures == signatures:
                        await self._repeated(index, each.candidate.statement, each.candidate.header)
                        break
            except (Unavailable, Rejected) as error:
                waiting.fail_all(Unavailable(f"the receipt cannot be made now: {error.message}"))
                continue
            for each in (waiting, *waiting.twins):
                if each.candidate.statement.signatures == signatures:
                    each.succeed(receipt)
                else:
                    each.fail(_mismatch())
        return fresh

    async def _receipt(self, index: int) -> Receipt:
        head = await self._store.head()
        (entry,) = await self._store.read(index, 1)
        proof = await inclusion_proof(self._history, index, head.sealed.size)
        return Receipt(self.origin, index, codec.frame_leaf(entry.frame), proof, head.checkpoint, repeated=True)


def _own_audience(statement: Statement, header: Header) -> bool:
    committed = header.body.audience_id if isinstance(header.body, SignalHeader | Addressed) else b""
    if not committed:
        return not statement.audience_record
    return audience_id(header.origin, header.publisher, statement.audience_record) == committed


def _mismatch() -> VerificationFailed:
    return VerificationFailed(
        Reason.REPLAY_MISMATCH, "the same statement is in the ledger with other signatures or records"
    )


def _entry(candidate: Candidate, index: int, received_at_ms: int, directory_size: int) -> tuple[bytes, StoredEntry]:
    statement = candidate.statement
    leaf = codec.encode_leaf(
        Leaf(
            index=index,
            received_at_ms=received_at_ms,
            late=candidate.late,
            directory_size=directory_size,
            payload=statement.payload,
            signatures=statement.signatures,
        )
    )
    frame = codec.full_frame(leaf, statement.records, statement.audience_record)
    return leaf, StoredEntry(index, candidate.statement_id, leaf_hash(leaf), received_at_ms, frame)
