"""The SDK and its certificate against a real hub: renewed while streams are live, with nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exchange.ops.certificates import Files
from exchange_client import ClientConfig, ExchangeClient, backoff, client, identity
from tests.e2e.certificates import forge
from tests.e2e.exchange_fixture import NAME, UK, World
from tests.e2e.sdk_clients import a_signal, client_config
from tests.waits import until

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
#: A certificate's life, and one that the test waits for from its beginning to its end.
LIFE_S, SHORT_LIFE_S = 20, 12


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates of seconds want looks of tenths, and early renewals: most of a life is a slow machine's margin."""
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(identity, "RENEW_AFTER", 0.2)
    monkeypatch.setattr(identity, "FIRST_PAUSE_S", 0.5)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.5)


def uri(member: str) -> str:
    return f"spiffe://{NAME}/member/{member}/pipeline"


def short_lived(world: World, member: str, folder: Path, *, seconds: float) -> ClientConfig:
    """A client whose certificate ends soon, in files of its own."""
    config = client_config(world.exchange, world.app.port, member, folder)
    config = replace(config, certificate=folder / "client.pem", key=folder / "client-key.pem")
    put(config, forge(world.exchange.pki, [uri(member)], begin=timedelta(seconds=-1), end=timedelta(seconds=seconds)))
    return config


def put(config: ClientConfig, files: Files) -> None:
    for source, target in ((files.certificate, config.certificate), (files.key, config.key)):
        target.write_bytes(source.read_bytes())


def renewing(config: ClientConfig, world: World, member: str, *, seconds: float, fail_first: Path) -> ClientConfig:
    command = (
        sys.executable, "-m", "tests.e2e.renew_certificate", str(world.exchange.pki), uri(member),
        "--seconds", str(seconds), "--fail-first", str(fail_first),
    )  # fmt: skip
    return replace(config, renew_command=command)


@contextlib.asynccontextmanager
async def following(reader: ExchangeClient, found: list[int], *, cursor: int) -> AsyncIterator[None]:
    """Collect indices for as long as the context lasts; raise what the subscription met."""

    async def follow() -> None:
        async with contextlib.aclosing(reader.subscribe(UK, cursor=cursor)) as stream:
            async for delivery in stream:
                found.append(delivery.index)  # noqa: PERF401 - others look at it meanwhile

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_streams_outlive_certificate_after_certificate(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A command renews for both; the first certificates end for real, and the hub would cut whoever still showed one."""
    caplog.set_level(logging.INFO, "exchange_client")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))))
    configs = [
        renewing(
            short_lived(world, member, tmp_path / member, seconds=LIFE_S),
            world,
            member,
            seconds=LIFE_S,
            fail_first=tmp_path / f"{member}.failed",
        )
        for member in ("alpha", "beta")
    ]
    size = (await world.heads())[UK].sealed.size
    found: list[int] = []
    receipts: list[int] = []
    async with ExchangeClient(configs[0]) as a, ExchangeClient(configs[1]) as b, a.publisher(UK) as publisher:
        first_end = max(a.identity.not_after, b.identity.not_after)
        async with following(b, found, cursor=size):
            async with asyncio.timeout(DEADLINE_S):
                while min(a.identity.renewals, b.identity.renewals) < 3 or datetime.now(UTC) <= first_end:
                    (outcome,) = await publisher.publish([a_signal()])
                    assert outcome.error is None, outcome.error
                    assert outcome.receipt is not None
                    assert not outcome.receipt.repeated
                    receipts.append(outcome.receipt.index)
                    await asyncio.sleep(0.02)
            await until(lambda: len(found) >= len(receipts))
        await until(lambda: not a.identity.overdue)  # the next renewal may be due at this very moment
        assert a.identity.problem == ""
    assert found == receipts == list(range(size, size + len(receipts)))
    assert (tmp_path / "alpha.failed").exists()
    said = [record.getMessage() for record in caplog.records if record.name == "exchange_client"]
    assert sum("a new certificate is in use" in line for line in said) >= 6
    # No stream was ended by the hub, or by a failure: each was moved in time.
    assert [line for line in said if "was cut" in line or "broke off" in line or "refused" in line] == []


async def test_what_somebody_else_replaces_moves_streams_and_new_calls(world: World, tmp_path: Path) -> None:
    config = short_lived(world, "gamma", tmp_path, seconds=3_600)
    size = (await world.heads())[UK].sealed.size
    found: list[int] = []
    async with ExchangeClient(config) as g, g.publisher(UK) as publisher, following(g, found, cursor=size):
        (first,) = await publisher.publish([a_signal()])
        await until(lambda: len(found) == 1)
        old = g._transport._connections._present
        assert old is not None
        await until(lambda: old.users == 2)  # a short call may be under way
        put(config, forge(world.exchange.pki, [uri("gamma")], end=timedelta(days=7)))
        await until(lambda: g.identity.renewals == 1 and old.users == 0)
        (second,) = await publisher.publish([a_signal()])
        await until(lambda: len(found) == 2)
        new = g._transport._connections._present
        assert new is not None
        assert new is not old
        await until(lambda: new.users == 2)
        assert (await g.who_am_i()).member == "gamma"
    assert first.receipt is not None
    assert second.receipt is not None
    assert found == [first.receipt.index, second.receipt.index]


async def test_a_certificate_that_nobody_renewed_in_time_is_waited_for(world: World, tmp_path: Path) -> None:
    config = short_lived(world, "beta", tmp_path, seconds=SHORT_LIFE_S)
    size = (await world.heads())[UK].sealed.size
    found: list[int] = []
    async with ExchangeClient(config) as b, b.publisher(UK) as publisher, following(b, found, cursor=size):
        await publisher.publish([a_signal()])
        await until(lambda: len(found) == 1)
        old = b._transport._connections._present
        assert old is not None
        await until(lambda: b.identity.overdue)
        await until(lambda: "no newer certificate" in b.identity.problem)
        # The hub cuts both streams when the certificate has ended.
        await until(lambda: old.users == 0)
        late = asyncio.create_task(publisher.publish([a_signal()]))
        put(config, forge(world.exchange.pki, [uri("beta")], end=timedelta(days=7)))
        async with asyncio.timeout(DEADLINE_S):
            (outcome,) = await late
        assert outcome.error is None
        await until(lambda: len(found) == 2)
    assert found == [size, size + 1]
