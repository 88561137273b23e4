"""The SDK against a real hub over mTLS: publish, follow, resume, match, and refuse to be lied to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import sys
from pathlib import Path

import pytest

from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Role
from exchange.domain.labels import Label
from exchange.errors import CursorAboveSize, Denied, InvalidStatement, Rejected, Unavailable, VerificationFailed
from exchange.ledger.merkle import leaf_hash
from exchange.ops.clocks import wall_ms
from exchange_client import (
    ClientConfig,
    Delivery,
    ExchangeClient,
    Filter,
    Indicator,
    Matcher,
)
from tests.e2e import sdk_clients
from tests.e2e.exchange_fixture import DIRECTORY, NAME, UK, World, free_port
from tests.e2e.sdk_clients import a_signal

pytestmark = pytest.mark.e2e

DEADLINE_S = 20.0


def client_config(
    world: World, member: str, state: Path, role: Role = Role.PIPELINE, **changes: object
) -> ClientConfig:
    return sdk_clients.client_config(world.exchange, world.app.port, member, state, role, **changes)


async def take(client: ExchangeClient, count: int, **options: object) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(DEADLINE_S):
        async with contextlib.aclosing(client.subscribe(UK, **options)) as stream:  # type: ignore[arg-type]
            async for delivery in stream:
                found.append(delivery)
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


async def test_what_one_publishes_the_other_gets_verified(world: World, tmp_path: Path) -> None:
    alpha, beta = client_config(world, "alpha", tmp_path / "a"), client_config(world, "beta", tmp_path / "b")
    expires_at_ms = wall_ms() + 86_400_000
    signals = [a_signal(case_ref=f"c{n}", expires_at_ms=expires_at_ms) for n in range(5)]
    async with ExchangeClient(alpha) as a, a.publisher(UK) as publisher:
        outcomes = await publisher.publish(signals, timeout_s=DEADLINE_S)
        assert all(outcome.error is None for outcome in outcomes)
        receipt = outcomes[0].receipt
        assert receipt is not None
        await a.check_included(UK, receipt.index, leaf_hash(receipt.leaf))
        assert await publisher.outbox.signal_ids("c3") == [outcomes[3].signal_id]
        assert await publisher.outbox.pending() == []
        assert len(await publisher.outbox.kept()) == 1
        assert receipt.tlog_proof().startswith(b"c2sp.org/tlog-proof@v1\n")
    async with ExchangeClient(beta) as b:
        (delivery,) = await take(b, 1, cursor=receipt.index)
        assert delivery.covered
        assert [s.case_ref for s in delivery.signals] == ["c0", "c1", "c2", "c3", "c4"]
        assert [s.signal_id for s in delivery.signals] == [o.signal_id for o in outcomes]
        matcher = Matcher()
        matcher.add(delivery)
        (match,) = matcher.match(signals[2].indicators, now_ms=wall_ms())
        assert (match.publisher, match.distance, match.signal_id) == ("alpha", 0, outcomes[2].signal_id)
        assert matcher.match([Indicator(IndicatorType.IMAGE_SHA256, bytes(32))], now_ms=wall_ms()) == []


async def test_a_subscriber_goes_on_where_it_ended(world: World, tmp_path: Path) -> None:
    alpha, gamma = client_config(world, "alpha", tmp_path / "a"), client_config(world, "gamma", tmp_path / "g")
    async with ExchangeClient(alpha) as a, a.publisher(UK) as publisher:
        for _ in range(3):
            await publisher.publish([a_signal()], timeout_s=DEADLINE_S)
        size = (await a.checkpoint(UK)).size
    async with ExchangeClient(gamma) as g:
        first = await take(g, size)
        assert [d.index for d in first] == list(range(size))
    async with ExchangeClient(alpha) as a, a.publisher(UK) as publisher:
        await publisher.publish([a_signal(case_ref="later")], timeout_s=DEADLINE_S)
    async with ExchangeClient(gamma) as g:
        again = await take(g, 1)
        # At least once: what was handed over last may come again, nothing is missed.
        assert again[0].index <= size
        assert (await take(g, 1, cursor=size))[0].signals[0].case_ref == "later"


async def test_one_bad_signal_in_a_bulk_does_not_stop_the_others(world: World, tmp_path: Path) -> None:
    bad = a_signal(indicators=(Indicator(IndicatorType.IMAGE_SHA256, b"short"),), case_ref="bad")
    routed = a_signal(label=Label.CHILD_SAFETY_CSAM, case_ref="routed")
    signals = [a_signal(case_ref="1"), bad, a_signal(case_ref="2"), routed, a_signal(audience=())]
    async with ExchangeClient(client_config(world, "alpha", tmp_path)) as a, a.publisher(UK) as publisher:
        outcomes = await publisher.publish(signals, timeout_s=DEADLINE_S)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, False, False]
    assert isinstance(outcomes[1].error, InvalidStatement)
    assert "NCMEC" in (outcomes[3].error.hint if outcomes[3].error else "")


async def test_restricted_signals_reach_their_audience_only(world: World, tmp_path: Path) -> None:
    secret = a_signal(audience=("beta",), case_ref="for beta")
    async with ExchangeClient(client_config(world, "alpha", tmp_path / "a")) as a, a.publisher(UK) as publisher:
        (outcome,) = await publisher.publish([secret], timeout_s=DEADLINE_S)
        assert outcome.receipt is not None
    index = outcome.receipt.index
    for member, state in (("beta", "present"), ("gamma", "not_for_you"), ("alpha", "present")):
        async with ExchangeClient(client_config(world, member, tmp_path / f"r-{member}")) as client:
            (delivery,) = await take(client, 1, cursor=index)
            assert delivery.state == state, member


async def test_a_filter_leaves_leaves(world: World, tmp_path: Path) -> None:
    async with ExchangeClient(client_config(world, "alpha", tmp_path / "a")) as a, a.publisher(UK) as publisher:
        (spam,) = await publisher.publish([a_signal(label=Label.MISLEADING_SPAM)], timeout_s=DEADLINE_S)
        await publisher.publish([a_signal(label=Label.MISLEADING_SCAM)], timeout_s=DEADLINE_S)
        assert spam.receipt is not None
    async with ExchangeClient(client_config(world, "beta", tmp_path / "b")) as b:
        wanted = Filter(labels=frozenset({Label.MISLEADING_SCAM}))
        first, second = await take(b, 2, cursor=spam.receipt.index, wanted=wanted)
    assert (first.state, second.state) == ("not_for_you", "present")


async def test_errors_come_typed(world: World, tmp_path: Path) -> None:
    config = client_config(world, "beta", tmp_path)
    async with ExchangeClient(config) as b:
        size = (await b.checkpoint(UK)).size
        with pytest.raises(CursorAboveSize) as above:
            await take(b, 1, cursor=size + 5)
        assert above.value.sealed_size >= size
        with pytest.raises(Rejected):
            await take_from(b, f"{NAME}/nowhere")
        with pytest.raises(Rejected):
            await b.open_publisher(DIRECTORY)
    async with ExchangeClient(dataclasses.replace(config, addresses=(f"localhost:{free_port()}",))) as nobody:
        with pytest.raises(Unavailable) as away:
            await nobody.who_am_i()
        assert "handshake" in away.value.hint
    wrong = dataclasses.replace(config, genesis=hashlib.sha256(b"other").digest(), state=tmp_path / "other")
    async with ExchangeClient(wrong) as lied_to:
        with pytest.raises(VerificationFailed):
            await lied_to.directory()


async def take_from(client: ExchangeClient, origin: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        async with contextlib.aclosing(client.subscribe(origin)) as stream:
            async for _ in stream:
                return


async def test_an_authority_may_not_publish_signals(world: World, tmp_path: Path) -> None:
    config = client_config(world, "police", tmp_path, Role.AUTHORITY)
    async with ExchangeClient(config) as police, police.publisher(UK) as publisher:
        (outcome,) = await publisher.publish([a_signal()], timeout_s=DEADLINE_S)
    assert isinstance(outcome.error, Denied)
    assert outcome.receipt is None


async def test_the_outbox_is_sent_by_the_next_run(world: World, tmp_path: Path) -> None:
    config = client_config(world, "alpha", tmp_path)
    away = dataclasses.replace(config, addresses=(f"localhost:{free_port()}",))
    async with ExchangeClient(config) as a:
        await a.directory()
        publisher = await a.open_publisher(UK)
        publisher._transport = type(a._transport)(
            away, a._identity
        )  # the hub goes away between reading the directory and now
        async with publisher:
            with pytest.raises(TimeoutError):
                await publisher.publish([a_signal(case_ref="kept")], timeout_s=0.5)
        assert len(await publisher.outbox.pending()) == 1
        await publisher._transport.aclose()
    async with ExchangeClient(config) as a, a.publisher(UK) as publisher:
        async with asyncio.timeout(DEADLINE_S):
            await publisher.settled()
        assert await publisher.outbox.pending() == []
        size = (await a.checkpoint(UK)).size
    async with ExchangeClient(client_config(world, "beta", tmp_path / "b")) as b:
        (delivery,) = await take(b, 1, cursor=size - 1)
        assert delivery.signals[0].case_ref == "kept"


async def test_the_blocking_face_does_the_same(world: World, tmp_path: Path) -> None:
    config = client_config(world, "alpha", tmp_path / "a")

    # One event loop a process for grpc.aio: the blocking face has its own, so it runs in a child here.
    script = (
        "import sys; sys.path.insert(0, {root!r})\n"
        "from pathlib import Path\n"
        "from exchange_client import ClientConfig, Indicator, Signal, SyncExchangeClient\n"
        "from exchange.domain.labels import Label\n"
        "config = ClientConfig.load(Path({path!r}))\n"
        "with SyncExchangeClient(config) as client:\n"
        "    signal = Signal(Label.MISLEADING_SPAM, (Indicator(5, bytes(range(32))),), {expiry})\n"
        "    (outcome,) = client.publish({uk!r}, [signal], timeout_s=20)\n"
        "    stream = client.subscribe({uk!r}, cursor=outcome.receipt.index)\n"
        "    assert next(stream).index == outcome.receipt.index\n"
        "    stream.close()\n"
        "    print(client.who_am_i().member)\n"
    )
    path = tmp_path / "a" / "client.toml"
    path.write_text(_toml(config))
    root = str(Path(__file__).resolve().parents[2])
    text = script.format(root=root, path=str(path), uk=UK, expiry=wall_ms() + 86_400_000)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await child.communicate()
    assert out.decode().strip() == "alpha", err.decode()


def _toml(config: ClientConfig) -> str:
    rows = {
        "exchange": config.exchange,
        "member": config.member,
        "role": config.role,
        "certificate": config.certificate,
        "key": config.key,
        "authority": config.authority,
        "signing_key": config.signing_key,
        "genesis": config.genesis.hex(),
        "state": config.state,
    }
    return f'addresses = ["{config.addresses[0]}"]\n' + "".join(f'{key} = "{value}"\n' for key, value in rows.items())


async def test_an_expired_statement_that_is_in_the_ledger_gets_its_receipt_again(world: World, tmp_path: Path) -> None:
    config = client_config(world, "alpha", tmp_path)
    async with ExchangeClient(config) as a, a.publisher(UK) as publisher:
        signal = a_signal(expires_at_ms=wall_ms() + 1_500)
        (outcome,) = await publisher.publish([signal], timeout_s=DEADLINE_S)
        assert outcome.receipt is not None
        (kept,) = await publisher.outbox.kept()
        async with asyncio.timeout(DEADLINE_S):
            while wall_ms() <= signal.expires_at_ms:
                await asyncio.sleep(0.05)
            again = await publisher.submit(dataclasses.replace(kept, resubmission=True))
            assert (again.index, again.repeated) == (outcome.receipt.index, True)
            with pytest.raises(Rejected):
                await publisher.submit(dataclasses.replace(kept, resubmission=True, records=(b"\x0a\x10" + bytes(16),)))


async def test_a_subscriber_of_the_directory_misses_nothing(world: World, tmp_path: Path) -> None:
    """The reader that checks keys and a subscriber have places of their own."""
    async with ExchangeClient(client_config(world, "beta", tmp_path)) as b:
        size = (await b.directory()).size
        found: list[int] = []
        async with asyncio.timeout(DEADLINE_S), contextlib.aclosing(b.subscribe(DIRECTORY)) as stream:
            async for delivery in stream:
                found.append(delivery.index)
                if len(found) == size:
                    break
    assert found == list(range(size))


async def test_what_a_client_keeps_is_its_own(world: World, tmp_path: Path) -> None:
    config = client_config(world, "alpha", tmp_path)
    async with ExchangeClient(config) as a, a.publisher(UK) as publisher:
        await publisher.publish([a_signal()], timeout_s=DEADLINE_S)
        for file in config.state.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file
    for file in (world.exchange.folder / "data" / "logs" / "uk").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
