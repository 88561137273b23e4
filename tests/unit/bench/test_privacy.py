"""The attacks of the privacy benchmark in a tiny space: each comes to what it must, and the page says what was found."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import phonenumbers
import pytest

from exchange.normal.accounts import normal_account
from exchange.privacy.voprf import EvaluationKey, blind, blind_evaluate, finalize
from exchange.pseudonyms.budget import Terms
from exchange.pseudonyms.epochs import LIFE_DAYS
from tests.bench.privacy.__main__ import MEMBERS, Plan, rates, reversal, wrong
from tests.bench.privacy.attacks import asking, in_an_epochs_life, keyed, service, with_the_services_key
from tests.bench.privacy.page import lasting, page
from tests.bench.privacy.spaces import spaces
from tests.unit.builders import ALPHA

DOCS = Path(__file__).parents[3] / "docs"
TINY = Plan(shared=4, range=150, budget=70, fast=200, slow=20, repetitions=1)


@pytest.mark.parametrize("name", spaces())
def test_each_candidate_is_a_normal_form_and_another_one(name: str) -> None:
    space = spaces()[name]
    source = random.Random(name)
    numbers = [0, space.size - 1, *(source.randrange(space.size) for _ in range(200))]
    for number in numbers:
        text = space.at(number).decode()
        assert normal_account(space.type, text).text == text
    together = range(space.size - 20_000, space.size)
    assert len(set(space.inputs(together))) == len(together)
    (account,) = space.accounts(range(7, 8))
    assert [account.to_bytes()] == list(space.inputs(range(7, 8)))


def test_every_number_is_a_mobile_one_and_none_is_left_out() -> None:
    space, source = spaces()["phone"], random.Random(5)

    def is_mobile(text: str) -> bool:
        return phonenumbers.number_type(phonenumbers.parse(text)) == phonenumbers.PhoneNumberType.MOBILE

    assert all(is_mobile(space.at(source.randrange(space.size)).decode()) for _ in range(500))
    drawn = [is_mobile(f"+447{source.randrange(10**9):09}") for _ in range(4_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(space.size / 10**9, abs=0.04)


def test_values_are_what_is_shared() -> None:
    key, said = EvaluationKey.generate(os.urandom), b"signal-exchange/account/1\0phone\0+447700900123"
    blinds = blind([said], os.urandom)
    evaluation = blind_evaluate(key, [each.element for each in blinds], os.urandom)
    assert finalize(blinds, evaluation, key.public_key) == (with_the_services_key(key)(said),)
    assert keyed(b"k" * 32, b"before ")(said) == hmac.digest(b"k" * 32, b"before " + said, hashlib.sha256)


async def test_each_attack_comes_to_what_it_must(tmp_path: Path) -> None:
    found = {"reversal": await reversal(TINY, spaces()["phone"], tmp_path)}
    assert wrong(found) == []
    for at, attack in enumerate(found["reversal"]["attacks"]):
        for change in ({"tried": attack["tried"] + 1}, {"found": TINY.shared + 1}, {"who": "nobody"}):
            other = deepcopy(found)
            other["reversal"]["attacks"][at] |= change
            may_be_any = attack["who"] == "member, with its budget" and "found" in change
            assert bool(wrong(other)) is not may_be_any


async def test_a_member_tests_what_its_budget_gives_and_finds_what_lies_in_it(tmp_path: Path) -> None:
    key, phones = EvaluationKey.generate(os.urandom), spaces()["phone"]
    inputs = list(phones.inputs(range(60)))
    shared = {with_the_services_key(key)(inputs[at]) for at in (3, 42, 43, 59)}
    async with service(tmp_path, key, Terms(40, 3), ALPHA.workload) as pseudonyms:
        attack = await asking(phones.accounts(range(60)), pseudonyms, shared)
    assert attack.tested == 43
    assert attack.found == {inputs[3], inputs[42]}


async def test_a_life_gives_the_users_once_and_each_days_increment(tmp_path: Path) -> None:
    # An epoch that begins at noon touches one day more than it is long.
    assert await in_an_epochs_life(tmp_path, Terms(5_000, 100)) == 5_000 + (LIFE_DAYS + 1) * 100


def test_everything_that_the_page_tells_is_measured() -> None:
    taken = rates(TINY, spaces())
    assert taken.keys() == kept()["rates"].keys()
    assert min(taken.values()) > 0
    assert taken["phone.plain"] > taken["phone.offline"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "0.50 seconds"), (119, "119 seconds"), (120, "2.00 minutes"), (9e8, "28.5 years")]
)
def test_times_are_told_as_people_say_them(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "privacy.json").read_text())
    return found


def test_the_page_says_what_its_figures_say() -> None:
    found = kept()
    assert (DOCS / "privacy.md").read_text() == page(found)
    assert wrong(found) == []
    for name, space in spaces().items():
        # The numbering plan changes every fortnight, by little.
        assert found["spaces"][name]["size"] == pytest.approx(space.size, rel=0.02)
    for who, terms in MEMBERS.items():
        said = found["members"][who]
        assert (said["users"], said["daily"]) == (terms.users, terms.daily)
        assert said["evaluations"] == terms.users + (LIFE_DAYS + 1) * terms.daily
    other = deepcopy(found)
    other["rates"]["phone.offline"] = [1.0]
    assert page(other) != page(found)
