"""A hub that starts from a snapshot of its directory: the same hub, sooner, and no trust in what nothing binds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal as signals
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.domain.bodies import Key, Quota, State
from exchange.domain.kinds import Kind, Role
from exchange.errors import Reason, Rejected
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.snapshot import Snapshot
from exchange.stores.folders import read_key
from exchange.views.keeper import LEAST_GROWTH
from tests.e2e.child_hub import ChildHub
from tests.e2e.drafts import Draft, signal
from tests.e2e.exchange_fixture import DIRECTORY, OPERATOR, TIMEOUT_S, UK, Exchange

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
async def stopped(tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    """An exchange whose directory is long enough for a snapshot, which is there. Its hub was killed."""
    child = await ChildHub.start(await Exchange.found(tmp_path_factory.mktemp("exchange")))
    await child.populate()
    operator = child.party(OPERATOR, Role.OPERATOR)
    drafts = (
        Draft(DIRECTORY, OPERATOR, Kind.QUOTA, Quota("alpha", 600_000, 300_000, at)) for at in range(LEAST_GROWTH)
    )
    results = await operator.stream([draft.sign(operator.key) for draft in drafts])
    assert all(result.HasField("receipt") for result in results)
    await renewed(child.exchange)
    return await ended(child)


@pytest.fixture
def exchange(stopped: Exchange, tmp_path: Path) -> Exchange:
    """A copy of it."""
    shutil.copytree(stopped.folder, tmp_path / "copy")
    return replace(stopped, folder=tmp_path / "copy", keys=dict(stopped.keys))


def snapshot_path(exchange: Exchange) -> Path:
    return exchange.folders.fold("directory", "directory")


def log_key(exchange: Exchange) -> SigningKey:
    return read_key(exchange.folders.key("directory"))


def events(hub: ChildHub, name: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in hub.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


async def started(exchange: Exchange) -> ChildHub:
    (exchange.folder / "hub.log").unlink()
    return await ChildHub.start(exchange)


async def renewed(exchange: Exchange) -> Snapshot:
    """Wait for a snapshot that is as it should be, and return it."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with contextlib.suppress(FileNotFoundError, Rejected):
                return Snapshot.opened(snapshot_path(exchange).read_bytes(), log_key(exchange).public_key)
            await asyncio.sleep(0.05)


async def checked(hub: ChildHub) -> int:
    """Wait until the hub has read its whole directory again; return the size of the snapshot that was right."""
    async with asyncio.timeout(TIMEOUT_S):
        while not (found := events(hub, "snapshot_checked")):
            await asyncio.sleep(0.05)
    return int(found[0]["size"])


async def ended(hub: ChildHub) -> Exchange:
    hub.send(signals.SIGKILL)
    await hub.ended()
    await hub.aclose()
    return hub.exchange


async def test_a_killed_hub_starts_from_its_snapshot_and_goes_on(exchange: Exchange) -> None:
    first = await ChildHub.start(exchange)
    late, ended_key = SigningKey(bytes(range(32))), exchange.keys["beta", Role.PIPELINE]
    await first.registrar.say(Key("alpha", Role.PIPELINE, late.public_key, State.ACTIVE))
    await first.registrar.say(Key("beta", Role.PIPELINE, ended_key.public_key, State.ENDED))
    await ended(first)
    size = (await renewed(exchange)).size
    second = await started(exchange)
    try:
        assert await checked(second) == size
        assert events(second, "snapshot_ignored") == []
        exchange.keys["alpha", Role.PIPELINE] = late
        assert (await second.party("alpha").publish(signal("alpha", UK))).index == 0
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await second.party("beta").publish(signal("beta", UK))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED, "what was revoked after the snapshot"
    finally:
        await second.aclose()


@pytest.mark.parametrize("how", ["damaged", "of another key", "gone"])
async def test_a_snapshot_that_is_no_good_costs_time_only(exchange: Exchange, how: str) -> None:
    path = snapshot_path(exchange)
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "damaged":
        path.write_bytes(data.replace(b'"alpha"', b'"alphq"'))
    else:
        path.write_bytes(Snapshot.opened(data, log_key(exchange).public_key).sealed(SigningKey(bytes(32))))
    hub = await started(exchange)
    try:
        assert bool(events(hub, "snapshot_ignored")) == (how != "gone")
        assert (await hub.party("alpha").publish(signal("alpha", UK))).index == 0
        assert b'"alphq"' not in (await renewed(exchange)).rows
    finally:
        await hub.aclose()


async def test_a_signed_lie_ends_the_hub_and_is_thrown_away(exchange: Exchange) -> None:
    path, key = snapshot_path(exchange), log_key(exchange)
    true = Snapshot.opened(path.read_bytes(), key.public_key)
    stolen = SigningKey(b"s" * 32).public_key.hex()
    lie = json.dumps(["key", "alpha", int(Role.PIPELINE), stolen, 3, None], separators=(",", ":")).encode()
    path.write_bytes(replace(true, rows=true.rows + b"\n" + lie).sealed(key))
    (exchange.folder / "hub.log").unlink()
    first = await ChildHub.launch(exchange)
    assert (await first._line()).startswith("port "), "the lie is signed: it is found out by reading everything"
    assert (await first._line()).startswith(f"error {Reason.CORRUPT} ")
    assert await first.ended() == 1
    await first.aclose()
    assert not path.exists()
    second = await started(exchange)
    try:
        assert events(second, "snapshot_ignored") == []
        assert stolen.encode() not in (await renewed(exchange)).rows
        assert (await second.party("alpha").publish(signal("alpha", UK))).index == 0
    finally:
        await second.aclose()
