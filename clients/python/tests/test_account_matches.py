"""Live signals against a platform's own accounts, in both directions, over a feed that breaks off and a process that dies."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import DAY_MS, START_MS, UK, FakeHub, client_of, signed
from clients.python.tests.fake_service import KEY, OTHER, Service, email
from clients.python.tests.speech import delivery, header_body, received, sha, statement
from exchange import codec
from exchange.domain.bodies import Audience, SignalHeader
from exchange.domain.identifiers import IndicatorType, pseudonym_value
from exchange.domain.kinds import Kind
from exchange.domain.statement import Header, signal_ids
from exchange.errors import Fatal, Reason
from exchange.privacy.voprf import Evaluation
from exchange_client import AccountIndexes, AccountMatches, AccountSignals, Own
from exchange_client.jsonl import naming_to_json
from exchange_client.pseudonyms import EpochKey, Pseudonyms
from exchange_client.records import Indicator, Record

ONE, TWO = EpochKey(1, KEY.public_key), EpochKey(2, OTHER.public_key)


async def pseudonym(epoch: EpochKey, text: str) -> bytes:
    """A pseudonym as a signal has it."""
    (output,) = await Pseudonyms(evaluate, epoch).of([email(text)])  # in threads: its processes are not started
    return pseudonym_value(epoch.number, output)


async def evaluate(epoch: int, elements: Sequence[bytes]) -> Evaluation:
    service = Service(KEY if epoch == 1 else OTHER)
    return await Service.evaluate(service, 1, elements)


def say(hub: FakeHub, *values: bytes, member: str = "alpha", days: float = 1, replaces: Sequence[bytes] = ()) -> bytes:
    """Commit a signal that names these; return its id."""
    indicators = tuple(Indicator(IndicatorType.PSEUDONYM, value) for value in values)
    records = (codec.encode_record(Record(secrets.token_bytes(16), indicators)),)
    body = header_body(
        indicator_types=(IndicatorType.PSEUDONYM,),
        expires_at_ms=hub.now + int(days * DAY_MS),
        replaces=tuple(replaces),
    )
    (signal_id,) = signal_ids(UK, member, records)
    header = Header(UK, Kind.SIGNAL, member, hub.now, secrets.token_bytes(16), (signal_id,), body)
    hub.commit(signed(header, hub.keys[member], records=records))
    return signal_id


class Platform:
    """Beta, with its files."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.client, self.transport = client_of(hub, folder / "beta", "beta")
        self.indexes = AccountIndexes(folder / "accounts")
        self.signals = AccountSignals(folder / "accounts" / "uk.signals.sqlite", UK)

    async def own(self, epoch: EpochKey, *texts: str) -> None:
        accounts = [Own(text.partition("@")[0], email(text)) for text in texts]
        await self.indexes.under(Pseudonyms(evaluate, epoch)).insert(accounts)

    async def check(self) -> list[tuple[str, bytes]]:
        """What a whole check finds."""
        matches = AccountMatches(self.client, self.signals, self.indexes)
        await matches.catch_up()
        found = [each async for page in matches.known(now_ms=self.hub.now) for each in page]
        return [(match.reference, match.signal.signal_id) for match in found]

    def close(self) -> None:
        self.indexes.close()
        self.signals.close()


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
async def beta(hub: FakeHub, tmp_path: Path) -> AsyncIterator[Platform]:
    platform = Platform(hub, tmp_path)
    async with platform.client:
        yield platform
    platform.close()


async def test_accounts_are_found_whichever_came_first(hub: FakeHub, beta: Platform) -> None:
    known, later = await pseudonym(ONE, "known@example.org"), await pseudonym(ONE, "later@example.org")
    await beta.own(ONE, "known@example.org", "unnamed@example.org")
    first, second = say(hub, known), say(hub, later)
    assert await beta.check() == [("known", first)]
    await beta.own(ONE, "later@example.org")  # its signal was read long ago
    assert await beta.check() == [("known", first), ("later", second)]
    third = say(hub, later, known)
    assert await beta.check() == [("known", first), ("later", second), ("known", third), ("later", third)]


async def test_one_account_under_two_epochs_is_one_match(hub: FakeHub, beta: Platform) -> None:
    values = [await pseudonym(epoch, "known@example.org") for epoch in (ONE, TWO)]
    old, both = say(hub, values[0]), say(hub, *values)
    await beta.own(TWO, "known@example.org")
    assert await beta.check() == [("known", both)]
    await beta.own(ONE, "known@example.org")
    assert await beta.check() == [("known", old), ("known", both)]


async def test_what_is_over_replaced_or_removed_matches_nothing(hub: FakeHub, beta: Platform) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    short, wrong, other = say(hub, value, days=0.5), say(hub, value), say(hub, value, member="beta")
    assert [signal_id for _, signal_id in await beta.check()] == [short, wrong, other]
    right = say(hub, value, replaces=[wrong, other])  # beta's is not alpha's to replace
    assert [signal_id for _, signal_id in await beta.check()] == [short, other, right]
    hub.now += DAY_MS // 2
    assert [signal_id for _, signal_id in await beta.check()] == [other, right]
    hub.now += DAY_MS // 2
    assert await beta.check() == []


async def test_a_repeat_does_not_bring_back_what_was_replaced(tmp_path: Path) -> None:
    signals = AccountSignals(tmp_path / "uk.signals.sqlite", UK)
    wrong = received(Indicator(IndicatorType.PSEUDONYM, pseudonym_value(1, bytes(32))))
    for taken in (delivery(wrong), delivery(received(sha()), replaces=(wrong.signal_id,)), delivery(wrong)):
        signals.take(taken)
        await signals._store(None)
    assert await signals.naming([wrong.indicators[0].value], now_ms=START_MS) == []
    signals.close()


async def test_the_sign_up_of_an_account_is_asked_about(hub: FakeHub, beta: Platform) -> None:
    value = await pseudonym(ONE, "known@example.org")
    first = say(hub, value)
    say(hub, await pseudonym(ONE, "other@example.org"))
    await AccountMatches(beta.client, beta.signals, beta.indexes).catch_up()
    (found,) = await beta.signals.naming([value, bytes(36)], now_ms=hub.now)
    assert (found.signal_id, found.publisher, found.pseudonyms) == (first, "alpha", (value,))
    assert naming_to_json(found) == {
        "signal_id": first.hex(),
        "index": 0,
        "publisher": "alpha",
        "label": "harassment_targeted",
        "severity": "severe",
        "confidence": "high",
        "handling": "amber",
        "expires_at_ms": hub.now + DAY_MS,
        "target_class": None,
        "source_action": None,
    }
    assert await beta.signals.naming([value], now_ms=hub.now + DAY_MS) == []


async def test_what_arrives_is_matched_as_it_comes(hub: FakeHub, beta: Platform) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    say(hub, value)
    matches = AccountMatches(beta.client, beta.signals, beta.indexes)
    await matches.catch_up()
    async with asyncio.timeout(20), aclosing(matches.arriving(now_ms=lambda: hub.now)) as arriving:
        coming = asyncio.ensure_future(anext(arriving))
        hub.commit(statement(hub))
        say(hub, await pseudonym(ONE, "other@example.org"))
        new = say(hub, value)
        assert [(match.reference, match.signal.signal_id) for match in await coming] == [("known", new)]
        # An epoch whose index is made meanwhile, by another process too, is asked from then on.
        elsewhere = AccountIndexes(beta.indexes.folder)
        await elsewhere.under(Pseudonyms(evaluate, TWO)).insert([Own("later", email("later@example.org"))])
        elsewhere.close()
        say(hub, await pseudonym(TWO, "later@example.org"))
        assert [match.reference for match in await anext(arriving)] == ["later"]


async def test_whoever_follows_for_long_keeps_no_more_than_is_live(hub: FakeHub, beta: Platform) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    say(hub, value, days=0.5)
    matches = AccountMatches(beta.client, beta.signals, beta.indexes)
    async with asyncio.timeout(20), aclosing(matches.arriving(now_ms=lambda: hub.now)) as arriving:
        await anext(arriving)
        await beta.signals._store(None)
        hub.now += DAY_MS
        new = say(hub, value)
        await anext(arriving)
        await beta.signals._store(None)
        assert [signal_id for _, signal_id in await _live(beta.signals, FakeHub())] == [new]


async def test_the_position_never_passes_what_is_on_disk(hub: FakeHub, beta: Platform, tmp_path: Path) -> None:
    """A process that dies anywhere reads again what it had not stored, and misses nothing."""
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    ids = [say(hub, value) for _ in range(7)]
    matches = AccountMatches(beta.client, beta.signals, beta.indexes)
    arriving = matches.arriving(now_ms=lambda: hub.now)
    for _ in range(5):
        await anext(arriving)
    beta.close()  # dies: what it had taken is in memory alone, and can be stored no more
    await arriving.aclose()
    again = Platform(hub, tmp_path)
    position = await again.signals.load(UK)
    stored = position.range.size if position else 0
    assert stored < 7
    assert [signal_id for _, signal_id in await _live(again.signals, hub)] == ids[:stored]
    async with again.client:
        assert [signal_id for _, signal_id in await again.check()] == ids
    again.close()


async def test_the_clients_own_position_is_left_alone(hub: FakeHub, beta: Platform) -> None:
    say(hub, bytes(36))
    assert await beta.check() == []
    async with asyncio.timeout(5), aclosing(beta.client.subscribe(UK)) as deliveries:
        assert (await anext(deliveries)).index == 0


async def _live(signals: AccountSignals, hub: FakeHub) -> list[tuple[str, bytes]]:
    return [("", each.signal_id) async for page in signals.live(now_ms=hub.now) for each in page]


async def test_a_check_that_is_up_to_date_asks_for_no_stream(hub: FakeHub, beta: Platform) -> None:
    say(hub, bytes(36))
    assert await beta.check() == []
    assert len(beta.transport.subscriptions) == 1
    assert await beta.check() == []
    assert len(beta.transport.subscriptions) == 1
    hub.commit(statement(hub))
    await beta.check()
    assert [cursor for cursor, _ in beta.transport.subscriptions] == [0, 1]


async def test_what_was_told_is_known_until_it_is_over(hub: FakeHub, beta: Platform) -> None:
    value = await pseudonym(ONE, "known@example.org")
    await beta.own(ONE, "known@example.org")
    say(hub, value)
    pairs = {(signal_id, reference) for reference, signal_id in await beta.check()}
    assert await beta.signals.untold(pairs) == pairs
    await beta.signals.tell(pairs)
    assert await beta.signals.untold(pairs) == set()
    await beta.signals.forget_told(["known"])
    assert await beta.signals.untold(pairs) == pairs
    assert not any(b"known" in path.read_bytes() for path in beta.folder.glob("accounts/uk.signals*"))


async def test_many_signals_are_read_in_pages(tmp_path: Path) -> None:
    signals = AccountSignals(tmp_path / "uk.signals.sqlite", UK)
    count = 2_500
    for index in range(count):
        value = pseudonym_value(1, index.to_bytes(32, "big"))
        signals.take(delivery(received(Indicator(IndicatorType.PSEUDONYM, value)), index=index // 3))
    await signals._store(None)
    pages = [page async for page in signals.live(now_ms=START_MS)]
    assert [len(page) for page in pages] == [1_000, 1_000, 500]
    assert len({each.signal_id for page in pages for each in page}) == count
    places = [(each.index, each.signal_id) for page in pages for each in page]
    assert places == sorted(places)
    signals.close()


def test_a_file_is_one_communitys(tmp_path: Path) -> None:
    AccountSignals(tmp_path / "signals.sqlite", UK).close()
    with pytest.raises(Fatal, match="another community") as caught:
        AccountSignals(tmp_path / "signals.sqlite", "test.exchange/side")
    assert caught.value.reason is Reason.CONFIG


def test_headers_that_say_no_signal_and_restricted_ones_are_passed_over(tmp_path: Path) -> None:
    signals = AccountSignals(tmp_path / "signals.sqlite", UK)
    assert signals.take(delivery(audience=Audience.RESTRICTED)) == []
    assert signals.take(delivery(received(sha()))) == []
    taken = delivery(received(sha()))
    assert isinstance(taken.header.body, SignalHeader)
    assert signals.take(replace(taken, header=replace(taken.header, body=None))) == []
    signals.close()
