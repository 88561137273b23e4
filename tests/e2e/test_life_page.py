"""The code of docs/life.md, run as it stands there, between two members over a hub."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from exchange.domain.bodies import DispositionState
from exchange_client import ExchangeClient, ReceivedSignal
from tests.e2e.answers import get
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, World
from tests.e2e.patience import patiently
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "life.md"


def snippet() -> dict[str, Any]:
    """Return what the page's code defines."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), found)
    return found


async def test_the_page_says_what_works(world: World, tmp_path: Path) -> None:
    page = snippet()
    alpha, beta = (client_config(world.exchange, world.app.port, name, tmp_path / name) for name in ("alpha", "beta"))
    removed: list[bytes] = []
    restored = asyncio.Event()
    acted = asyncio.Event()

    async with ExchangeClient(alpha) as a, ExchangeClient(beta) as b:
        async with a.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal(case_ref="T-1042")], timeout_s=TIMEOUT_S)
        id_ = outcome.signal_id
        assert id_ is not None

        async def remove(signal: ReceivedSignal) -> bool:
            if signal.signal_id == id_:
                removed.append(signal.signal_id)
                acted.set()
            return signal.signal_id == id_

        async def restore(signal_id: bytes) -> None:
            assert signal_id == id_
            restored.set()

        receiving = asyncio.create_task(page["receive"](b, UK, remove, restore))
        async with asyncio.timeout(TIMEOUT_S):
            await acted.wait()
            await page["appeal_granted"](a, UK, "T-1042")
            await restored.wait()
            while (await patiently(lambda: a.signal(UK, id_))).dispositions != {DispositionState.REVERSED: 1}:
                await asyncio.sleep(0.05)
        receiving.cancel()
        await asyncio.wait((receiving,))
        assert removed == [id_]
        known = await b.signal(UK, id_)
        assert known.retracted_at is not None
        mine = [debt async for debt in a.debts(UK, member="beta") if debt.signal_id == id_]
        assert [(debt.owes, debt.open, debt.said) for debt in mine] == [(True, False, DispositionState.REVERSED)]
        told = {row.stage for row in (await a.lag(UK)).rows if (row.publisher, row.receiver) == ("alpha", "beta")}
        assert len(told) >= 3
        assert any(row.member == "beta" for row in await a.activity(UK))
    stages = await measured(world)
    assert {("received", ""), ("actioned", "beta"), ("matched", "beta"), ("undone", "beta")} <= stages


async def measured(world: World) -> set[tuple[str, str]]:
    """Return the stages and receivers of the hub's metric of lag."""
    _, page = await get(world.ops_port, "/metrics")
    found = re.findall(r"^signal_exchange_lag_seconds_count\{(.*)\} [1-9]", page.decode(), re.MULTILINE)
    labels = [dict(re.findall(r'(\w+)="([^"]*)"', each)) for each in found]
    return {(each["stage"], each["receiver"]) for each in labels if each["origin"] == UK}
