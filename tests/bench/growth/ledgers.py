"""Ledgers of a given length: founded and served by a real hub, then filled while it is down.

Through a hub a million statements of one record take many minutes; written straight into the store they take two. The
bytes are a hub's own: signed statements, leaves, frames, tiles, checkpoint, mark. A ledger that was filled is kept in
its folder with the keys of its exchange, so that filling and measuring can be two runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exchange import codec
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import Role
from exchange.domain.statement import Leaf
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.tree import Tree
from exchange.ops.clocks import wall_ms
from exchange.stores.folders import read_key
from exchange.stores.refilling import refill
from exchange.stores.sealed_mark import SealedMarkFile
from exchange.stores.sqlite import SqliteStore
from tests.bench.contenders.hub import PUBLISHER, Hub
from tests.bench.workload import draft
from tests.e2e.exchange_fixture import DIRECTORY, UK, Exchange

_KEYS = "exchange.json"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ledger:
    """How long a ledger is, and how its signals are packed."""

    records: int
    per_statement: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{'singles' if self.per_statement == 1 else 'packed'}-{self.records}"

    @property
    def entries(self) -> int:
        """How many statements that makes."""
        return self.records // self.per_statement


def keep(exchange: Exchange) -> None:
    """Write an exchange's keys beside its data."""
    keys = [[member, int(role), key._key.private_bytes_raw().hex()] for (member, role), key in exchange.keys.items()]
    logs = {origin: key.hex() for origin, key in exchange.log_keys.items()}
    (exchange.folder / _KEYS).write_text(json.dumps({"pin": exchange.pin.hex(), "keys": keys, "logs": logs}))


def kept(folder: Path) -> Exchange | None:
    """Return the exchange in a folder; None when none was filled there."""
    path = folder / _KEYS
    if not path.exists():
        return None
    read = json.loads(path.read_text())
    keys = {(member, Role(role)): SigningKey(bytes.fromhex(seed)) for member, role, seed in read["keys"]}
    logs = {origin: bytes.fromhex(key) for origin, key in read["logs"].items()}
    return Exchange(folder, bytes.fromhex(read["pin"]), keys, logs)


async def filled(folder: Path, ledger: Ledger, say: Say) -> Exchange:
    """Return an exchange whose community holds such a ledger; made now, unless it is there."""
    there = kept(folder / ledger.name)
    if there is not None:
        return there
    hub = Hub()
    await hub.start(folder / ledger.name)
    await hub.stop()
    await fill(hub.exchange, ledger, say)
    keep(hub.exchange)
    return hub.exchange


def _frames(exchange: Exchange, ledger: Ledger, directory_size: int) -> Iterator[bytes]:
    key = exchange.keys[PUBLISHER, Role.PIPELINE]
    for index in range(ledger.entries):
        said = codec.statement_from_wire(draft(PUBLISHER, UK, ledger.per_statement).sign(key))
        leaf = codec.encode_leaf(Leaf(index, wall_ms(), False, directory_size, said.payload, said.signatures))
        yield codec.full_frame(leaf, said.records, said.audience_record)


async def fill(exchange: Exchange, ledger: Ledger, say: Say) -> None:
    """Append so many signals to the community's empty log, as its sequencer would, in large groups."""
    log = Origin.parse(UK)
    assert log is not None
    folders = exchange.folders
    key = read_key(folders.key(log.log))
    directory = await SqliteStore.open(folders.log(Origin.DIRECTORY_LOG), origin=DIRECTORY)
    directory_size = (await directory.head()).sealed.size
    await directory.aclose()
    store, mark = await SqliteStore.open(folders.log(log.log), origin=UK), SealedMarkFile(folders.mark(log.log))
    filled_now = 0

    def written(entries: int) -> None:
        nonlocal filled_now
        before, filled_now = filled_now, filled_now + entries
        if filled_now * 10 // ledger.entries != before * 10 // ledger.entries:
            say(f"filling {ledger.name}: {filled_now * ledger.per_statement:,} signals")

    tree = await refill(store, Tree(), _frames(exchange, ledger, directory_size), UK, key, written)
    await mark.record(sign_checkpoint(Checkpoint(UK, tree.size, tree.root()), key))
    await store.aclose()
    await mark.aclose()


def disk_bytes(exchange: Exchange) -> int:
    """Return what the community's log takes on disk, with everything that belongs to it."""
    folder = exchange.folders.log(UK.partition("/")[2])
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
