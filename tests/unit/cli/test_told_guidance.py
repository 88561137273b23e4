"""What the guide takes from a ledger: profiles of those who may speak, and times only where there is enough to tell."""

from __future__ import annotations

import zlib
from datetime import date
from typing import Any

import pytest

from exchange.cli.told_guidance import Spoken, check_letters, check_standing, measured_of, shown
from exchange.domain.bodies import State, Suspension
from exchange.domain.guidance import guidance_of, validate_guidance
from exchange.domain.guidance_body import Guidance
from exchange.domain.lag import LEAST_MEASURED, Stage
from exchange.domain.statement import Leaf
from exchange.errors import InvalidStatement, Rejected
from exchange.guide.facts import plain
from exchange.guide.pdf import letters_lacking
from exchange.guide.whole import Entry, Measured
from exchange.ports import LagRow
from exchange_client.verify import VerifiedEntry
from tests.unit.builders import (
    ALPHA_LIAISON,
    BETA_LIAISON,
    NOW_MS,
    OPERATOR,
    Actor,
    community_header,
    make_directory,
    tell,
)
from tests.unit.guide.example import TODAY, fact, profile

DAYS = (date(2026, 6, 3), date(2026, 11, 29))
DIRECTORY = make_directory()


def row(receiver: str, *counts: int, stage: int = Stage.ACTIONED) -> LagRow:
    return LagRow(stage, "alpha", receiver, 0, counts)


def test_a_measured_time_is_an_upper_bound_of_enough_cases() -> None:
    assert measured_of([], "beta", *DAYS) is None
    assert measured_of([row("beta", 0, 0, 0, LEAST_MEASURED - 1)], "beta", *DAYS) is None
    rows = [row("beta", 0, 0, 0, LEAST_MEASURED - 2), row("beta", 0, 0, 0, 0, 0, 5)]
    assert measured_of(rows, "beta", *DAYS) == Measured(LEAST_MEASURED, 8, 32, *DAYS)


def test_what_others_took_and_what_else_it_did_does_not_count() -> None:
    rows = [row("beta", 0, 0, 0, 100), row("gamma", 200), row("beta", 200, stage=Stage.MATCHED)]
    assert measured_of(rows, "beta", *DAYS) == Measured(100, 8, 8, *DAYS)


def body(version: int, member: str = "", **changes: Any) -> Guidance:
    return guidance_of(plain(profile(version=version, **changes)), member)


def spoken(*said: tuple[Guidance, Actor]) -> Spoken:
    found = Spoken()
    for index, (each, by) in enumerate(said):
        header = community_header(each, by)
        leaf = Leaf(index, NOW_MS + index, late=False, directory_size=1, payload=b"", signatures=())
        found.take([VerifiedEntry(b"", leaf, header, (), by_operators=False)], DIRECTORY)
    return found


def test_who_is_not_a_platform_does_not_speak_for_it_whatever_a_hub_has_taken() -> None:
    found = spoken(
        (body(1, "alpha"), OPERATOR),
        (body(2, "beta", name="Send your password here"), BETA_LIAISON),
        (body(3, "alpha", name="Nor like this"), BETA_LIAISON),
        (body(2, "alpha", name="Said by itself"), ALPHA_LIAISON),
        (body(4, "beta", name="Nor afterwards"), BETA_LIAISON),
    )
    (entry,) = found.guidances.in_force()
    assert (entry.version, entry.publisher, entry.confirmed) == (2, "alpha", True)
    assert b"Said by itself" in _unpacked(found.bodies["chatter"])
    assert found.refused == [f"entry {index}: beta does not speak for chatter" for index in (1, 2, 4)]


def _unpacked(said: Guidance) -> bytes:
    return zlib.decompress(said.profile)


@pytest.mark.parametrize("by", [OPERATOR, ALPHA_LIAISON, BETA_LIAISON], ids=lambda actor: actor.member)
@pytest.mark.parametrize("platform", ["chatter", "alpha", "beta"])
@pytest.mark.parametrize("member", ["", "alpha", "beta"])
@pytest.mark.parametrize("owner", ["", "alpha"])
def test_a_reader_refuses_whoever_a_hub_refuses(by: Actor, platform: str, member: str, owner: str) -> None:
    first = [(body(1, owner, platform=platform), OPERATOR)] if owner else []
    found = spoken(*first, (body(2, member, platform=platform), by))
    try:
        validate_guidance(
            community_header(body(2, member, platform=platform), by),
            body(2, member, platform=platform),
            spoken(*first).guidances,
            DIRECTORY,
        )
    except InvalidStatement:
        assert found.refused
    else:
        assert not found.refused


def test_what_an_operator_knows_of_goes_first() -> None:
    found = spoken(
        (body(1, "beta", platform="beta"), BETA_LIAISON),
        (body(1, "alpha"), OPERATOR),
        (body(2, "alpha"), ALPHA_LIAISON),
    )
    assert [each.platform for each in found.in_order()] == ["chatter", "beta"]


def test_nobody_is_shown_under_the_name_of_another() -> None:
    others = {"chatter": Entry(profile())}
    for name in ("Chatter", "chatter ", "CHAT-TER!", "\uff23hatter"):
        found = spoken((body(1, "beta", platform="beta", name=name), BETA_LIAISON))
        (entry,) = found.in_order()
        with pytest.raises(Rejected, match="chatter is called so already"):
            shown(entry, found.bodies["beta"], others, TODAY)
    again = spoken((body(4, "alpha"), OPERATOR))
    assert shown(again.in_order()[0], again.bodies["chatter"], others, TODAY) == profile(version=4)


def test_what_a_suspended_member_said_is_left_out() -> None:
    found = spoken((body(1, "beta", platform="beta"), BETA_LIAISON))
    (entry,) = found.in_order()
    check_standing(entry, DIRECTORY)
    suspended = tell(make_directory(), Suspension("beta", 0, State.ACTIVE, "keys stolen"))
    with pytest.raises(Rejected, match="beta, version 1, by beta: that member is suspended"):
        check_standing(entry, suspended)


def test_what_cannot_be_printed_is_left_out_and_does_not_keep_the_guide_from_being_made() -> None:
    found = spoken((body(1, actions=[fact("Press \u963f or \U0001f600.")]), OPERATOR))
    (entry,) = found.in_order()
    profile_ = shown(entry, found.bodies["chatter"], {}, TODAY)
    with pytest.raises(Rejected, match="chatter, version 1, by operator: the PDF's font has no \u963f \U0001f600"):
        check_letters(entry, profile_, "op", letters_lacking)
    good = spoken((body(1), OPERATOR))
    check_letters(good.in_order()[0], profile(version=1), "op", letters_lacking)
    with pytest.raises(Rejected, match="the PDF's font has no \u963f"):
        check_letters(good.in_order()[0], profile(version=1), "\u963f", letters_lacking)


def test_one_bad_profile_is_left_out_and_does_not_keep_the_guide_from_being_made() -> None:
    found = spoken((body(1, actions=[fact(address="https://a.example/with space")]), OPERATOR))
    with pytest.raises(Rejected, match="chatter, version 1, by operator: actions"):
        shown(found.in_order()[0], found.bodies["chatter"], {}, TODAY)
