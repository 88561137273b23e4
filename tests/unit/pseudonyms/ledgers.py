"""An exchange in memory, as the pseudonym service sees it: what is said is in a ledger, and shown when a test says so."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.bodies import Body
from exchange.domain.directory import Directory
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.kinds import Kind
from exchange.domain.statement import Header
from exchange.errors import ExchangeError

SERVICE = "notary"


@dataclass(frozen=True)
class Hello:
    hub_time_ms: int


def header(origin: str, body: Body, publisher: str = SERVICE) -> Header:
    return Header(origin, Kind.KEY_EPOCH, publisher, 1, bytes(16), (), body)


class MemoryLedgers:
    """Communities' ledgers. `lags` keeps back what was said; `fails` is raised by everything."""

    def __init__(self) -> None:
        self.read = Directory()
        self.said: list[tuple[str, Body]] = []
        self.shown: dict[str, KeyEpochs] = {}
        self.lags = False
        self.fails: ExchangeError | None = None
        self.hub_time_ms = 0

    def _check(self) -> None:
        if self.fails is not None:
            raise self.fails

    async def directory(self) -> Directory:
        self._check()
        return self.read

    async def key_epochs(self, origin: str) -> KeyEpochs:
        self._check()
        return self.shown.setdefault(origin, KeyEpochs())

    async def say(self, origin: str, body: Body) -> object:
        self._check()
        self.said.append((origin, body))
        if not self.lags:
            self.show(origin, body)
        return None

    def show(self, origin: str, body: Body, publisher: str = SERVICE) -> None:
        self.shown.setdefault(origin, KeyEpochs()).apply(1, header(origin, body, publisher))

    async def who_am_i(self) -> Hello:
        self._check()
        return Hello(self.hub_time_ms)
