"""A hub as a process of its own: the runner that the process executes, and the handle that tests hold.

The runner does what `exchange serve` does and says on stdout which port it got; it can also start with a clock that
is wrong by a constant. It is forked from a process that has imported it (`warm_process`); on another machine, which a
process enters by a command, it is started anew.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

import grpc

from exchange import app, config
from exchange.domain.kinds import Role
from exchange.errors import ExchangeError
from exchange.ops import clocks, logging
from tests.contract.machines import HERE, Machine
from tests.e2e import drafts
from tests.e2e.exchange_fixture import OPERATOR, Exchange, Party, Registrar, free_port
from tests.e2e.warm_process import WarmProcess

ROOT = Path(__file__).parents[2]
START_S = 30.0
MODULE = "tests.e2e.child_hub"
RING_BYTES = config.Feed().ring_bytes


class ChildHub:
    """A running child, or one that has ended."""

    def __init__(
        self, exchange: Exchange, process: asyncio.subprocess.Process | WarmProcess, ops_port: int, log: Path
    ) -> None:
        self.exchange = exchange
        self.process = process
        self.ops_port = ops_port
        self.log = log
        self.port = 0
        self.tiles_port = 0
        self._parties: list[Party] = []

    @classmethod
    async def launch(
        cls,
        exchange: Exchange,
        *flags: str,
        module: str = MODULE,
        port: int = 0,
        ring_bytes: int = RING_BYTES,
        machine: Machine = HERE,
    ) -> ChildHub:
        """Start the process; do not wait until it serves. ``port`` is its address, where that must stay the same."""
        ops_port, tiles_port, log = free_port(), free_port(), exchange.folder / "hub.log"
        path = exchange.folder / "hub.toml"
        path.write_text(_toml(exchange, ops_port, tiles_port, port, ring_bytes))
        with log.open("ab") as stderr:
            process = (
                await WarmProcess.start(module, str(path), *flags, folder=ROOT, stderr=stderr)
                if machine is HERE
                else await _started_there(machine, module, str(path), *flags, stderr=stderr)
            )
        child = cls(exchange, process, ops_port, log)
        child.tiles_port = tiles_port
        return child

    @classmethod
    async def start(
        cls,
        exchange: Exchange,
        *flags: str,
        module: str = MODULE,
        port: int = 0,
        ring_bytes: int = RING_BYTES,
        machine: Machine = HERE,
    ) -> ChildHub:
        """Start the process and wait until it serves."""
        child = await cls.launch(exchange, *flags, module=module, port=port, ring_bytes=ring_bytes, machine=machine)
        await child.serves()
        return child

    async def serves(self) -> None:
        """Wait until the process serves."""
        line = await self._line()
        assert line.startswith("port "), f"the hub did not start: {line!r}"
        self.port = int(line.removeprefix("port "))

    async def _line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            return (await self.process.stdout.readline()).decode().strip()

    async def refused(self) -> str:
        """Wait until the process gives up; return why."""
        line = await self._line()
        assert await self.ended() == 1
        assert line.startswith("error "), line
        return line.removeprefix("error ")

    async def serves_all_but(self, origin: str) -> None:
        """Wait until the process serves; fail unless nobody gets this log, and nothing can be said in it."""
        await self.serves()
        alpha = self.party("alpha")
        for ask in (partial(alpha.publish, drafts.signal("alpha", origin)), partial(alpha.checkpoint, origin)):
            try:
                await ask()
            except grpc.aio.AioRpcError as error:
                assert error.details() == "this log is not open on this hub", error
            else:
                raise AssertionError(f"{origin} is served")

    def party(self, member: str, role: Role = Role.PIPELINE) -> Party:
        """Return a workload, connected."""
        party = self.exchange.party(self.port, member, role)
        self._parties.append(party)
        return party

    async def populate(self) -> None:
        """Enrol everyone."""
        await self.registrar.populate()

    @property
    def registrar(self) -> Registrar:
        """The operator at work."""
        return Registrar(self.exchange, self.party(OPERATOR, Role.OPERATOR))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    async def ended(self, *, timeout_s: float = START_S) -> int:
        """Wait for the process's end; return its exit code."""
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    async def aclose(self) -> None:
        """Disconnect everyone; end the process if it still runs."""
        for party in self._parties:
            await party.channel.close()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if isinstance(self.process, WarmProcess):
            self.process.close()
        else:
            self.process._transport.close()  # type: ignore[attr-defined]


async def _started_there(machine: Machine, module: str, *words: str, stderr: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*machine.enter, sys.executable, "-m", module, *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _toml(exchange: Exchange, ops_port: int, tiles_port: int, port: int, ring_bytes: int) -> str:
    settings = exchange.config()
    shared = f'store = "{settings.store}"\nbundles = "{settings.bundles}"' if settings.store else ""
    return f"""
exchange = "{settings.exchange}"
data = "data"
{shared}
keys = "keys"
listen = "127.0.0.1:{port}"
log_level = "debug"

[tls]
certificate = "{settings.tls.certificate.relative_to(exchange.folder)}"
key = "{settings.tls.key.relative_to(exchange.folder)}"
client_authority = "{settings.tls.client_authority.relative_to(exchange.folder)}"

[ops]
listen = "127.0.0.1:{ops_port}"

[tiles]
listen = "127.0.0.1:{tiles_port}"

[feed]
heartbeat_ms = {settings.feed.heartbeat_ms}
ring_bytes = {ring_bytes}

[drain]
grace_s = 2
"""


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; print "port N" when serving, or "error REASON MESSAGE" when refused."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--adopt", action="store_true")
    parser.add_argument("--accept-clock", action="store_true")
    parser.add_argument("--clock-offset-ms", type=int, default=0)
    options = parser.parse_args(arguments)
    real = clocks.wall_ms
    clocks.wall_ms = lambda: real() + options.clock_offset_ms
    settings = config.load(options.config)
    logging.configure(level=settings.log_level)

    def ready(running: app.App) -> None:
        print(f"port {running.port}", flush=True)

    try:
        asyncio.run(app.serve(settings, adopt=options.adopt, accept_clock=options.accept_clock, ready=ready))
    except (ExchangeError, ExceptionGroup) as error:
        first = _first(error)
        if not isinstance(first, ExchangeError):
            raise
        print(f"error {first.reason} {first.message}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
