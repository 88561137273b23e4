"""What the directory takes: each rule broken once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from exchange.domain.bodies import (
    Body,
    Genesis,
    GenesisKey,
    Key,
    Member,
    Membership,
    Quota,
    State,
    Suspension,
)
from exchange.domain.contacts import Contact
from exchange.domain.directory import Directory
from exchange.domain.directory_rules import validate_directory_statement, validate_genesis
from exchange.domain.kinds import Kind, MemberClass, Role
from exchange.domain.statement import Header
from exchange.errors import InvalidStatement
from tests.unit.builders import (
    ALPHA,
    BETA,
    DIRECTORY,
    EXCHANGE,
    OPERATOR,
    SIDE,
    STRANGER,
    UK,
    Actor,
    community,
    digest,
    directory_header,
    genesis,
    make_directory,
    signal_body,
    tell,
)

NEW_KEY = Actor("alpha", Role.PIPELINE, 1).key_body()


def refused(header: Header, directory: Directory | None = None) -> list[str]:
    """Return the fields of the violations."""
    with pytest.raises(InvalidStatement) as caught:
        validate_directory_statement(header, directory or make_directory())
    return [violation.field for violation in caught.value.violations]


GOOD: dict[str, Body] = {
    "a new member": Member("delta", "Delta", MemberClass.PLATFORM, (Role.PIPELINE,)),
    "a member with a desk": Member(
        "delta", "Delta", MemberClass.PLATFORM, (Role.PIPELINE,), (Contact(1, "tel:101", "Mon-Fri", ("cy", "en")),)
    ),
    "a member described again": Member("alpha", "Alpha plc", MemberClass.PLATFORM, (Role.PIPELINE,)),
    "an operator's helpers": Member(
        "operator", "The operator", MemberClass.OPERATOR, (Role.OPERATOR, Role.PSEUDONYMS, Role.AUTOMATION)
    ),
    "a further key": NEW_KEY,
    "a key's end": ALPHA.key_body(State.ENDED),
    "joining": Membership("alpha", SIDE, State.ACTIVE),
    "leaving": Membership("beta", SIDE, State.ENDED),
    "a suspension": Suspension("alpha", 0, State.ACTIVE, "flooding"),
    "a suspended role": Suspension("alpha", Role.LIAISON, State.ACTIVE, "x" * 500),
    "a lifted suspension": Suspension("alpha", 0, State.ENDED, "it was an error"),
    "a community": community(f"{EXCHANGE}/new"),
    "a community as long as it may be": community(retention_days=3650, max_expiry_days=3650, replay_window_days=3649),
    "a successor": community(f"{EXCHANGE}/new", succeeds=UK, succeeds_size=7, succeeds_root=digest("root")),
    "a quota": Quota("alpha", 0, 0, 0),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_a_valid_statement(body: Body) -> None:
    validate_directory_statement(directory_header(body), make_directory())


_delta = Member("delta", "Delta", MemberClass.PLATFORM, (Role.PIPELINE,))
_join = Membership("alpha", UK, State.ACTIVE)
_suspend = Suspension("alpha", 0, State.ACTIVE, "flooding")

BAD: dict[str, tuple[Body, list[str]]] = {
    "a name that is none": (replace(_delta, id="Delta!"), ["member.id"]),
    "a person in place of a desk": (replace(_delta, contacts=(Contact(1, "P.C. Jones"),)), ["member.contacts"]),
    "no display name": (replace(_delta, display_name=""), ["member.display_name"]),
    "a long display name": (replace(_delta, display_name="é" * 101), ["member.display_name"]),
    "a display name of two lines": (replace(_delta, display_name="Del\nta"), ["member.display_name"]),
    "a display name that turns round": (replace(_delta, display_name="Del\u202eta"), ["member.display_name"]),
    "no class": (replace(_delta, member_class=0), ["member.member_class"]),
    "an unknown class": (replace(_delta, member_class=9), ["member.member_class"]),
    "no roles": (replace(_delta, roles=()), ["member.roles"]),
    "an unknown role": (replace(_delta, roles=(1, 99)), ["member.roles"]),
    "roles not sorted": (replace(_delta, roles=(2, 1)), ["member.roles"]),
    "a role twice": (replace(_delta, roles=(1, 1)), ["member.roles"]),
    "a platform that operates": (replace(_delta, roles=(1, 4)), ["member.roles"]),
    "a changed class": (Member("alpha", "A", MemberClass.AUTHORITY, (Role.AUTHORITY,)), ["member.member_class"]),
    "a stranger's key": (STRANGER.key_body(), ["key.member", "key.role"]),
    "a key without state": (replace(NEW_KEY, state=0), ["key.state", "key.public_key"]),
    "a short key": (replace(NEW_KEY, public_key=b"x" * 31), ["key.public_key"]),
    "a key of a role not its own": (replace(NEW_KEY, role=Role.AUTHORITY), ["key.role"]),
    "a key of no role": (replace(NEW_KEY, role=0), ["key.role"]),
    "a key again": (ALPHA.key_body(), ["key.public_key"]),
    "another member's key": (replace(ALPHA.key_body(), member="beta"), ["key.public_key"] * 2),
    "the end of another member's key": (replace(ALPHA.key_body(State.ENDED), member="beta"), ["key.public_key"]),
    "the end of a key in another role": (replace(ALPHA.key_body(State.ENDED), role=2), ["key.public_key"]),
    "the end of an unknown key": (replace(NEW_KEY, state=State.ENDED), ["key.public_key"]),
    "a stranger joins": (replace(_join, member="stranger"), ["membership.member"]),
    "joining the unknown": (replace(_join, community=f"{EXCHANGE}/none"), ["membership.community"]),
    "joining the directory": (replace(_join, community=DIRECTORY), ["membership.community"]),
    "neither joining nor leaving": (replace(_join, state=0), ["membership.state"]),
    "a suspended stranger": (replace(_suspend, member="stranger"), ["suspension.member"]),
    "suspended or not": (replace(_suspend, state=3), ["suspension.state"]),
    "suspended for nothing": (replace(_suspend, reason=""), ["suspension.reason"]),
    "a long reason": (replace(_suspend, reason="x" * 501), ["suspension.reason"]),
    "a reason with an escape": (replace(_suspend, reason="\x1b[31mred"), ["suspension.reason"]),
    "the suspended role of another": (replace(_suspend, role=Role.OPERATOR), ["suspension.role"]),
    "a community of another exchange": (community("other/uk"), ["community.origin"]),
    "a community named directory": (community(DIRECTORY), ["community.origin"]),
    "a community without origin": (community("uk"), ["community.origin"]),
    "a community without title": (community(title=""), ["community.title"]),
    "a community without key": (community(log_public_key=b""), ["community.log_public_key"]),
    "another log key": (community(log_public_key=digest("another")), ["community.log_public_key"]),
    "no retention": (
        community(retention_days=0),
        ["community.retention_days", "community.replay_window_days", "community.max_expiry_days"],
    ),
    "a successor of none": (
        community(f"{EXCHANGE}/new", succeeds=f"{EXCHANGE}/none", succeeds_root=digest("root")),
        ["community.succeeds"],
    ),
    "a successor of itself": (
        community(f"{EXCHANGE}/new", succeeds=f"{EXCHANGE}/new", succeeds_root=digest("root")),
        ["community.succeeds"],
    ),
    "a successor of no known tree": (community(f"{EXCHANGE}/new", succeeds=UK), ["community.succeeds_root"]),
    "the last checkpoint of no log": (community(f"{EXCHANGE}/new", succeeds_size=7), ["community.succeeds"]),
    "a successor that was another's": (
        community(succeeds=SIDE, succeeds_root=digest("root")),
        ["community.succeeds"],
    ),
    "endless retention": (community(retention_days=3651), ["community.retention_days"]),
    "no expiry": (community(max_expiry_days=0), ["community.max_expiry_days"]),
    "no replay window": (community(replay_window_days=0), ["community.replay_window_days"]),
    "a replay window above the retention": (
        community(retention_days=90, replay_window_days=90),
        ["community.replay_window_days"],
    ),
    "an expiry above the retention": (community(retention_days=89, max_expiry_days=90), ["community.max_expiry_days"]),
    "a stranger's quota": (Quota("stranger", 1, 1, 1), ["quota.member"]),
    "a second genesis": (genesis(), ["genesis"]),
}


@pytest.mark.parametrize(("body", "fields"), BAD.values(), ids=BAD)
def test_a_violation(body: Body, fields: list[str]) -> None:
    assert refused(directory_header(body)) == fields


def test_a_log_has_one_successor_whatever_is_said_later() -> None:
    heir = community(f"{EXCHANGE}/new", succeeds=UK, succeeds_size=7, succeeds_root=digest("root"))
    directory = tell(make_directory(), heir)
    assert refused(directory_header(replace(heir, origin=f"{EXCHANGE}/newer")), directory) == ["community.succeeds"]
    again = replace(heir, title="Another title")
    validate_directory_statement(directory_header(again), directory)
    assert refused(directory_header(replace(again, succeeds_size=8)), directory) == ["community.succeeds"]
    tell(directory, replace(heir, succeeds="", succeeds_size=0, succeeds_root=b""))
    assert (directory.successors, directory.communities[heir.origin]) == ({UK: heir.origin}, heir)


def test_signal_ids_have_no_place() -> None:
    assert refused(directory_header(_delta, signal_ids=(digest("x"),))) == ["signal_ids"]


def test_a_body_is_mandatory() -> None:
    assert refused(directory_header(None, kind=Kind.QUOTA)) == ["quota"]


def test_a_signal_does_not_belong_here() -> None:
    assert refused(directory_header(signal_body())) == ["body"]


def test_the_envelope_is_checked_too() -> None:
    assert refused(directory_header(_delta, created_at_ms=-1, publisher="", nonce=b"")) == [
        "publisher",
        "nonce",
        "created_at_ms",
    ]


def test_a_revoked_key_stays_revoked() -> None:
    directory = tell(make_directory(), ALPHA.key_body(State.ENDED))
    assert refused(directory_header(ALPHA.key_body()), directory) == ["key.public_key"]


@pytest.mark.parametrize(
    "body",
    [
        OPERATOR.key_body(State.ENDED),
        Member("operator", "The operator", MemberClass.OPERATOR, (Role.AUTOMATION,)),
        Suspension("operator", 0, State.ACTIVE, "a slip"),
        Suspension("operator", Role.OPERATOR, State.ACTIVE, "a slip"),
    ],
    ids=["last key", "last role", "last member", "last workload"],
)
def test_operators_cannot_shut_themselves_out(body: Body) -> None:
    """With two keys and a threshold of two, losing one means that nothing guarded can ever be said again."""
    refused(directory_header(body), make_directory(threshold=2))


GENESIS_BAD: dict[str, tuple[Callable[[Genesis], Genesis], dict[str, str], str]] = {
    "no name": (lambda g: replace(g, exchange="No Name"), {"origin": "No Name/directory"}, "genesis.exchange"),
    "another origin": (lambda g: g, {"origin": UK}, "origin"),
    "another publisher": (lambda g: g, {"publisher": "alpha"}, "publisher"),
    "no log key": (lambda g: replace(g, log_public_key=b""), {}, "genesis.log_public_key"),
    "no keys": (lambda g: replace(g, keys=()), {}, "genesis.keys"),
    "seventeen keys": (
        lambda g: replace(g, keys=tuple(GenesisKey(Role.OPERATOR, digest(str(n))) for n in range(17))),
        {},
        "genesis.keys",
    ),
    "no operator": (
        lambda g: replace(g, keys=(GenesisKey(Role.AUTOMATION, digest("a")),)),
        {},
        "genesis.keys",
    ),
    "a platform's key": (
        lambda g: replace(g, keys=(*g.keys, GenesisKey(Role.PIPELINE, BETA.key.public_key))),
        {},
        "genesis.keys",
    ),
    "a short key": (lambda g: replace(g, keys=(GenesisKey(Role.OPERATOR, b"x"),)), {}, "genesis.keys"),
    "no threshold": (lambda g: replace(g, operator_threshold=0), {}, "genesis.operator_threshold"),
    "a threshold nobody can reach": (lambda g: replace(g, operator_threshold=3), {}, "genesis.operator_threshold"),
    "one key twice": (
        lambda g: replace(g, keys=g.keys[:1] * 2, operator_threshold=2),
        {},
        "genesis.operator_threshold",
    ),
}


@pytest.mark.parametrize(("change", "head", "field"), GENESIS_BAD.values(), ids=GENESIS_BAD)
def test_a_bad_genesis(change: Callable[[Genesis], Genesis], head: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidStatement) as caught:
        validate_genesis(directory_header(change(genesis()), **head))
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_genesis() -> None:
    validate_genesis(directory_header(genesis(2)))
    with pytest.raises(InvalidStatement):
        validate_genesis(directory_header(Key("operator", 4, digest("k"), 1)))
