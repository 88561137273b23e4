"""Everything that an earlier release left is opened by this one, and goes on where it ended: hub, clients, backups, Redis.

The hub was killed, with one statement unsent in alpha's outbox and beta some entries behind. Its clock is long past.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from exchange.domain.identifiers import IndicatorType
from exchange.ops.clocks import wall_ms
from exchange.pseudonyms.budget import Reserved
from exchange.stores.budget_book import BudgetFile
from exchange.stores.epoch_keys import EpochKeys
from exchange_client import AccountIndex, ClientConfig, ExchangeClient, Indicator, MatcherFile
from exchange_client.account_signals import AccountSignals
from exchange_client.outbox import Outbox
from tests.compat.earlier import RELEASES, Earlier
from tests.compat.recording import asked, channel_of
from tests.contract.redis_server import running
from tests.e2e.command_line import DEADLINE_S, lines, run, serve
from tests.e2e.exchange_fixture import free_port
from tests.e2e.sdk_clients import a_signal
from tests.e2e.warm_command_line import Serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", params=RELEASES)
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    """One release's files, which the tests of it share, in this order."""
    return Earlier(request.param, tmp_path_factory.mktemp("earlier") / "place")


@pytest.fixture(scope="module")
def hub(earlier: Earlier) -> Iterator[Serving]:
    """A hub of this release on them."""
    process = serve(earlier.config, "--accept-clock")
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0


def verified(earlier: Earlier, *where: object) -> dict[str, int]:
    """Run `exchange verify`; return each log's size."""
    told = run("verify", *where, "--genesis", earlier.facts["genesis"], "--json")
    assert "FAILED" not in told.stdout
    return {row["origin"]: row["size"] for row in lines(told.stdout) if "size" in row}


def test_what_the_hub_left_verifies(earlier: Earlier) -> None:
    assert verified(earlier, earlier.folder / "hub" / "data")[earlier.origin] == earlier.facts["size"]


async def test_what_was_asked_then_is_answered_now_as_it_was(earlier: Earlier, hub: Serving) -> None:
    for row in earlier.wire:
        channel = channel_of(ClientConfig.load(earlier.client(row["who"])))
        then = earlier.read(row["rpc"], map(bytes.fromhex, row["answers"]))
        entries = len(getattr(then, "entries", ()))
        now = await asked(channel, row["rpc"], bytes.fromhex(row["request"]), until=entries)
        await channel.close()
        assert earlier.read(row["rpc"], now) == then, row["rpc"]


async def test_the_outbox_is_sent_and_publishing_goes_on(earlier: Earlier, hub: Serving) -> None:
    last = earlier.facts["size"] - 1
    async with ExchangeClient(ClientConfig.load(earlier.client("alpha/pipeline"))) as client:
        outbox = Outbox(client._state, earlier.origin)
        assert [each.payload.hex() for each in await outbox.pending()] == earlier.facts["unsent"]
        async with client.publisher(earlier.origin) as publisher:
            (outcome,) = await publisher.publish([a_signal()])
            assert outcome.receipt is not None
            assert await outbox.pending() == []
            assert outcome.receipt.index == last + 2
        assert len(await outbox.signal_ids("T-unsent")) == 1


async def test_a_matcher_and_a_position_go_on_where_they_were(earlier: Earlier, hub: Serving) -> None:
    beta, folder = earlier.facts["beta"], earlier.folder / "beta" / "pipeline"
    config = ClientConfig.load(folder / "client.toml")
    matcher = MatcherFile(folder / "matcher.sqlite")
    accounts = AccountSignals(config.state / "accounts" / "uk.signals.sqlite", earlier.origin)
    assert len(matcher.matcher) == beta["known"]
    (match,) = matcher.matcher.match([Indicator(IndicatorType.IMAGE_SHA256, (8).to_bytes(32, "big"))], now_ms=wall_ms())
    assert (match.publisher, match.signal_id.hex()) == ("alpha", earlier.facts["said"]["signals"][7])
    assert [each.reference for each in matcher.matcher.content_matching([match.signal_id], now_ms=wall_ms())] == [
        "mine"
    ]
    async with ExchangeClient(config) as client:
        for positions in (matcher, accounts, None):
            deliveries = client.subscribe(earlier.origin, positions=positions)
            async with aclosing(deliveries):
                first = await anext(deliveries)
                assert first.index == beta["seen"]
                if positions is matcher:
                    assert matcher.matcher.add(first)
    matcher.close()
    accounts.close()
    index = AccountIndex(config.state / "accounts" / "epoch-1-00.sqlite")
    assert await index.find(bytes.fromhex(beta["pseudonym"])) == ["user-7"]
    index.close()


async def test_a_pseudonym_service_finds_its_keys_and_budgets(earlier: Earlier) -> None:
    folder = earlier.folder / "pseudonyms"
    assert EpochKeys(folder / "keys").load().keys() == {1}
    book = await BudgetFile.open(folder / "data" / "budgets.sqlite")
    assert await book.read(1, "alpha") == Reserved(90, 10, 20_000)
    assert await book.told_through(earlier.origin) == 20_000
    await book.aclose()


def test_a_backup_is_restored_and_added_to(earlier: Earlier, hub: Serving, tmp_path: Path) -> None:
    kept = (earlier.folder / "backup", "--record-keys", earlier.folder / "record-keys")
    elsewhere = tmp_path / "hub"
    shutil.copytree(earlier.config.parent, elsewhere, ignore=shutil.ignore_patterns("logs", "marks", "*.log"))
    (directory, uk) = lines(run("restore", *kept, "--adopt", "--json", "--config", elsewhere / "hub.toml").stdout)
    assert verified(earlier, elsewhere / "data") == {each["origin"]: each["size"] for each in (directory, uk)}
    assert uk["size"] < earlier.facts["size"]
    (added,) = lines(run("backup", *kept, "--json", "--config", earlier.config).stdout)
    assert added["logs"][earlier.origin] >= earlier.facts["size"]


async def test_a_log_in_redis_is_served(earlier: Earlier, tmp_path: Path) -> None:
    async with running(tmp_path / "server") as server:
        for row in json.loads((earlier.folder / "redis.json").read_text()):
            pairs = [bytes.fromhex(part) for pair in row["fields"].items() for part in pair]
            await server.ask("HSET", bytes.fromhex(row["key"]), *pairs)
        shutil.copytree(
            earlier.config.parent, tmp_path / "hub", ignore=shutil.ignore_patterns("logs", "marks", "*.log")
        )
        shutil.copytree(earlier.folder / "bundles", tmp_path / "bundles")
        config = tmp_path / "hub" / "hub.toml"
        config.write_text(
            f'store = "{server.url}"\nbundles = "{tmp_path}/bundles"\n'
            + re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{free_port()}", config.read_text())
        )
        process = await asyncio.to_thread(serve, config, "--accept-clock", "--adopt")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, DEADLINE_S) == 0
        sizes = await asyncio.to_thread(verified, earlier, "--config", config)
        assert earlier.facts["beta"]["seen"] < sizes[earlier.origin] < earlier.facts["size"]
