"""The fold of the directory: what each statement does, and that everything unknown is answered with "no"."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

from exchange.codec import decode_header, encode_header
from exchange.domain.bodies import (
    Key,
    Member,
    Membership,
    Quota,
    State,
    Suspension,
)
from exchange.domain.directory import Directory
from exchange.domain.kinds import MemberClass, Role
from tests.unit.builders import (
    ALPHA,
    ALPHA_LIAISON,
    BETA,
    DIRECTORY,
    EXCHANGE,
    MEMBERS,
    NOW_MS,
    OPERATOR,
    SECOND_OPERATOR,
    SIDE,
    STRANGER,
    UK,
    Actor,
    community,
    digest,
    directory_header,
    genesis,
    make_directory,
    tell,
)


def live(directory: Directory, actor: Actor) -> bool:
    return directory.workload_is_live(actor.member, actor.role)


def state_of(directory: Directory) -> Any:
    """Return all that is known, but for the size, as it is now."""
    return deepcopy((directory.genesis, directory.members, directory.keys, directory.communities))


def test_the_genesis_founds_the_exchange() -> None:
    directory = tell(Directory(), genesis(2))
    assert (directory.exchange, directory.origin, directory.size) == (EXCHANGE, DIRECTORY, 1)
    assert directory.operator_threshold == 2
    assert directory.members["operator"].member_class is MemberClass.OPERATOR
    assert [key.public_key for key in directory.live_keys("operator", Role.OPERATOR)] == [
        OPERATOR.key.public_key,
        SECOND_OPERATOR.key.public_key,
    ]


def test_a_second_genesis_is_counted_and_ignored() -> None:
    directory = make_directory()
    before, size = state_of(directory), directory.size
    tell(directory, genesis(operator="mallory", exchange="other"))
    assert (state_of(directory), directory.size) == (before, size + 1)


def test_the_fold_reads_bytes_as_it_reads_values() -> None:
    bodies = (genesis(), *MEMBERS, ALPHA.key_body(), community(), Membership("alpha", UK, State.ACTIVE))
    read = Directory()
    for body in bodies:
        read.apply(decode_header(encode_header(directory_header(body)), strict=True), NOW_MS)
    assert state_of(read) == state_of(tell(Directory(), *bodies))


def test_a_key_is_in_force_from_its_entry_to_its_revocation() -> None:
    directory = make_directory()
    new = Actor("alpha", Role.PIPELINE, 1)
    tell(directory, new.key_body())
    since = directory.size - 1
    tell(directory, community(SIDE), new.key_body(State.ENDED))
    until = directory.size - 1
    entry = new.entry(directory)
    assert (entry.since, entry.until, entry.revoked) == (since, until, True)
    in_force = [size for size in range(directory.size + 2) if entry.in_force_at(size)]
    assert in_force == list(range(since + 1, until + 1))
    assert [key.key_id for key in directory.live_keys("alpha", Role.PIPELINE)] == [ALPHA.key.key_id]
    tell(directory, ALPHA.key_body(State.ENDED))
    assert not live(directory, ALPHA)
    assert live(directory, ALPHA_LIAISON)


def test_a_revoked_key_never_comes_back() -> None:
    directory = make_directory()
    tell(directory, ALPHA.key_body(State.ENDED))
    until = ALPHA.entry(directory).until
    tell(directory, ALPHA.key_body(), ALPHA.key_body(State.ENDED))
    assert ALPHA.entry(directory).until == until
    assert not live(directory, ALPHA)


def test_one_member_cannot_take_or_end_the_key_of_another() -> None:
    directory = make_directory()
    before = state_of(directory)
    tell(directory, replace(ALPHA.key_body(), member="beta"), replace(ALPHA.key_body(State.ENDED), member="beta"))
    assert state_of(directory) == before
    assert ALPHA.entry(directory).member == "alpha"


def test_a_suspended_role_and_its_lifting() -> None:
    directory = make_directory()
    tell(directory, Suspension("alpha", Role.PIPELINE, State.ACTIVE, "certificate lost"))
    assert not live(directory, ALPHA)
    assert live(directory, ALPHA_LIAISON)
    assert not directory.is_suspended("alpha")
    tell(directory, Suspension("alpha", Role.PIPELINE, State.ENDED, "new certificate"))
    assert live(directory, ALPHA)


def test_a_suspended_member_and_its_lifting() -> None:
    directory = make_directory()
    tell(directory, Suspension("alpha", 0, State.ACTIVE, "flooding"), at_ms=NOW_MS + 7)
    assert directory.is_suspended("alpha")
    assert directory.members["alpha"].suspended_at_ms == NOW_MS + 7
    assert live(directory, ALPHA), "it may still connect, for the leaves"
    tell(directory, Suspension("alpha", 0, State.ENDED, "over"))
    assert not directory.is_suspended("alpha")
    assert directory.members["alpha"].suspended_at_ms == 0


def test_suspending_again_does_not_start_the_window_anew() -> None:
    directory = make_directory()
    for later in (0, 80):
        tell(directory, Suspension("alpha", 0, State.ACTIVE, "flooding"), at_ms=NOW_MS + later)
    assert directory.members["alpha"].suspended_at_ms == NOW_MS


def test_leaving_a_community_is_remembered_until_coming_back() -> None:
    directory = make_directory()
    tell(directory, Membership("beta", SIDE, State.ENDED), at_ms=NOW_MS + 5)
    assert not directory.in_community("beta", SIDE)
    assert directory.in_community("beta", UK)
    assert directory.members["beta"].left == {SIDE: NOW_MS + 5}
    assert [entry.id for entry in directory.community_members(SIDE)] == []
    tell(directory, Membership("beta", SIDE, State.ENDED), at_ms=NOW_MS + 9)
    assert directory.members["beta"].left == {SIDE: NOW_MS + 5}, "who has left cannot leave again"
    tell(directory, Membership("beta", SIDE, State.ACTIVE))
    assert directory.in_community("beta", SIDE)
    assert directory.members["beta"].left == {}


def test_who_never_joined_has_not_left() -> None:
    directory = make_directory()
    tell(directory, Membership("alpha", SIDE, State.ENDED))
    assert directory.members["alpha"].left == {}


def test_a_member_described_again_keeps_its_keys_class_and_communities() -> None:
    directory = make_directory()
    tell(directory, Member("alpha", "Alpha plc", MemberClass.AUTHORITY, (Role.LIAISON,)))
    entry = directory.members["alpha"]
    assert (entry.display_name, entry.member_class) == ("Alpha plc", MemberClass.PLATFORM)
    assert entry.communities == {UK}
    assert not live(directory, ALPHA), "its key is there, but the role is gone"
    assert live(directory, ALPHA_LIAISON)


def test_what_a_later_release_says_is_counted_and_ignored() -> None:
    directory = make_directory()
    before, size = state_of(directory), directory.size
    tell(
        directory,
        replace(ALPHA.key_body(), role=99, public_key=digest("key of the future")),
        Member("newcomer", "Of a new class", 77, (Role.PIPELINE,)),
        Suspension("alpha", 99, State.ACTIVE, "a role of the future"),
    )
    directory.apply(directory_header(None, kind=99), NOW_MS)
    assert state_of(directory) == before
    assert directory.size == size + 4
    tell(directory, Member("delta", "Delta", MemberClass.PLATFORM, (Role.PIPELINE, 99)))
    assert directory.members["delta"].roles == {Role.PIPELINE}


def test_statements_about_the_unknown_change_nothing() -> None:
    directory = make_directory()
    before = state_of(directory)
    tell(
        directory,
        STRANGER.key_body(),
        Membership("stranger", UK, State.ACTIVE),
        Suspension("stranger", 0, State.ACTIVE, "who?"),
        Quota("stranger", 1, 1, 1),
    )
    assert state_of(directory) == before


def test_every_question_about_a_stranger_is_answered_with_no() -> None:
    directory = make_directory()
    assert not live(directory, STRANGER)
    assert directory.is_suspended("stranger")
    assert not directory.in_community("stranger", UK)
    assert not directory.in_community("stranger", DIRECTORY)
    assert directory.key(STRANGER.key.key_id) is None
    assert list(directory.live_keys("stranger", Role.PIPELINE)) == []
    assert not directory.workload_is_live("alpha", Role.OPERATOR)
    assert not Directory().workload_is_live("operator", Role.OPERATOR)


def test_quotas_and_communities_are_those_said_last() -> None:
    directory = make_directory()
    tell(directory, Quota("beta", 1, 2, 3), Quota("beta", 4, 0, 0), community(UK, retention_days=500))
    assert directory.members["beta"].quota == Quota("beta", 4, 0, 0)
    assert directory.communities[UK].retention_days == 500
    assert BETA.member in {entry.id for entry in directory.community_members(UK)}


def test_a_key_that_is_first_named_at_its_end_is_never_in_force() -> None:
    directory = tell(make_directory(), Key("alpha", Role.PIPELINE, digest("never used"), State.ENDED))
    (entry,) = (key for key in directory.keys.values() if key.public_key == digest("never used"))
    assert entry.revoked
    assert not any(entry.in_force_at(size) for size in range(directory.size))
