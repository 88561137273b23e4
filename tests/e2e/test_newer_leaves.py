"""A log that a later release has written to: this one serves it, folds it, verifies it and adds to it.

What it does not know (a kind, a field, a label, a type, a reason) it keeps and hands on, and judges nothing by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from exchange import codec
from exchange.domain.bodies import Member, Retraction
from exchange.domain.identifiers import IndicatorType, Origin
from exchange.domain.kinds import Kind, MemberClass, Role
from exchange.domain.policy import Workload
from exchange.domain.statement import statement_id
from exchange.opening import Judging, Memory, Room, at_once, open_log
from exchange.ops.clocks import monotonic_ms, wall_ms
from exchange.publish.clock import WatchedClock
from exchange.publish.intake import Candidate
from exchange.v1 import statement_pb2 as pb
from exchange_client import Delivery, ExchangeClient, Indicator, Matcher
from tests.e2e.command_line import run
from tests.e2e.drafts import Draft, record, signal
from tests.e2e.exchange_fixture import DIRECTORY, OPERATOR, UK, Exchange, LocalHub, open_world
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

#: A field with a number that no message has, and a text in it.
ADDED = b"\xba\x3e\x05later"


def later(draft: Draft, **changes: int) -> bytes:
    """Return a draft's header with what only a later release says: another kind, or a field more in header and body."""
    header = pb.Header.FromString(draft.payload())
    for name, value in changes.items():
        part = header.retraction if name == "reason" else header.signal if name == "label" else header
        setattr(part, name, value)
    if header.HasField("signal"):
        header.signal.MergeFromString(ADDED)
    header.MergeFromString(ADDED)
    return header.SerializeToString()


async def write(
    exchange: Exchange, origin: str, directory_size: int, said: Sequence[tuple[str, Role, pb.Statement]]
) -> None:
    """Write to a log of an exchange whose hub is stopped, asking nobody whether this may be said."""
    parsed = Origin.parse(origin)
    assert parsed is not None
    opened = await open_log(
        exchange.folders,
        parsed,
        Judging(lambda _: directory_size, at_once, len(said)),
        WatchedClock(wall_ms, monotonic_ms),
        lambda: 0.0,
        memory=Memory(Room(0, 0)),
        adopt=False,
        committed=lambda _: None,
    )
    task = asyncio.create_task(opened.log.sequencer.run())
    for member, role, message in said:
        statement = codec.statement_from_wire(message)
        header = codec.decode_header(statement.payload, strict=False)
        id_ = statement_id(statement.payload)
        await opened.log.sequencer.offer(Candidate(id_, statement, header, Workload(member, role), (), late=False))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await opened.aclose()


async def received(client: ExchangeClient, size: int) -> list[Delivery]:
    """Return the first entries of the community, each verified, and their root."""
    found: list[Delivery] = []
    deliveries = client.subscribe(UK, cursor=0)
    async with aclosing(deliveries):
        async for delivery in deliveries:
            found.append(delivery)
            if len(found) == size:
                return found
    raise AssertionError


async def test_what_only_a_later_release_knows_is_kept_served_and_verified(tmp_path: Path) -> None:
    world = await open_world(tmp_path / "world")
    exchange, alpha, operator = world.exchange, world.party("alpha"), world.operator
    known = await alpha.publish(signal("alpha", UK))
    size = (await world.heads())[DIRECTORY].sealed.size
    first_id = codec.decode_sequenced(known.leaf).header.signal_ids[0]
    await world.aclose()

    said = [
        (signal("alpha", UK, records=()), {"kind": 99}),
        (signal("alpha", UK, records=(record(b"7" * 32) + ADDED,)), {}),
        (signal("alpha", UK, records=(record(b"8" * 32, 77),), indicator_types=(77,)), {"label": 9_999}),
        (Draft(UK, "alpha", Kind.RETRACTION, Retraction((first_id,), 1)), {"reason": 99}),
    ]
    statements = [draft.sign(alpha.key, payload=later(draft, **changes)) for draft, changes in said]
    await write(exchange, UK, size, [("alpha", Role.PIPELINE, each) for each in statements])
    renamed = Draft(DIRECTORY, OPERATOR, Kind.MEMBER, Member("delta", "Delta", MemberClass.PLATFORM, (Role.PIPELINE,)))
    unheard = operator.key, later(renamed, kind=98)
    await write(exchange, DIRECTORY, size, [(OPERATOR, Role.OPERATOR, renamed.sign(unheard[0], payload=unheard[1]))])

    hub = await LocalHub().start(exchange.config())
    try:
        folder = tmp_path / "clients"
        async with ExchangeClient(client_config(exchange, hub.port, "beta", folder / "beta")) as beta:
            plain, kind, fields, label, reason = await received(beta, 5)
            assert [each.signals != () for each in (plain, kind, fields, label, reason)] == [
                True,
                False,
                True,
                True,
                False,
            ]
            assert (kind.kind, kind.header.body) == (99, None)
            assert fields.signals[0].indicators[0].value == b"7" * 32
            assert label.signal is not None
            assert (label.signal.label, label.signals[0].indicators[0].type) == (9_999, 77)
            assert isinstance(reason.header.body, Retraction)
            directory = await beta.directory()
            assert (directory.size, "delta" in directory.members) == (size + 1, False)
            matcher = Matcher()
            for each in (plain, kind, fields, label, reason):
                matcher.add(each)
            assert matcher.match([Indicator(IndicatorType.PDQ, b"7" * 32)], now_ms=wall_ms())
            report = await beta.signal(UK, first_id)
            assert report.retracted_at == reason.index
        async with (
            ExchangeClient(client_config(exchange, hub.port, "alpha", folder / "alpha")) as client,
            client.publisher(UK) as publisher,
        ):
            (outcome,) = await publisher.publish([a_signal()])
            assert outcome.receipt is not None
            assert outcome.receipt.index == 5
    finally:
        await hub.stop()
    told = await asyncio.to_thread(run, "verify", exchange.folder / "data", "--genesis", exchange.pin.hex())
    assert "FAILED" not in told.stdout
