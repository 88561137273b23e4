"""What ends, flags or releases signals takes effect at whoever keeps them, in whatever order it came, and stays so."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import OPERATOR, START_MS, UK, FakeHub, signed
from clients.python.tests.speech import delivery, received
from clients.python.tests.test_account_matches import ONE, Platform, pseudonym, say
from exchange import codec
from exchange.domain.bodies import (
    Body,
    Erasure,
    ErasureReason,
    Opinion,
    OpinionCategory,
    OpinionReason,
    Quarantine,
    QuarantineReason,
    Release,
    Retraction,
    RetractionReason,
)
from exchange.domain.identifiers import IndicatorType, pseudonym_value
from exchange.domain.statement import Header
from exchange_client import AccountMatches, AccountSignals, Delivery, Indicator, Signals
from exchange_client.following import Ended, Flagged, Released, effect_of

VALUE = pseudonym_value(1, bytes(32))


def tell(hub: FakeHub, body: Body, by: str = "op") -> None:
    """Commit something that is said about signals."""
    key = OPERATOR if by == "op" else hub.keys[by]
    header = Header(UK, codec.kind_of(body), by, hub.now, secrets.token_bytes(16), (), body)
    hub.commit(signed(header, key))


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
async def beta(hub: FakeHub, tmp_path: Path) -> AsyncIterator[Platform]:
    platform = Platform(hub, tmp_path)
    async with platform.client:
        yield platform
    platform.close()


async def test_what_its_publisher_or_an_operator_takes_back_matches_nothing(hub: FakeHub, beta: Platform) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    first, second, third, fourth = (say(hub, value) for _ in range(4))
    tell(hub, Retraction((first,), RetractionReason.ERROR), by="alpha")
    tell(hub, Erasure((second,), ErasureReason.ON_REQUEST), by="alpha")
    tell(hub, Retraction((third,), RetractionReason.LEGAL))
    tell(hub, Retraction((fourth,), RetractionReason.ERROR), by="beta")  # not beta's to take back
    assert await beta.check() == [("known", fourth)]


async def test_quarantine_holds_back_until_release_also_over_a_restart(
    hub: FakeHub, beta: Platform, tmp_path: Path
) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    before, flagged, others = say(hub, value), say(hub, value), say(hub, value, member="beta")
    tell(hub, Quarantine("alpha", 1, QuarantineReason.BURST))
    later = say(hub, value)
    assert await beta.check() == [("known", before), ("known", others)]
    assert [each.signal_id for each in await beta.signals.naming([value], now_ms=hub.now)] == [before, others]
    beta.close()
    again = Platform(hub, tmp_path)
    async with again.client:
        assert await again.check() == [("known", before), ("known", others)]
        tell(hub, Release("alpha"))
        assert await again.check() == [("known", each) for each in (before, flagged, others, later)]
    again.close()


async def test_what_arrives_is_matched_when_it_is_released_and_not_when_it_is_ended(
    hub: FakeHub, beta: Platform
) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    matches = AccountMatches(beta.client, beta.signals, beta.indexes)
    async with asyncio.timeout(20), aclosing(matches.arriving(now_ms=lambda: hub.now)) as arriving:

        async def next_ids() -> list[bytes]:
            return [match.signal.signal_id for match in await anext(arriving)]

        tell(hub, Quarantine("alpha", 0, QuarantineReason.CANARY))
        held, wrong = say(hub, value), say(hub, value)
        tell(hub, Retraction((wrong,), RetractionReason.ERROR), by="alpha")
        others = say(hub, value, member="beta")
        assert await next_ids() == [others]
        tell(hub, Release("alpha"))
        assert await next_ids() == [held]
        after = say(hub, value)
        assert await next_ids() == [after]


def _said(body: Body, *, publisher: str = "alpha", by_operators: bool = False) -> Delivery:
    header = Header(UK, codec.kind_of(body), publisher, START_MS, bytes(16), (), body)
    return Delivery(UK, 0, b"", START_MS, False, header, "present", Signals(), START_MS, True, by_operators)


@pytest.mark.parametrize("by", ["alpha", "op"])
async def test_the_end_of_a_signal_counts_also_where_the_signal_comes_later(tmp_path: Path, by: str) -> None:
    signal = received(Indicator(IndicatorType.PSEUDONYM, VALUE))
    end = _said(Retraction((signal.signal_id,), RetractionReason.ERROR), publisher=by, by_operators=by == "op")
    signals = AccountSignals(tmp_path / "uk.signals.sqlite", UK)
    assert await signals.follow(end) == []
    signals.close()
    again = AccountSignals(tmp_path / "uk.signals.sqlite", UK)
    assert await again.follow(delivery(signal, index=5)) == []
    await again._store(None)
    assert await again.naming([VALUE], now_ms=START_MS) == []
    again.close()


async def test_every_order_of_a_signal_and_what_is_said_of_it_comes_to_the_same(tmp_path: Path) -> None:
    signal = received(Indicator(IndicatorType.PSEUDONYM, VALUE))
    ours = _said(Retraction((signal.signal_id,), RetractionReason.ERROR))
    theirs = replace(ours, header=replace(ours.header, publisher="beta"))
    for number, order in enumerate(itertools.permutations([delivery(signal), delivery(signal, index=4), ours, theirs])):
        signals = AccountSignals(tmp_path / f"{number}.sqlite", UK)
        for each in order:
            await signals.follow(each)
        await signals._store(None)
        assert await signals.naming([VALUE], now_ms=START_MS) == [], order
        signals.close()
    signals = AccountSignals(tmp_path / "theirs.sqlite", UK)
    for each in (theirs, delivery(signal)):
        await signals.follow(each)
    await signals._store(None)
    assert len(await signals.naming([VALUE], now_ms=START_MS)) == 1
    signals.close()


def test_what_each_kind_does() -> None:
    one, two = b"1" * 32, b"2" * 32
    said = (
        delivery(replaces=(one,)),
        delivery(),
        _said(Retraction((one, two), RetractionReason.ERROR)),
        _said(Erasure((one,), ErasureReason.ERROR), publisher="op", by_operators=True),
        _said(Quarantine("beta", 7, QuarantineReason.BURST), publisher="op"),
        _said(Release("beta"), publisher="op", by_operators=True),
        _said(Opinion((one, two), OpinionCategory.NEGATIVE_CLASS, OpinionReason.REVIEWED), publisher="beta"),
    )
    assert [effect_of(each) for each in said] == [
        Ended(UK, (one,), "alpha"),
        None,
        Ended(UK, (one, two), "alpha"),
        Ended(UK, (one,), ""),
        Flagged(UK, "beta", 7),
        Released(UK, "beta"),
        None,
    ]
    assert Ended(UK, (one,), "").ends("alpha")
    assert not Ended(UK, (one,), "beta").ends("alpha")
