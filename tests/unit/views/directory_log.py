"""A directory's log in memory, and a snapshot's file: what the views' tests stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from exchange import codec
from exchange.domain.bodies import Body, Member
from exchange.domain.directory import Directory
from exchange.domain.statement import Leaf, statement_id
from exchange.errors import Unavailable
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import leaf_hash
from exchange.ports import StoredEntry
from exchange.views.directory import DIRECTORY, DirectoryView
from exchange.views.keeper import Keeper
from exchange.views.replay import Leaves, Replay
from tests.contract.builders import Chain
from tests.contract.memory_store import MemoryStore
from tests.unit.builders import ACTORS, MEMBERS, NOW_MS, OPERATOR, community, digest, directory_header, genesis
from tests.unit.builders import DIRECTORY as ORIGIN

KEY = SigningKey(digest("log key of the directory"))
#: A log here need not be long to be worth a snapshot.
LEAST_GROWTH = 64
#: What every log here begins with.
FIRST: tuple[Body, ...] = (
    genesis(),
    *MEMBERS,
    *(each.key_body() for each in ACTORS if each is not OPERATOR),
    community(),
)


def renamed(number: int) -> Member:
    """Return a statement that changes the fold and that no other number makes."""
    return replace(MEMBERS[number % len(MEMBERS)], display_name=f"Name {number}")


def stored(index: int, body: Body | None) -> StoredEntry:
    """Return the entry that says this."""
    payload = codec.encode_header(directory_header(body, nonce=digest(f"nonce {index}", 16)))
    leaf = codec.encode_leaf(Leaf(index, NOW_MS + index, False, index, payload, (OPERATOR.sign(payload),)))
    return StoredEntry(index, statement_id(payload), leaf_hash(leaf), NOW_MS + index, codec.full_frame(leaf, (), b""))


class CountingStore(MemoryStore):
    """Remembers which entries were read, and can be made to hold other ones than it sealed."""

    def __init__(self) -> None:
        super().__init__(read_at_most=7)
        self.read_indices: set[int] = set()

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        found = await super().read(start, limit)
        self.read_indices.update(entry.index for entry in found)
        return found

    def alter(self, index: int, body: Body) -> None:
        """Put another entry in the place of one that is sealed, as a damaged disk might."""
        self._disk.entries[index] = structs.replace(stored(index, body), leaf_hash=self._disk.entries[index].leaf_hash)


@dataclass
class MemoryFile:
    """A snapshot's file."""

    data: bytes | None = None
    full: bool = False
    saved: int = 0

    async def load(self) -> bytes | None:
        return self.data

    async def save(self, data: bytes) -> None:
        if self.full:
            raise Unavailable("the disk is full")
        self.data = data
        self.saved += 1

    async def discard(self) -> None:
        self.data = None


class Clock:
    """Each look at it is a millisecond later: background work pauses after every few steps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@dataclass
class DirectoryLog:
    """A directory's log that grows by what is said to it."""

    store: CountingStore = field(default_factory=CountingStore)
    chain: Chain = field(default_factory=Chain)
    file: MemoryFile = field(default_factory=MemoryFile)

    async def say(self, *bodies: Body | None) -> None:
        """Commit statements as one group."""
        new = tuple(stored(self.chain.size + at, body) for at, body in enumerate(bodies))
        grown, group = self.chain.grow_by(new)
        await self.store.append(self.chain.head, group)
        note = sign_checkpoint(Checkpoint(ORIGIN, grown.head.size, grown.head.root), KEY)
        await self.store.seal(grown.head, note)
        self.chain = grown

    @property
    def leaves(self) -> Leaves:
        return Leaves(self.store, self.store)

    def keeper(self, key: SigningKey = KEY, origin: str = ORIGIN, **recipe: Any) -> Keeper[Directory]:
        """Return a keeper as a hub that starts now makes one."""
        return Keeper(
            replace(DIRECTORY, **recipe), origin, self.leaves, self.file, key, Clock(), least_growth=LEAST_GROWTH
        )

    async def view(self, replay: Replay[Directory]) -> DirectoryView:
        """Return a view that has read everything."""
        view = DirectoryView(self.store, replay, lambda: 0)
        await view.refresh()
        return view

    async def folded(self) -> Directory:
        """Return the fold from leaf 0."""
        return (await self.view(Replay(self.leaves, Directory()))).directory


async def directory_log(count: int = 0) -> DirectoryLog:
    """Return a log of the first statements and ``count`` more."""
    log = DirectoryLog()
    await log.say(*FIRST, *map(renamed, range(count)))
    return log
