"""One exchange of its own, its hub as a process, and what has become of it: where each fault happens."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from exchange.codec import frame_leaf
from exchange.domain.kinds import Role
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint
from exchange.stores.sealed_mark import read_mark
from exchange.stores.sqlite import SqliteStore
from exchange.stores.sqlite_reader import LogFiles, LogState
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import signal as a_draft
from tests.e2e.exchange_fixture import UK, Exchange, LocalHub, Registrar
from tests.e2e.warm_command_line import on_the_command_line
from tests.faults.load import Load, Tally

MODULE = "tests.faults.faulty_hub"
#: The group at which a fault strikes: late enough that everything is under way.
NTH = 12
#: Entries of a grown exchange, and how many of them are below the floor.
GROWN = 600
FLOOR = 256


def steady_port() -> int:
    """Return a free port below those that the system gives to outgoing connections: it stays free for a restart."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def populated(folder: Path) -> Exchange:
    """Found an exchange and enrol everyone, for all scenes to start from."""
    exchange = await Exchange.found(folder)
    hub = await LocalHub().start(exchange.config())
    operator = exchange.party(hub.port, "operator", Role.OPERATOR)
    await Registrar(exchange, operator).populate()
    await operator.channel.close()
    await hub.stop()
    return exchange


async def grown(template: Exchange, folder: Path) -> Exchange:
    """Return a copy with entries in every kind of place: a bundle below the floor, whole tiles, and the last one."""
    shutil.copytree(template.folder, folder)
    exchange = replace(template, folder=folder)
    hub = await LocalHub().start(exchange.config())
    beta = exchange.party(hub.port, "beta")
    await beta.stream([a_draft("beta", UK).sign(beta.key) for _ in range(GROWN)])
    await beta.channel.close()
    await hub.stop()
    store = await SqliteStore.open(exchange.folders.log("uk"), origin=UK)
    assert await store.archive(FLOOR) == FLOOR
    await store.aclose()
    return exchange


@dataclass
class Scene:
    """An exchange, and the one hub process that serves it at a time."""

    exchange: Exchange
    port: int
    #: Told of the row for the table.
    report: Callable[[str], None]
    hub: ChildHub | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def copy(cls, template: Exchange, folder: Path, report: Callable[[str], None]) -> Scene:
        """Make a scene of a populated exchange's copy."""
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        return cls(replace(template, folder=folder), steady_port(), report)

    @property
    def data(self) -> Path:
        """The hub's data folder."""
        return self.exchange.folder / "data"

    @property
    def log(self) -> Path:
        """The folder of the log that faults happen to."""
        return self.exchange.folders.log("uk")

    @property
    def obituary(self) -> Path:
        """Where a hub that kills itself says what was under way."""
        return self.exchange.folder / "obituary.json"

    async def launch(self, *flags: str) -> ChildHub:
        """Start the next hub process, after the last one; do not wait until it serves."""
        if self.hub is not None:
            await self.hub.aclose()
        flags = (f"--obituary={self.obituary}", *flags)
        self.hub = await ChildHub.launch(self.exchange, *flags, module=MODULE, port=self.port)
        return self.hub

    async def serve(self, *flags: str) -> ChildHub:
        """Start the next hub process, and wait until it serves."""
        hub = await self.launch(*flags)
        await hub.serves()
        return hub

    async def serves_all_but_ours(self, *flags: str) -> None:
        """Start the next hub process; fail unless it serves and withholds our log; end it."""
        hub = await self.launch(*flags)
        await hub.serves_all_but(UK)
        hub.send(signal.SIGKILL)
        await self.killed()

    @asynccontextmanager
    async def under_load(self, *, start: int = 0) -> AsyncIterator[Load]:
        """Keep a publisher and two subscribers at work; at the end, check what has become of what they were told."""
        async with Load.running(self.exchange, self.port, folder=self.exchange.folder / "clients", start=start) as load:
            yield load
            await load.finish()
        await self.stop()
        await self._check(load)

    async def stop(self) -> None:
        """End the hub as an operator does."""
        assert self.hub is not None
        self.hub.send(signal.SIGTERM)
        assert await self.hub.ended() == 0
        await self.hub.aclose()

    async def killed(self) -> None:
        """Wait until the hub has killed itself."""
        assert self.hub is not None
        assert await self.hub.ended(timeout_s=60) == -signal.SIGKILL

    def state(self) -> LogState:
        """Return what the log's file says."""
        files = LogFiles(self.log)
        try:
            return files.state()
        finally:
            files.close()

    def mark(self) -> Checkpoint:
        """Return the last checkpoint that this machine remembers."""
        note = read_mark(self.exchange.folders.mark("uk"))
        assert note is not None
        return open_checkpoint(note, self.exchange.verifier(UK))

    def leaves(self) -> list[bytes]:
        """Return every leaf in the log's files."""
        files = LogFiles(self.log)
        try:
            return [each.leaf or frame_leaf(each.frame) for each in files.entries(files.state().durable_size)]
        finally:
            files.close()

    async def verify(self) -> tuple[int, str]:
        """Run `exchange verify` on the data folder; return its exit code and what it said."""
        return await on_the_command_line("verify", self.data, "--genesis", self.exchange.pin.hex())

    async def _check(self, load: Load) -> None:
        code, said = await self.verify()
        mark = read_mark(self.exchange.folders.mark("uk"))
        notes = [note for note in (mark, self.state().checkpoint) if note]
        tally = load.tally(self.leaves(), notes, self.exchange.verifier(UK))
        self._tell(tally, code)
        assert code == 0, said
        assert tally.clean, tally

    def _tell(self, tally: Tally, code: int) -> None:
        row = asdict(tally) | {"verified": code == 0, "notes": "; ".join(self.notes)}
        self.report(json.dumps(row))

    async def aclose(self) -> None:
        """End what still runs."""
        if self.hub is not None:
            await self.hub.aclose()
