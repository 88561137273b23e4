"""A simulated platform: the SDK's own subscriber and matcher, held against what the model says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

from exchange.domain.kinds import KINDS, Role
from exchange.domain.policy import Workload
from exchange_client import Delivery, Filter, Indicator, Match, Matcher
from exchange_client.cursors import Position
from exchange_client.directory import DirectoryReader
from exchange_client.subscriber import Subscriber
from tests.e2e.patience import DEADLINE_S
from tests.oracle.founding import UK, Founded
from tests.oracle.hub import Clock, LiveHub, Wire
from tests.oracle.model import Model, Shown, Value, Wanted
from tests.oracle.reader import Known, Reader


class Places:
    """Positions in memory; those of a platform that has vanished are kept no more."""

    def __init__(self) -> None:
        self.kept: dict[str, Position] = {}
        self.closed = False

    async def load(self, origin: str) -> Position | None:
        """Return the stored position, or None."""
        return self.kept.get(origin)

    async def store(self, origin: str, position: Position) -> None:
        """Store a position."""
        self.kept[origin] = position


class _NothingRemembered:
    """A directory that is read anew by each run."""

    async def load(self) -> None:
        """Nothing was kept."""

    async def store(self, seen: object) -> None:
        """Nothing is kept."""


def directory_reader(founded: Founded, wire: Wire) -> DirectoryReader:
    """Return the reader that all platforms of a run share."""
    origin = f"{UK.partition('/')[0]}/directory"
    return DirectoryReader(
        origin, founded.pin, cast("Any", wire), cast("Any", Places()), cast("Any", _NothingRemembered())
    )


class Platform:
    """One member's pipeline, with its place in the ledger and its look-up."""

    def __init__(self, name: str, hub: LiveHub, founded: Founded, directory: DirectoryReader, clock: Clock) -> None:
        self.wire = Wire(hub, Workload(name, Role.PIPELINE))
        self.reader = Reader(name)
        self._founded = founded
        self._directory = directory
        self._clock = clock
        self._places = Places()
        self._matcher = Matcher()
        self._subscriber: Subscriber
        self._stream: AsyncGenerator[Delivery, None] | None = None
        self._last: Delivery | None = None

    async def read(self, model: Model) -> None:
        """Read one message, and hold everything in it against the model. There is something to read."""
        stream = self._stream or self._open()
        reader, found = self.reader, []
        async with asyncio.timeout(DEADLINE_S):
            found.append(await anext(stream))
            while len(found) < self.wire.in_message:
                found.append(await anext(stream))
        reader.message_at = reader.next
        for delivery in found:
            wanted = model.shown(reader.name, reader.next, reader.wanted)
            got = shown_by(delivery)
            assert got == wanted, f"{reader.name} was shown {got}, and should have been shown {wanted}"
            said = model.ledger[wanted.index]
            assert delivery.received_at_ms == said.received_ms, "the time of an entry has changed"
            reader.takes(said, wanted, model.by_id)
            self._matcher.add(delivery)
            reader.in_hand, reader.next = reader.next, reader.next + 1
        self._last = found[-1]

    def _open(self) -> AsyncGenerator[Delivery, None]:
        wanted = self.reader.wanted
        self._subscriber = Subscriber(
            UK,
            cast("Any", self.wire),
            self._directory,
            self._places,
            self._founded.verifier,
            wanted=Filter(labels=wanted.labels, indicator_types=wanted.types),
            skip=(),
            now_ms=self._clock.read,
            evidence=self._founded.folder / "evidence",
        )
        self._stream = self._subscriber.deliveries(None, from_now=False)
        return self._stream

    async def leave(self, *, acknowledging: bool = False) -> None:
        """End the stream in good order: what was in hand comes again, unless it is acknowledged first."""
        if self._stream is None:
            return
        if acknowledging and self._last is not None:
            self._subscriber.acknowledge(self._last)
            self.reader.in_hand = None
        await self._close()
        if self.reader.in_hand is not None:
            self.reader.next = self.reader.in_hand
        self.reader.in_hand = self.reader.message_at = None

    async def vanish(self) -> None:
        """End as a killed process does: it goes on from what was stored, and that is where its last message began."""
        if self._stream is None:
            return
        self._places.closed = True
        await self._close()
        self._places.closed = False
        if self.reader.message_at is not None:
            self.reader.next = self.reader.message_at
        self.reader.in_hand = self.reader.message_at = None

    async def _close(self) -> None:
        stream, self._stream, self._last = self._stream, None, None
        if stream is not None:
            await stream.aclose()

    async def begin_again(self, wanted: Wanted) -> None:
        """Read everything from the first entry, with another filter and an empty look-up."""
        await self._close()
        self._places, self._matcher = Places(), Matcher()
        self.reader = Reader(self.reader.name, wanted)

    def check_lookup(self, value: Value, now_ms: int) -> None:
        """Hold what content of this value matches against the model."""
        kind, data = value
        if kind == 1:  # a PDQ hash of nearly the same picture
            data = bytes([data[0] ^ 0xFF, data[1] ^ 0x0F, *data[2:]])
        for flagged in (False, True):
            matches = self._matcher.match((Indicator(kind, data),), now_ms=now_ms, include_flagged=flagged)
            found = set(map(_known, matches))
            wanted = self.reader.matching(value, now_ms, include_flagged=flagged)
            assert found == wanted, (
                f"in the look-up of {self.reader.name} there is wrongly {found - wanted}, and wrongly not {wanted - found}"
            )

    def check_expiry(self, now_ms: int) -> None:
        """Let the look-up forget what is over."""
        over = [id_ for id_, each in self.reader.known.items() if each.statement.expires_ms <= now_ms]
        for id_ in over:
            self.reader.forget(id_)
        assert self._matcher.expire(now_ms=now_ms) == len(over), "not as many signals are over as there should be"


def _known(match: Match) -> Known:
    thought = match.opinions
    return Known(
        match.signal_id,
        match.publisher,
        match.index,
        match.label,
        match.flagged,
        (thought.positive, thought.seed, thought.negative),
        match.corroboration,
    )


def shown_by(delivery: Delivery) -> Shown:
    """Return a delivery in the model's words."""
    row = KINDS[delivery.kind]
    signals = tuple(
        (each.signal_id, (int(each.indicators[0].type), bytes(each.indicators[0].value))) for each in delivery.signals
    )
    return Shown(delivery.index, row.name, delivery.publisher, delivery.state, signals)
