"""The fold of platforms' profiles, its rows, and whose profile may be said by whom."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.bodies import Body, State
from exchange.domain.guidance import (
    MAX_COMPRESSED_BYTES,
    MAX_PLATFORMS,
    MAX_PROFILE_BYTES,
    Guidances,
    canonical,
    guidance_of,
    holds_identifier,
    read_profile,
    validate_guidance,
)
from exchange.domain.guidance_body import Guidance
from exchange.domain.statement import Header
from exchange.errors import InvalidStatement, Rejected
from tests.unit.builders import (
    ALPHA_LIAISON,
    BETA_LIAISON,
    NOW_MS,
    OPERATOR,
    Actor,
    community_header,
    make_directory,
    signal_body,
)

PROFILE: dict[str, Any] = {"platform": "chatter", "version": 1, "languages": ["en"], "name": "Chatter"}
DIRECTORY = make_directory()


def profile(**changes: Any) -> dict[str, Any]:
    return PROFILE | changes


def said(body: Body, by: Actor = OPERATOR) -> Header:
    return community_header(body, by)


def folded(*headers: Header) -> Guidances:
    found = Guidances()
    for index, header in enumerate(headers):
        found.apply(index, header, NOW_MS)
    return found


def judge(body: Guidance, by: Actor = OPERATOR, known: Guidances | None = None) -> None:
    validate_guidance(said(body, by), body, known or Guidances(), DIRECTORY)


def withdrawn(version: int = 2) -> Guidance:
    return Guidance("chatter", version, State.ENDED)


def test_a_profile_travels_whole() -> None:
    body = guidance_of(PROFILE, "alpha")
    assert read_profile(body) == PROFILE
    assert (body.platform, body.version, body.languages, body.member) == ("chatter", 1, ("en",), "alpha")


def test_the_newest_version_counts_and_the_first_of_two() -> None:
    first, second = guidance_of(PROFILE), guidance_of(profile(version=2, name="Chatter 2"))
    rival = guidance_of(profile(version=2, name="another"))
    found = folded(said(signal_body()), said(first), said(second), said(rival), said(first))
    entry = found.entries["chatter"]
    assert (entry.version, entry.index, entry.profile_sha256) == (2, 2, second.profile_sha256)
    assert (entry.confirmed, entry.publisher) == (False, "operator")


def test_what_the_platform_says_itself_is_confirmed_until_an_operator_says_another() -> None:
    compiled, own = guidance_of(PROFILE, "alpha"), guidance_of(profile(version=2), "alpha")
    later = guidance_of(profile(version=3), "alpha")
    known = folded(said(compiled))
    judge(own, ALPHA_LIAISON, known)
    known.apply(1, said(own, ALPHA_LIAISON), NOW_MS)
    assert known.entries["chatter"].confirmed
    judge(later, OPERATOR, known)
    known.apply(2, said(later), NOW_MS)
    assert not known.entries["chatter"].confirmed


def test_what_is_withdrawn_is_in_force_no_more_and_can_come_again() -> None:
    known = folded(said(guidance_of(PROFILE)))
    judge(withdrawn(), known=known)
    known.apply(3, said(withdrawn()), NOW_MS)
    assert not known.in_force()
    judge(guidance_of(profile(version=3)), known=known)
    with pytest.raises(InvalidStatement, match=r"version.*above 2"):
        judge(guidance_of(profile(version=2)), known=known)


def test_a_platform_may_speak_for_its_own_id() -> None:
    judge(guidance_of(profile(platform="alpha"), "alpha"), ALPHA_LIAISON)


def test_the_language_that_is_wanted_is_shown_where_there_is_one() -> None:
    entry = folded(said(guidance_of(profile(languages=["cy", "en"])))).entries["chatter"]
    assert [entry.language(wanted) for wanted in ("en", "cy", "de", "")] == ["en", "cy", "cy", "cy"]


def test_a_fold_is_bounded() -> None:
    every = [said(guidance_of(profile(platform=f"p{number}"))) for number in range(MAX_PLATFORMS + 1)]
    found = folded(*every)
    assert len(found.entries) == MAX_PLATFORMS
    with pytest.raises(InvalidStatement, match="one too many"):
        judge(guidance_of(profile(platform="another")), known=found)


COMPILED = folded(said(guidance_of(PROFILE, "alpha")))
OTHERS = folded(said(guidance_of(profile(platform="beta"), "alpha")))
GOOD = guidance_of(profile(version=2), "alpha")
REFUSED: dict[str, tuple[Callable[[], None], str]] = {
    "another platform's member": (lambda: judge(replace(GOOD, member="beta"), BETA_LIAISON, COMPILED), "not yours"),
    "nobody's platform": (lambda: judge(replace(GOOD, member="beta"), BETA_LIAISON), "not yours"),
    "an id that is said to be another's": (
        lambda: judge(guidance_of(profile(platform="beta", version=2), "beta"), BETA_LIAISON, OTHERS),
        "not yours",
    ),
    "passed on by a platform": (lambda: judge(replace(GOOD, member="beta"), ALPHA_LIAISON, COMPILED), "says it"),
    "not confirmed by a platform": (lambda: judge(replace(GOOD, member=""), ALPHA_LIAISON, COMPILED), "says it"),
    "an authority as platform": (lambda: judge(replace(GOOD, member="police")), "not a platform"),
    "a stranger as platform": (lambda: judge(replace(GOOD, member="stranger")), "not a platform"),
    "an old version": (lambda: judge(guidance_of(PROFILE), known=COMPILED), "must be above 1"),
    "no name": (lambda: judge(guidance_of(profile(platform="Chatter"))), "not a name"),
    "no languages": (lambda: judge(guidance_of(profile(languages=[]))), "1 to 8"),
    "unsorted languages": (lambda: judge(guidance_of(profile(languages=["en", "cy"]))), "sorted"),
    "no language": (lambda: judge(guidance_of(profile(languages=["english"]))), "ISO 639"),
    "no state": (lambda: judge(replace(GOOD, state=0)), "state"),
    "nothing to withdraw": (lambda: judge(withdrawn()), "no profile to withdraw"),
    "withdrawn with a profile": (lambda: judge(replace(GOOD, state=State.ENDED), known=COMPILED), "when it is"),
    "a mail address": (lambda: judge(guidance_of(profile(name="write to jo@example.org"))), "mail address"),
    "a telephone number": (lambda: judge(guidance_of(profile(name="call 020 7946 0123"))), "telephone"),
    "one in a key": (lambda: judge(guidance_of(profile(**{"jo@example.org": 1}))), "mail address"),
    "ids of signals": (
        lambda: validate_guidance(replace(said(GOOD), signal_ids=(bytes(32),)), GOOD, Guidances(), DIRECTORY),
        "signal_ids",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    refused, words = REFUSED[name]
    with pytest.raises(InvalidStatement) as caught:
        refused()
    assert words in " ".join(f"{each.field} {each.description}" for each in caught.value.violations)


def packed(data: bytes, **changes: Any) -> Guidance:
    whole = guidance_of(PROFILE)
    from_data: dict[str, Any] = {
        "profile": zlib.compress(data),
        "profile_bytes": len(data),
        "profile_sha256": digest_of(data),
    }
    return replace(whole, **(from_data | changes))


def digest_of(data: bytes) -> bytes:
    return sha256(data).digest()


NOT_A_PROFILE = {
    "not compressed": packed(b"", profile=canonical(PROFILE)),
    "cut short": packed(canonical(PROFILE), profile=zlib.compress(canonical(PROFILE))[:-4]),
    "something behind it": packed(canonical(PROFILE), profile=zlib.compress(canonical(PROFILE)) + b"x"),
    "another length": packed(canonical(PROFILE), profile_bytes=3),
    "another hash": packed(canonical(PROFILE), profile_sha256=bytes(32)),
    "not JSON": packed(b"{"),
    "not text": packed(b"\xff"),
    "not an object": packed(b"[]"),
    "deep": packed(b"[" * 100_000),
    "not canonical": packed(json.dumps(PROFILE).encode()),
    "another platform": packed(canonical(profile(platform="other"))),
    "another version": packed(canonical(profile(version=9))),
    "other languages": packed(canonical(profile(languages=["cy"]))),
    "too long": packed(bytes(MAX_PROFILE_BYTES + 1)),
}


@pytest.mark.parametrize("name", NOT_A_PROFILE)
def test_what_is_not_the_profile_that_it_claims(name: str) -> None:
    with pytest.raises(Rejected):
        read_profile(NOT_A_PROFILE[name])
    with pytest.raises(InvalidStatement, match="profile"):
        judge(NOT_A_PROFILE[name])


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(50 * 1024 * 1024), 9)
    assert len(bomb) < MAX_COMPRESSED_BYTES
    with pytest.raises(Rejected, match="more than"):
        read_profile(packed(b"", profile=bomb))


def test_addresses_of_pages_may_be_in_a_profile() -> None:
    assert not holds_identifier(profile(address="https://www.facebook.com/help/359033794168099", years="2023 and 2024"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_profile_or_refused(data: bytes) -> None:
    try:
        read_profile(packed(data))
    except Rejected:
        return
    pytest.fail("no random bytes are this profile")
