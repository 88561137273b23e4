"""Hubs that share a store, under load, and a plain writer beside them: where each fault of a shared store happens."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.contract.machines import HERE, Machine
from tests.contract.redis_wires import wired
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import signal as a_draft
from tests.e2e.exchange_fixture import UK, Exchange
from tests.e2e.shared_store import founded, stopped, tallied, verified
from tests.faults.load import Load
from tests.faults.plain import PlainWriter
from tests.faults.scene import MODULE, steady_port

#: Statements before a fault, and after it.
SOME = 30

Report = Callable[[str], None]


@dataclass
class Hubs:
    """Two hubs, the load on them, and what is said of the fault."""

    ends: AsyncExitStack
    load: Load
    plain: PlainWriter
    running: list[ChildHub]
    machines: list[Machine]
    notes: list[str] = field(default_factory=list)

    @property
    def exchanges(self) -> list[Exchange]:
        """The exchange, as each hub's machine has it."""
        return [each.exchange for each in self.running]

    async def kill(self, number: int) -> None:
        """Kill one, and start it again on its port."""
        hub = self.running[number]
        hub.send(signal.SIGKILL)
        await hub.ended()
        await self.again(number)

    async def again(self, number: int, *flags: str) -> None:
        """Start one that has ended again, on its port."""
        hub = self.running[number]
        await hub.aclose()
        self.running[number] = await _started(self.ends, hub.exchange, hub.port, self.machines[number], *flags)

    async def not_safe(self, number: int = 0) -> None:
        """Wait until a hub says that it could not make a group safe."""
        await self.says("store_is_not_safe_to_write", number)

    async def says(self, words: str, number: int = 0) -> None:
        """Wait until a hub's log has these words."""
        async with asyncio.timeout(30):
            while words not in self.running[number].log.read_text():
                await asyncio.sleep(0.05)


async def _started(ends: AsyncExitStack, exchange: Exchange, port: int, machine: Machine, *flags: str) -> ChildHub:
    hub = await ChildHub.start(exchange, *flags, module=MODULE, port=port, machine=machine)
    ends.push_async_callback(hub.aclose)
    return hub


async def two_hubs(
    ends: AsyncExitStack, exchange: Exchange, machines: list[Machine], flags: tuple[str, ...]
) -> list[ChildHub]:
    """Start two hubs on an exchange's store; clients reach them through ports of this machine, wherever they are."""
    other = exchange.beside(exchange.folder.parent / "second")
    hubs = []
    for each, machine, more in zip((exchange, other), machines, (flags, ("--adopt",)), strict=True):
        port = steady_port()
        if machine is not HERE:
            await ends.enter_async_context(wired(port, port=port, machine=machine))
        hubs.append(await _started(ends, each, port, machine, *more))
    return hubs


async def _grow(exchange: Exchange, entries: int) -> None:
    hub = await ChildHub.start(exchange)
    beta = hub.party("beta")
    await beta.stream([a_draft("beta", UK).sign(beta.key) for _ in range(entries)])
    await stopped(hub)


@asynccontextmanager
async def loaded(
    folder: Path,
    url: str,
    report: Report,
    *flags: str,
    machines: tuple[Machine, Machine] = (HERE, HERE),
    entries: int = 0,
) -> AsyncIterator[Hubs]:
    """Two hubs on a store under load, before, while and after what the block does; then all is judged.

    ``flags`` are for the first of them; so many entries are there before.
    """
    async with AsyncExitStack() as ends:
        exchange = await founded(folder / "exchange", url)
        if entries:
            await _grow(exchange, entries)
        running = await two_hubs(ends, exchange, list(machines), flags)
        ports = [hub.port for hub in running]
        plain = await ends.enter_async_context(PlainWriter.running(url))
        async with Load.running(exchange, *ports, folder=folder / "clients") as load:
            hubs = Hubs(ends, load, plain, running, list(machines))
            await load.more(SOME)
            yield hubs
            await load.more(SOME)
            await load.finish()
        await judged(hubs, report)


async def judged(hubs: Hubs, report: Report) -> None:
    """Hold what the load was told against the store, put it into the table, and verify the store."""
    tally = await tallied(hubs.load, *hubs.exchanges)
    plain = await hubs.plain.tally()
    row = asdict(tally) | asdict(plain) | {"verified": tally.clean, "notes": "; ".join(hubs.notes)}
    report(json.dumps(row))
    assert tally.clean, tally
    assert plain.plain_acknowledged, "nothing to compare with"
    await verified(hubs.exchanges[0])
