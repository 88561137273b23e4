"""What the service tells ledgers of its key epochs, and what they may say against them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange.domain.bodies import DataVersion, KeyEpoch, State
from exchange.domain.validation import DAY_MS
from exchange.errors import Unavailable
from exchange.pseudonyms.announcements import Announcements, announcement
from exchange.pseudonyms.epochs import Epoch
from tests.unit.pseudonyms.ledgers import SERVICE, MemoryLedgers

NOW = 1_800_000_000_000
UK, SIDE = "test.exchange/uk", "test.exchange/side"
ONE = Epoch(1, bytes([2]) * 33, NOW - DAY_MS, NOW + DAY_MS, {"unicode": "14", "idna": "3"})
TWO = Epoch(2, bytes([3]) * 33, NOW, NOW + 2 * DAY_MS, {})


@pytest.fixture
def ledgers() -> MemoryLedgers:
    return MemoryLedgers()


def made(ledgers: MemoryLedgers, *communities: str) -> Announcements:
    return Announcements(ledgers, SERVICE, communities or (UK,))


async def test_an_epoch_is_announced_once_in_each_community_and_then_served(ledgers: MemoryLedgers) -> None:
    announcements, own = made(ledgers, UK, SIDE), {2: TWO, 1: ONE}
    assert announcements.served(own, NOW) == {}
    assert not announcements.settled(own, NOW)
    for origin in (UK, SIDE):
        assert [body.number for body in await announcements.tell(origin, own, NOW)] == [1, 2]
        assert await announcements.tell(origin, own, NOW) == []
    assert announcements.served(own, NOW) == own
    assert announcements.settled(own, NOW)
    assert [origin for origin, _ in ledgers.said] == [UK, UK, SIDE, SIDE]
    assert ledgers.said[0][1] == KeyEpoch(
        1,
        State.ACTIVE,
        ONE.public_key,
        ONE.begins_ms,
        ONE.ends_ms,
        (DataVersion("idna", "3"), DataVersion("unicode", "14")),
    )


async def test_what_a_ledger_has_is_not_said_again_after_a_crash(ledgers: MemoryLedgers) -> None:
    await made(ledgers).tell(UK, {1: ONE}, NOW)
    assert await made(ledgers).tell(UK, {1: ONE}, NOW) == []


async def test_what_the_hub_does_not_show_yet_is_not_said_again_and_not_served(ledgers: MemoryLedgers) -> None:
    ledgers.lags = True
    announcements = made(ledgers)
    await announcements.tell(UK, {1: ONE}, NOW)
    assert await announcements.tell(UK, {1: ONE}, NOW) == []
    assert announcements.served({1: ONE}, NOW) == {}
    assert not announcements.settled({1: ONE}, NOW)
    ledgers.show(UK, announcement(ONE))
    await announcements.tell(UK, {1: ONE}, NOW)
    assert announcements.served({1: ONE}, NOW) == {1: ONE}
    assert announcements.settled({1: ONE}, NOW)


async def test_what_did_not_get_through_is_said_again(ledgers: MemoryLedgers) -> None:
    announcements = made(ledgers)
    ledgers.fails = Unavailable("away")
    with pytest.raises(Unavailable):
        await announcements.tell(UK, {1: ONE}, NOW)
    ledgers.fails = None
    assert len(await announcements.tell(UK, {1: ONE}, NOW)) == 1


async def test_a_destroyed_epoch_is_told_and_served_no_more(ledgers: MemoryLedgers) -> None:
    announcements = made(ledgers)
    await announcements.tell(UK, {1: ONE}, NOW)
    gone = {1: replace(ONE, destroyed=True)}
    assert announcements.served(gone, NOW) == {}
    assert await announcements.tell(UK, gone, NOW) == [KeyEpoch(1, State.ENDED, ONE.public_key)]
    assert await announcements.tell(UK, gone, NOW) == []
    assert announcements.settled(gone, NOW)


async def test_an_epoch_that_was_over_before_it_was_announced_is_not(ledgers: MemoryLedgers) -> None:
    over = {1: replace(ONE, ends_ms=NOW), 2: replace(TWO, destroyed=True)}
    assert await made(ledgers).tell(UK, over, NOW) == []


@pytest.mark.parametrize(
    ("shown", "publisher", "own", "words"),
    [
        (replace(ONE, public_key=bytes(33)), SERVICE, {1: ONE}, "another public key"),
        (ONE, "somebody", {1: ONE}, "from somebody"),
        (TWO, SERVICE, {1: ONE}, "never announced, and the ledger has key epoch 2"),
    ],
)
async def test_what_a_ledger_contradicts_is_neither_said_nor_served(
    ledgers: MemoryLedgers, shown: Epoch, publisher: str, own: dict[int, Epoch], words: str
) -> None:
    ledgers.show(UK, announcement(shown), publisher)
    announcements = made(ledgers, UK, SIDE)
    assert await announcements.tell(UK, own, NOW) == []
    assert await announcements.tell(SIDE, own, NOW) != []  # and what one ledger says is enough
    assert announcements.served(own, NOW) == {}
    (against,) = announcements.contradictions(own, NOW).values()
    assert against.startswith(f"{UK}: ")
    assert words in against


async def test_a_key_that_came_back_after_it_was_destroyed_is_not_served(ledgers: MemoryLedgers) -> None:
    announcements = made(ledgers)
    await announcements.tell(UK, {1: ONE}, NOW)
    await announcements.tell(UK, {1: replace(ONE, destroyed=True)}, NOW)
    await announcements.tell(UK, {1: ONE}, NOW)
    assert announcements.served({1: ONE}, NOW) == {}
    assert "destroyed, but here it is" in announcements.contradictions({1: ONE}, NOW)[1]


async def test_a_lost_key_is_missed_until_it_is_buried_and_the_ledger_told(ledgers: MemoryLedgers) -> None:
    await made(ledgers).tell(UK, {1: ONE}, NOW)
    announcements = made(ledgers)
    assert await announcements.tell(UK, {}, NOW) == []
    assert announcements.missing({}, NOW) == [1]
    assert announcements.missing({}, ONE.ends_ms) == []
    buried = {1: Epoch(1, b"", 0, 0, {}, destroyed=True)}
    assert await announcements.tell(UK, buried, NOW) == [KeyEpoch(1, State.ENDED, ONE.public_key)]
    assert announcements.missing(buried, NOW) == []
    assert announcements.contradictions(buried, NOW) == {}


async def test_another_services_epochs_are_not_missed(ledgers: MemoryLedgers) -> None:
    ledgers.show(UK, announcement(ONE), "somebody")
    announcements = made(ledgers)
    await announcements.tell(UK, {}, NOW)
    assert announcements.missing({}, NOW) == []
