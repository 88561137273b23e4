"""The blocking face: one loop on one thread, and nothing hangs when it closes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from concurrent import futures
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, FakeTransport, client_of
from clients.python.tests.speech import signal
from clients.python.tests.test_account_pseudonyms import ANOTHER, SOMEONE, Place, epoch
from exchange.errors import VerificationFailed
from exchange_client import AccountPseudonyms, ClientConfig, SyncExchangeClient, client


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def config(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientConfig:
    made, _ = client_of(hub, tmp_path)
    monkeypatch.setattr(client, "Transport", lambda config, identity: FakeTransport(hub))
    monkeypatch.setattr(client.ExchangeClient.__init__, "__kwdefaults__", {"now_ms": lambda: hub.now, "renew": None})
    config: ClientConfig = made._config
    return config


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "exchange-client"]


def test_it_publishes_and_reads(config: ClientConfig, hub: FakeHub) -> None:
    with SyncExchangeClient(config) as blocking:
        assert blocking.identity.renewals == 0
        outcomes = blocking.publish(UK, [signal("a"), signal("b")], timeout_s=5)
        assert [o.error for o in outcomes] == [None, None]
        blocking.publish(UK, [signal("c")])
        stream = blocking.subscribe(UK)
        assert [[s.case_ref for s in next(stream).signals] for _ in range(2)] == [["a", "b"], ["c"]]
        assert "alpha" in blocking.directory().members
    # What was still open is closed with it, and the iterator ends.
    assert list(stream) == []
    assert threads() == []


def test_an_error_comes_through_and_the_rest_goes_on(config: ClientConfig, hub: FakeHub) -> None:
    with SyncExchangeClient(config) as blocking:
        with pytest.raises(VerificationFailed):
            hub.uk.append(b"\xff")
            next(blocking.subscribe(UK))
        assert blocking.publish(UK, [signal()])[0].receipt is not None


def test_an_interrupted_wait_takes_its_work_with_it(
    config: ClientConfig, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SyncExchangeClient(config) as blocking:
        blocking.publish(UK, [signal("a")])
        stream = blocking.subscribe(UK)
        assert next(stream).index == 0
        honest = futures.Future.result

        def interrupted(self: Any, timeout: float | None = None) -> Any:
            monkeypatch.setattr(futures.Future, "result", honest)
            raise KeyboardInterrupt

        monkeypatch.setattr(futures.Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert list(stream) == []
        assert next(blocking.subscribe(UK, cursor=0)).index == 0
    assert threads() == []


def test_a_client_that_cannot_start_leaves_no_thread(config: ClientConfig, tmp_path: Path) -> None:
    (config.state).mkdir(exist_ok=True)
    (config.state / "client.sqlite").write_bytes(b"no database" * 99)
    with pytest.raises(Exception, match="database"), SyncExchangeClient(config):
        pass
    assert threads() == []


def test_accounts_become_indicators_through_one_connection(
    config: ClientConfig, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    @asynccontextmanager
    async def pseudonyms(_: object, origin: str) -> AsyncIterator[AccountPseudonyms]:
        opened.append(origin)
        async with Place(epoch(1)).pseudonyms as making:
            yield making
        opened.append("closed")

    monkeypatch.setattr(client.ExchangeClient, "pseudonyms", pseudonyms)
    with SyncExchangeClient(config) as blocking:
        first = blocking.indicators(UK, [SOMEONE, ANOTHER])
        assert blocking.indicators(UK, [ANOTHER]) == first[1:]
        assert [len(each) for each in first] == [1, 1]
        assert opened == [UK]
    assert opened == [UK, "closed"]
    assert threads() == []
