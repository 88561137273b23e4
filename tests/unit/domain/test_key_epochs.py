"""The fold of a community's key epochs, its rows, and what the pseudonym service may say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exchange.codec_bodies import kind_of
from exchange.domain.bodies import (
    Body,
    Budget,
    BudgetTotal,
    DataVersion,
    KeyEpoch,
    State,
)
from exchange.domain.key_epochs import (
    MAX_DESTROYED,
    MAX_LIFE_DAYS,
    MAX_STANDING,
    MAX_STEP,
    KeyEpochs,
    validate_budget,
    validate_key_epoch,
)
from exchange.domain.statement import Header
from exchange.domain.validation import DAY_MS
from exchange.errors import InvalidStatement
from tests.unit.builders import NOW_MS, UK, digest, signal_body

SERVICE, OTHER = "pseudonyms.example", "other.example"
KEY = b"\x02" + digest("a point")


def announced(number: int = 1, **changes: Any) -> KeyEpoch:
    begins_ms = NOW_MS + number * 300 * DAY_MS
    made = KeyEpoch(
        number, State.ACTIVE, KEY, begins_ms, begins_ms + 365 * DAY_MS, (DataVersion("phonenumbers", "9.0.19"),)
    )
    return replace(made, **changes)


def ended(number: int = 1, **changes: Any) -> KeyEpoch:
    return replace(KeyEpoch(number, State.ENDED, KEY), **changes)


def said(body: Body | None, by: str = SERVICE) -> Header:
    kind = 1 if body is None else kind_of(body)
    return Header(UK, kind, by, NOW_MS, digest(repr(body), 16), (), body)


def folded(*headers: Header) -> KeyEpochs:
    epochs = KeyEpochs()
    for index, header in enumerate(headers):
        epochs.apply(index, header)
    return epochs


def test_an_epoch_is_live_between_its_times() -> None:
    epochs = folded(said(signal_body()), said(announced(1)), said(announced(2)))
    entry = epochs.entries[1]
    assert (entry.publisher, entry.announced_at, entry.destroyed_at) == (SERVICE, 1, None)
    begins, ends, next_begins = entry.epoch.begins_ms, entry.epoch.ends_ms, epochs.entries[2].epoch.begins_ms
    at = {begins - 1: [], begins: [1], next_begins - 1: [1], next_begins: [1, 2], ends - 1: [1, 2], ends: [2]}
    assert {now: [each.epoch.number for each in epochs.live(now)] for now in at} == at
    assert epochs.ends_of_live(begins) == {1: ends}


def test_what_is_destroyed_is_live_no_more() -> None:
    epochs = folded(said(announced(1)), said(ended(1)))
    assert epochs.entries[1].destroyed_at == 1
    assert not epochs.live(announced(1).begins_ms)
    assert list(epochs.told_at()) == [0, 1]


@pytest.mark.parametrize(
    "second",
    [
        said(announced(1, public_key=b"\x03" + digest("another"))),
        said(announced(1), OTHER),
        said(ended(1), OTHER),
        said(ended(1, public_key=b"\x03" + digest("another"))),
        said(ended(2)),
        said(announced(0)),
        said(announced(2, state=0)),
    ],
    ids=["same number", "by another", "ended by another", "ended with another key", "unknown", "zero", "no state"],
)
def test_the_first_announcement_wins_and_only_its_publisher_ends_it(second: Header) -> None:
    once, twice = folded(said(announced(1))), folded(said(announced(1)), second)
    assert twice.entries == once.entries


def test_an_older_number_comes_too_late() -> None:
    assert list(folded(said(announced(3)), said(announced(2))).entries) == [3]


def violations(check: Callable[[], None]) -> set[str]:
    with pytest.raises(InvalidStatement) as caught:
        check()
    return {violation.field for violation in caught.value.violations}


def test_a_good_announcement_and_a_good_end_are_let_in() -> None:
    epochs = folded(said(announced(1)))
    validate_key_epoch(said(announced(2)), announced(2), epochs)
    validate_key_epoch(said(ended(1)), ended(1), epochs)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (announced(1), "number"),
        (announced(2 + MAX_STEP), "number"),
        (announced(2, public_key=b"\x02"), "public_key"),
        (announced(2, ends_ms=0), "ends_ms"),
        (announced(2, begins_ms=0), "ends_ms"),
        (announced(2, ends_ms=announced(2).begins_ms + MAX_LIFE_DAYS * DAY_MS + 1), "ends_ms"),
        (announced(2, begins_ms=announced(1).begins_ms), "begins_ms"),
        (announced(2, data_versions=(DataVersion("b", "1"), DataVersion("a", "1"))), "data_versions"),
        (announced(2, data_versions=(DataVersion("a", "1"), DataVersion("a", "2"))), "data_versions"),
        (announced(2, data_versions=(DataVersion("a", "some@one"),)), "data_versions"),
        (announced(2, data_versions=tuple(DataVersion(f"{n:02}", "1") for n in range(17))), "data_versions"),
        (announced(2, state=0), "state"),
        (ended(2), "number"),
        (ended(1, public_key=b"\x03" + digest("another")), "number"),
        (ended(1, begins_ms=1), ""),
    ],
)
def test_what_the_service_may_not_say_of_an_epoch(body: KeyEpoch, where: str) -> None:
    epochs = folded(said(announced(1)))
    found = violations(lambda: validate_key_epoch(said(body), body, epochs))
    assert ("key_epoch." + where).rstrip(".") in found


def test_another_publisher_cannot_end_it() -> None:
    epochs = folded(said(announced(1)))
    assert violations(lambda: validate_key_epoch(said(ended(1), OTHER), ended(1), epochs)) == {"key_epoch.number"}


def test_what_was_announced_by_mistake_or_with_a_stolen_key_is_ended_and_gone_past() -> None:
    far = announced(MAX_STEP, begins_ms=1 << 62, ends_ms=(1 << 62) + 1)
    validate_key_epoch(said(far), far, KeyEpochs())
    following = announced(MAX_STEP + 1, begins_ms=NOW_MS, ends_ms=NOW_MS + DAY_MS)
    stuck = folded(said(far))
    assert violations(lambda: validate_key_epoch(said(following), following, stuck)) == {"key_epoch.begins_ms"}
    validate_key_epoch(said(following, OTHER), following, stuck)
    end = ended(MAX_STEP)
    validate_key_epoch(said(end), end, stuck)
    validate_key_epoch(said(following), following, folded(said(far), said(end)))


def test_a_publisher_fills_no_more_than_its_own_place() -> None:
    many = folded(*(said(announced(number)) for number in range(1, 3 * MAX_STANDING)))
    assert list(many.entries) == list(range(1, MAX_STANDING + 1))
    following = announced(many.newest + 1)
    assert violations(lambda: validate_key_epoch(said(following), following, many)) == {"key_epoch"}
    validate_key_epoch(said(following, OTHER), following, many)
    many.apply(100, said(following, OTHER))
    assert many.entries[following.number].publisher == OTHER


def test_of_what_is_destroyed_the_newest_are_remembered_and_no_number_comes_again() -> None:
    epochs = KeyEpochs()
    last = 3 * MAX_DESTROYED
    for number in range(1, last + 1):
        for body in (announced(number), ended(number)):
            validate_key_epoch(said(body), body, epochs)
            epochs.apply(number, said(body))
    assert list(epochs.entries) == list(range(last - MAX_DESTROYED + 1, last + 1))
    assert len(list(epochs.told_at())) == 2 * MAX_DESTROYED
    epochs.apply(last + 1, said(announced(1)))
    assert 1 not in epochs.entries
    assert epochs.newest == last


TODAY = NOW_MS // DAY_MS
TOTALS = (BudgetTotal("alpha", 1, 1_000), BudgetTotal("alpha", 2, 1_000), BudgetTotal("beta", 1, 5_000))


def test_a_good_budget_is_let_in() -> None:
    body = Budget(TODAY - 1, TOTALS)
    validate_budget(said(body), body, {"alpha", "beta"}, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (Budget(TODAY, TOTALS), "day"),
        (Budget(0, TOTALS), "day"),
        (Budget(TODAY - 1, ()), "totals"),
        (Budget(TODAY - 1, TOTALS[::-1]), "totals"),
        (Budget(TODAY - 1, TOTALS[:1] * 2), "totals"),
        (Budget(TODAY - 1, (BudgetTotal("nobody", 1, 1_000),)), "totals"),
        (Budget(TODAY - 1, (BudgetTotal("alpha", 0, 1_000),)), "totals"),
        (Budget(TODAY - 1, (BudgetTotal("alpha", 1, 0),)), "totals"),
        (Budget(TODAY - 1, tuple(BudgetTotal("alpha", 1 + n, 1_000) for n in range(1_001))), "totals"),
    ],
)
def test_what_the_service_may_not_say_of_a_day(body: Budget, where: str) -> None:
    found = violations(lambda: validate_budget(said(body), body, {"alpha", "beta"}, now_ms=NOW_MS))
    assert found == {f"budget.{where}"}
