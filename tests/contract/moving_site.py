"""A hub's logs in real files, the configuration of where they are to move, and both stores looked into."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result

from exchange import codec, config
from exchange.cli import main
from exchange.domain.identifiers import Origin
from exchange.domain.statement import Statement
from exchange.errors import ExchangeError
from exchange.ledger.checkpoint import Checkpoint, sign_checkpoint
from exchange.ops.durable import write_secret
from exchange.ports import Head, LogStore, StoredEntry
from exchange.stores.opened import Store, Stores, stores_in
from exchange.stores.sealed_mark import SealedMarkFile
from tests.contract.builders import KEY, Chain, read_all
from tests.contract.followed_log import entry
from tests.contract.moving_child import migrated
from tests.unit.builders import NOW_MS, UK, pdq_record, signal_statement

EXCHANGE, _, _NAME = UK.partition("/")
LOGS = (Origin(EXCHANGE, Origin.DIRECTORY_LOG), Origin(EXCHANGE, _NAME))
OTHER, LOG = LOGS


def said(number: int) -> Statement:
    """Return the statement of an index: some are restricted, some have two records."""
    names = [f"{number}", f"{number} too"] if number % 5 == 0 else [f"{number}"]
    audience = ["beta"] if number % 7 == 0 else None
    return signal_statement(records=[pdq_record(name) for name in names], seed=f"{number}", audience=audience).statement


class Site:
    """One machine with two configurations, and what its logs should hold."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.files, self.redis = folder / "hub.toml", folder / "redis.toml"
        rest = '[tls]\ncertificate = "a"\nkey = "b"\nclient_authority = "c"\n'
        text = f'exchange = "{EXCHANGE}"\ndata = "data"\nlisten = "127.0.0.1:1"\n'
        folder.mkdir(parents=True)
        self.files.write_text(text + rest)
        self.redis.write_text(f'{text}store = "{url}"\nbundles = "bundles"\n{rest}')
        self.chains = {origin: Chain() for origin in LOGS}
        for origin in LOGS:
            write_secret(folder / "data" / "keys" / f"{origin.log}.seed", f"{bytes(range(32)).hex()}\n".encode())

    def stores(self, path: Path) -> Stores:
        settings = config.load(path)
        return stores_in(settings.folders, settings.place)

    async def make(self, path: Path) -> None:
        """Make both logs, empty."""
        for origin in LOGS:
            await self.stores(path).make(origin)

    @asynccontextmanager
    async def open(self, path: Path, origin: Origin = LOG) -> AsyncIterator[Store]:
        """Open a log as a hub does."""
        store = await self.stores(path).open(origin, recent_bytes=1 << 20)
        try:
            yield store
        finally:
            await store.aclose()

    async def grow(self, path: Path, count: int, origin: Origin = LOG) -> None:
        """Append entries, seal them, and remember that."""
        async with self.open(path, origin) as store:
            chain = self.chains[origin]
            new = tuple(entry(at, said(at)) for at in range(chain.size, chain.size + count))
            self.chains[origin] = grown = await self.add(store, chain, new, origin)
        mark = SealedMarkFile(self.mark(origin))
        await mark.record(self.note(grown, origin))
        await mark.aclose()

    async def add(self, store: LogStore, chain: Chain, new: tuple[StoredEntry, ...], origin: Origin) -> Chain:
        grown, group = chain.grow_by(new)
        await store.append(chain.head, replace(group, directory_size=9))
        await store.seal(grown.head, self.note(grown, origin))
        return grown

    def note(self, chain: Chain, origin: Origin = LOG) -> bytes:
        return sign_checkpoint(Checkpoint(str(origin), chain.size, chain.head.root), KEY)

    def mark(self, origin: Origin = LOG) -> Path:
        return self.folder / "data" / "marks" / origin.log

    async def erase(self, path: Path, *indices: int, positions: tuple[int, ...] | None = None) -> None:
        """Erase entries, or some of their records."""
        async with self.open(path) as store:
            frames = {}
            for each in await store.durable_entries(min(indices), max(indices) + 1):
                if each.index in indices:
                    count = len(codec.decode_frame(each.frame).records)
                    frames[each.index] = codec.frame_without(
                        each.frame, range(count) if positions is None else positions
                    )
            await store.erase(frames)

    async def archive(self, path: Path, floor: int) -> None:
        async with self.open(path) as store:
            await store.archive(floor)

    async def holds(self, path: Path, origin: Origin = LOG) -> tuple[Head, list[StoredEntry], list[bytes]]:
        """Return all that a store serves of a log: its head, what is not below the floor, and every bundle."""
        async with self.open(path, origin) as store:
            head = await store.head()
            bundles = [await store.bundle(index) for index in range(-(-head.sealed.size // 256))]
            return head, await read_all(store, head.floor), bundles

    async def may_serve(self, path: Path, origin: Origin = LOG) -> str:
        """Return why no hub may serve a log from this store; nothing where it may, with all that was released."""
        try:
            async with self.open(path, origin):
                return ""
        except ExchangeError as error:
            return error.message

    async def migrate(self, source: Path, target: Path, *more: str) -> Result:
        """Move the logs, by the command."""
        words = ["migrate", "--config", str(source), "--to", str(target), *more]
        return await asyncio.to_thread(CliRunner().invoke, main, words)

    async def killed(self, source: Path, target: Path, kill_at: int) -> int:
        """Move them in a process that is killed at one of its changes; return how it ended."""
        return await asyncio.to_thread(migrated, source, target, kill_at)


def record_of(number: int) -> bytes:
    """Return the first record of an index: what must not be found any more once it is erased."""
    return said(number).records[0]


__all__ = ["LOG", "LOGS", "NOW_MS", "OTHER", "Site", "record_of", "said"]
