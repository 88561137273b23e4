"""Opening a log and founding one: store, mark, key, sequencer and tail put together.

Logs are made on purpose (`found_exchange`, `make_log`), never by serving: a mistyped name cannot fork a history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace

from exchange import codec
from exchange.api.logs import Folds, Log
from exchange.domain.bodies import Genesis, GenesisKey
from exchange.domain.directory_rules import validate_genesis
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import Kind, Role
from exchange.domain.policy import Workload
from exchange.domain.statement import (
    Header,
    Statement,
    statement_id,
)
from exchange.errors import Fatal, Reason
from exchange.fanout.tail import Tail
from exchange.ledger.checkpoint import log_verifier
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import leaf_hash
from exchange.ops.clocks import wall_ms, worked_s
from exchange.ports import Head
from exchange.publish.clock import WatchedClock
from exchange.publish.intake import Candidate
from exchange.publish.sequencer import Committed, Sequencer
from exchange.signatures.signed import signed
from exchange.stores.facts import FactsFile
from exchange.stores.facts_beside import beside
from exchange.stores.facts_lost import FactsLost
from exchange.stores.facts_referrals import FactsReferrals
from exchange.stores.facts_reports import FactsReports
from exchange.stores.facts_sayings import MOST_NEWEST
from exchange.stores.folders import Folders, make_key, read_key
from exchange.stores.opened import Embedded, Store, Stores
from exchange.stores.sealed_mark import SealedMarkFile
from exchange.stores.snapshot_file import FoldFile
from exchange.views.just_said import JustSaid
from exchange.views.keeper import Keeper
from exchange.views.life import LifeView
from exchange.views.replay import F, Leaves, Recipe
from exchange.views.returning import Returning


async def at_once(_: Head) -> None:
    """Wait for nothing before a group is judged."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How a log's statements are judged when their group is built (`Sequencer`)."""

    judge: Callable[[Candidate], int]
    ready: Callable[[Head], Awaitable[None]]
    max_group: int


#: Name of the fold that lies on disk as it is.
LIFE = "life"
#: What a log has for its newest entries however many others there are: about one message.
LEAST_BYTES = 1024 * 1024
#: A log's fold has one of its newest signals in memory for so many bytes of newest entries, but never fewer than these.
_BYTES_A_SIGNAL = 256
_LEAST_SIGNALS = 16_384


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes for one log's newest entries: for its subscribers, and in front of its store."""

    ring: int
    recent: int


class Memory:
    """The hub's room for newest entries, of which each log gets a part when it opens, and keeps it.

    An equal part of what is left, where the logs that are known to come and one more are counted. So all parts together
    are never more than the whole and `LEAST_BYTES` for each log; and after a start they are equal.
    """

    def __init__(self, whole: Room) -> None:
        """Nothing is given out yet."""
        self._left = whole
        self._coming = 0
        #: Held by whoever has a fold made by a process beside, which takes room for itself: one at a time.
        self.making = asyncio.Lock()

    @contextmanager
    def expecting(self, communities: int) -> Iterator[None]:
        """Count on so many communities while they open; what was for those that did not is free afterwards."""
        self._coming = communities
        try:
            yield
        finally:
            self._coming = 0

    def part(self, origin: Origin) -> Room:
        """Return what this log gets. A directory is small: it gets the least."""
        among = max(1, self._coming) + 1
        if origin.log == Origin.DIRECTORY_LOG:
            return Room(LEAST_BYTES, LEAST_BYTES)
        return Room(max(self._left.ring // among, LEAST_BYTES), max(self._left.recent // among, LEAST_BYTES))

    def take(self, origin: Origin, part: Room) -> None:
        """Give a part out, to a log that has opened."""
        self._left = Room(max(0, self._left.ring - part.ring), max(0, self._left.recent - part.recent))
        if origin.log != Origin.DIRECTORY_LOG:
            self._coming = max(0, self._coming - 1)


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log with what must be closed after it."""

    log: Log
    store: Store
    mark: SealedMarkFile
    #: The fold of its life; None for the directory, which has none.
    facts: FactsFile | None

    async def aclose(self) -> None:
        """Close folds, store and mark. Idempotent."""
        if self.facts is not None:
            await self.facts.aclose()
        await self.store.aclose()
        await self.mark.aclose()


def origin_here(stores: Stores, text: str) -> Origin | None:
    """Return the origin of a log that this hub is to serve; None for any other."""
    origin = Origin.parse(text)
    return origin if origin is not None and stores.here(origin) else None


async def open_log(
    folders: Folders,
    origin: Origin,
    judging: Judging,
    clock: WatchedClock,
    clock_s: Callable[[], float],
    *,
    memory: Memory,
    adopt: bool,
    committed: Callable[[Committed], None],
    canaries: frozenset[tuple[int, bytes]] = frozenset(),
    stores: Stores | None = None,
) -> OpenLog:
    """Open a log that exists: finish what a crash left, check it against the mark, load tree and tail.

    Without ``stores`` it lies in these folders, too.
    """
    key = read_key(folders.key(origin.log))
    room = memory.part(origin)
    stores = stores or Embedded(folders)
    async with AsyncExitStack() as unless_open:
        store = await stores.open(origin, recent_bytes=room.recent)
        unless_open.push_async_callback(store.aclose)
        mark = SealedMarkFile(folders.mark(origin.log))
        unless_open.push_async_callback(mark.aclose)
        just_said = JustSaid()
        tail = Tail(store, clock_s, ring_bytes=room.ring)
        returning = Returning(str(origin), store, tail.erased, clock.now_ms)

        def tell(done: Committed) -> None:
            committed(done)
            if not origin.is_directory:
                just_said.put(done.first, done.said)

        sequencer = Sequencer(
            str(origin),
            store,
            store,
            mark,
            key,
            clock,
            judge=judging.judge,
            ready=judging.ready,
            max_group=judging.max_group,
            committed=tell,
            repeated=returning.sent_again,
        )
        await sequencer.open(adopt=adopt)
        await stores.share(store, sequencer.saw, tail.erased, returning.returned_to)
        await tail.open()
        log = Log(str(origin), log_verifier(str(origin), key.public_key), store, store, sequencer, tail)
        facts = None
        if not origin.is_directory:
            facts = await FactsFile.open(folders.fold(origin.log, LIFE), most_newest=_newest_signals(room))
            unless_open.push_async_callback(facts.aclose)
            log = replace(log, folds=_folds(store, facts, canaries, just_said, returning, memory.making))
        unless_open.pop_all()
    memory.take(origin, room)
    return OpenLog(log, store, mark, facts)


def _newest_signals(room: Room) -> int:
    return min(max(room.recent // _BYTES_A_SIGNAL, _LEAST_SIGNALS), MOST_NEWEST)


def _folds(
    store: Store,
    facts: FactsFile,
    canaries: frozenset[tuple[int, bytes]],
    just_said: JustSaid,
    returning: Returning,
    turn: asyncio.Lock,
) -> Folds:
    referrals, lost = FactsReferrals(facts), FactsLost(facts, wall_ms)
    life = LifeView(
        store,
        store,
        facts,
        worked_s,
        canaries=canaries,
        addressed=referrals.facts,
        just_said=just_said,
        lost=lost,
        making=lambda: beside(facts, turn),
    )
    returning.follow(life, lost)
    return Folds(life, FactsReports(facts), referrals, lost.of)


def keeper_of(recipe: Recipe[F], log: Log, folders: Folders, key: SigningKey) -> Keeper[F]:
    """Return the keeper of a log's fold, whose snapshots lie beside the log."""
    name = log.origin.rpartition("/")[2]
    return Keeper(
        recipe, log.origin, Leaves(log.store, log.history), FoldFile(folders.fold(name, recipe.name)), key, worked_s
    )


async def make_log(folders: Folders, origin: Origin, stores: Stores | None = None) -> SigningKey:
    """Make an empty log and its signing key. Raises `Rejected` or `Fatal` when either is there already."""
    key = make_key(folders.key(origin.log))
    await (stores or Embedded(folders)).make(origin)
    return key


def genesis_statement(
    exchange: str,
    log_key: SigningKey,
    operator: str,
    operator_name: str,
    key: SigningKey,
    *,
    further_keys: Sequence[bytes] = (),
    threshold: int = 1,
    now_ms: int,
    nonce: bytes,
) -> Statement:
    """Return entry 0 of a directory, signed by the first operator's first key. Raises `InvalidStatement`.

    ``further_keys`` are public keys of the same member's operators; ``threshold`` of all its keys sign what is guarded.
    """
    header = Header(
        origin=str(Origin(exchange, Origin.DIRECTORY_LOG)),
        kind=Kind.GENESIS,
        publisher=operator,
        created_at_ms=now_ms,
        nonce=nonce,
        signal_ids=(),
        body=Genesis(
            exchange,
            log_key.public_key,
            operator,
            operator_name,
            tuple(GenesisKey(Role.OPERATOR, public_key) for public_key in (key.public_key, *further_keys)),
            threshold,
        ),
    )
    validate_genesis(header)
    return signed(header, key)


async def found_exchange(
    folders: Folders, statement: Statement, clock: WatchedClock, stores: Stores | None = None
) -> bytes:
    """Write a genesis as entry 0 of an empty directory log; return its leaf hash, which clients pin."""
    header = codec.decode_header(statement.payload, strict=True)
    validate_genesis(header)
    origin = Origin.parse(header.origin)
    if origin is None:
        raise Fatal("the genesis names no origin", reason=Reason.CONFIG)

    opened = await open_log(
        folders,
        origin,
        Judging(lambda _: 0, at_once, 1),
        clock,
        lambda: 0.0,
        memory=Memory(Room(0, 0)),
        adopt=True,
        committed=lambda _: None,
        stores=stores,
    )
    sequencer = opened.log.sequencer
    task = asyncio.create_task(sequencer.run())
    try:
        workload = Workload(header.publisher, Role.OPERATOR)
        candidate = Candidate(statement_id(statement.payload), statement, header, workload, (), late=False)
        receipt = await sequencer.offer(candidate)
        return leaf_hash(receipt.leaf)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await opened.aclose()
