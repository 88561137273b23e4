"""Pseudonyms under every live epoch of a community, over a ledger that changes and a service that goes away."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence

import pytest

from exchange.codec import kind_of
from exchange.domain.bodies import DataVersion, KeyEpoch, State
from exchange.domain.identifiers import IndicatorType, key_epoch_of
from exchange.domain.key_epochs import KeyEpochs
from exchange.domain.statement import Header
from exchange.errors import OverQuota, Reason, Rejected, Unavailable, VerificationFailed
from exchange.normal.accounts import AccountType, data_versions, normal_account
from exchange.privacy.voprf import Evaluation, EvaluationKey, blind_evaluate
from exchange_client import account_pseudonyms
from exchange_client.account_pseudonyms import READ_AGAIN_MS, AccountPseudonyms

KEYS = {number: EvaluationKey.derive(bytes(32), b"%d" % number) for number in (1, 2)}
BEGINS_MS, YEAR_MS = 1_760_000_000_000, 31_536_000_000
VERSIONS = tuple(DataVersion(name, version) for name, version in sorted(data_versions().items()))
SOMEONE = normal_account(AccountType.EMAIL, "Some.One@gmail.com")
ANOTHER = normal_account(AccountType.PHONE, "+44 7700 900123")


def epoch(number: int, versions: tuple[DataVersion, ...] = VERSIONS) -> KeyEpoch:
    begins = BEGINS_MS + (number - 1) * YEAR_MS // 2
    return KeyEpoch(number, State.ACTIVE, KEYS[number].public_key, begins, begins + YEAR_MS, versions)


class Place:
    """A ledger, a service and a clock."""

    def __init__(self, *bodies: KeyEpoch) -> None:
        self.epochs = KeyEpochs()
        self.now_ms = BEGINS_MS
        self.keys = dict(KEYS)
        self.faults: list[Exception] = []
        self.ledger_away = False
        self.reads = self.asked = 0
        self.say(*bodies)

    def say(self, *bodies: KeyEpoch) -> None:
        for body in bodies:
            self.epochs.apply(0, Header("x/uk", kind_of(body), "oprf", self.now_ms, bytes(16), (), body))

    async def read(self) -> KeyEpochs:
        if self.ledger_away:
            raise Unavailable("away")
        self.reads += 1
        return copy.deepcopy(self.epochs)

    async def evaluate(self, number: int, elements: Sequence[bytes]) -> Evaluation:
        self.asked += 1
        if self.faults:
            raise self.faults.pop(0)
        return blind_evaluate(self.keys[number], elements, os.urandom)

    @property
    def pseudonyms(self) -> AccountPseudonyms:
        return AccountPseudonyms(self.evaluate, self.read, lambda: self.now_ms)


async def test_an_account_has_a_pseudonym_under_each_live_epoch() -> None:
    place = Place(epoch(1), epoch(2))
    async with place.pseudonyms as made:
        (early,) = await made.indicators([SOMEONE])
        place.now_ms = epoch(2).begins_ms
        both = await made.indicators([SOMEONE, ANOTHER, SOMEONE])
        place.now_ms = epoch(1).ends_ms
        (late,) = await made.indicators([SOMEONE])
    assert [key_epoch_of(each.value) for each in both[0]] == [1, 2]
    assert (early, late) == (both[0][:1], both[0][1:])
    assert both[0] == both[2]
    assert len({each.value for indicators in both for each in indicators}) == 4
    assert {each.type for indicators in both for each in indicators} == {IndicatorType.PSEUDONYM}


async def test_a_new_epoch_is_found_while_it_is_open_and_an_ended_one_is_left() -> None:
    place = Place(epoch(1))
    async with place.pseudonyms as made:
        place.say(epoch(2))
        place.now_ms = epoch(2).begins_ms
        (found,) = await made.indicators([SOMEONE])
        assert [key_epoch_of(each.value) for each in found] == [1, 2]
        assert (await made.under(2)).epoch.public_key == KEYS[2].public_key
        place.say(KeyEpoch(1, State.ENDED, KEYS[1].public_key))
        place.now_ms += READ_AGAIN_MS
        (found,) = await made.indicators([SOMEONE])
        assert [key_epoch_of(each.value) for each in found] == [2]
        with pytest.raises(Rejected) as caught:
            await made.under(1)
        assert caught.value.reason is Reason.NOT_FOUND


async def test_where_none_is_live_there_are_no_pseudonyms() -> None:
    place = Place()
    with pytest.raises(Rejected, match="no pseudonym key is live") as caught:
        async with place.pseudonyms:
            pass
    assert caught.value.reason is Reason.NOT_FOUND
    place = Place(epoch(1))
    async with place.pseudonyms as made:
        place.now_ms = epoch(1).ends_ms
        with pytest.raises(Rejected, match="no pseudonym key is live"):
            await made.indicators([SOMEONE])


async def test_a_ledger_that_is_away_stops_nobody_who_knows_a_live_epoch() -> None:
    place = Place(epoch(1))
    async with place.pseudonyms as made:
        await made.indicators([SOMEONE])
        place.ledger_away = True
        place.now_ms += READ_AGAIN_MS
        assert len((await made.indicators([ANOTHER]))[0]) == 1
        place.now_ms = epoch(1).ends_ms
        with pytest.raises(Unavailable):
            await made.indicators([ANOTHER])


async def test_a_service_that_has_not_read_of_a_new_epoch_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment the ledger has an epoch that its service does not evaluate under: no account may be lost to that."""
    monkeypatch.setattr("exchange_client.backoff.FIRST_S", 0.0)
    not_yet = Rejected(Reason.NOT_FOUND, "no such key epoch is live")
    place = Place(epoch(1))
    async with place.pseudonyms as made:
        place.faults = [not_yet, not_yet]
        assert len((await made.indicators([SOMEONE]))[0]) == 1
        place.faults = [not_yet] * account_pseudonyms.ATTEMPTS
        with pytest.raises(Rejected, match="no such key epoch"):
            await made.indicators([ANOTHER])


async def test_an_epoch_that_was_destroyed_since_is_not_waited_for() -> None:
    place = Place(epoch(1), epoch(2))
    place.now_ms = epoch(2).begins_ms
    async with place.pseudonyms as made:
        await made.live()
        place.say(KeyEpoch(1, State.ENDED, KEYS[1].public_key))
        place.faults = [Rejected(Reason.NOT_FOUND, "no such key epoch is live")]
        with pytest.raises(Rejected, match="no such key epoch"):
            await made.indicators([SOMEONE])
        assert place.asked == 1
        assert [key_epoch_of(each.value) for each in (await made.indicators([SOMEONE]))[0]] == [2]


async def test_a_service_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange_client.backoff.FIRST_S", 0.0)
    place = Place(epoch(1))
    place.faults = [Unavailable("away", retry_after_ms=0)] * (account_pseudonyms.ATTEMPTS - 1)
    async with place.pseudonyms as made:
        assert len(await made.indicators([SOMEONE])) == 1
        place.faults = [Unavailable("away", retry_after_ms=0)] * account_pseudonyms.ATTEMPTS
        with pytest.raises(Unavailable, match="away"):
            await made.indicators([ANOTHER])
    assert place.asked == 2 * account_pseudonyms.ATTEMPTS


async def test_whoever_has_no_budget_left_is_told_at_once() -> None:
    place = Place(epoch(1))
    place.faults = [OverQuota("used up", retry_after_ms=60_000)]
    async with place.pseudonyms as made:
        with pytest.raises(OverQuota):
            await made.indicators([SOMEONE])
    assert place.asked == 1


async def test_a_service_with_another_key_is_found_out() -> None:
    place = Place(epoch(1))
    place.keys[1] = KEYS[2]
    async with place.pseudonyms as made:
        with pytest.raises(VerificationFailed):
            await made.indicators([SOMEONE])


async def test_other_versions_than_the_epochs_are_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    others = tuple(DataVersion(v.name, "0.1" if v.name == "phonenumbers" else v.version) for v in VERSIONS)
    with caplog.at_level(logging.WARNING, logger="exchange_client"):
        async with Place(epoch(1)).pseudonyms:
            assert not caplog.records
        async with Place(epoch(1, others)).pseudonyms:
            pass
    (said,) = [record.getMessage() for record in caplog.records]
    assert "key epoch 1 was announced with phonenumbers 0.1" in said
