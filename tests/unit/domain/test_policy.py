"""Who may say what, and who may read what. The matrix is written out here a second time, from WIRE.md, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange.domain.bodies import (
    Member,
    Membership,
    State,
    Suspension,
)
from exchange.domain.directory import Directory
from exchange.domain.kinds import KINDS, RESTRICTED, Kind, MemberClass, Role
from exchange.domain.policy import (
    LEAF_ONLY_MS,
    Sight,
    Workload,
    directory_of,
    may_publish,
    may_read_addressed,
    may_subscribe,
    require_fresh,
    visible_to,
)
from exchange.domain.statement import Header
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, Reason, Rejected, Unavailable, VerificationFailed
from tests.unit.builders import (
    ALPHA,
    ALPHA_LIAISON,
    BETA,
    BETA_LIAISON,
    DIRECTORY,
    EXCHANGE,
    NOW_MS,
    OPERATOR,
    POLICE,
    SECOND_OPERATOR,
    SIDE,
    STRANGER,
    UK,
    WITNESS,
    Actor,
    community,
    digest,
    directory_header,
    make_directory,
    signal_statement,
    tell,
)

AUTOMATION = Actor("operator", Role.AUTOMATION)
PSEUDONYMS = Actor("operator", Role.PSEUDONYMS)
EVERY_ROLE = (ALPHA, ALPHA_LIAISON, POLICE, OPERATOR, WITNESS, PSEUDONYMS, AUTOMATION)

# P pipeline, L liaison, A authority, O operator, W witness, S pseudonyms, U automation: who publishes -> who reads.
MATRIX = {
    "signal": ("PL.....", "P......"),
    "retraction": ("PL.O...", "......."),
    "opinion": ("PL.....", "......."),
    "disposition": ("PL.....", "......."),
    "acknowledgement": ("P......", "......."),
    "note": (".LAO...", ".LAO..."),
    "referral": ("PL.....", ".LA...."),
    "referral_update": ("PLA....", ".LA...."),
    "guidance": (".L.O...", "......."),
    "election": ("...O...", "......."),
    "quarantine": ("...O..U", "......."),
    "release": ("...O...", "......."),
    "budget": (".....S.", "......."),
    "erasure": ("PL.O...", "......."),
    "key_epoch": (".....S.", "......."),
    "genesis": ("...O...", "......."),
    "member": ("...O...", "......."),
    "key": ("...O...", "......."),
    "membership": ("...O...", "......."),
    "suspension": ("...O...", "......."),
    "community": ("...O...", "......."),
    "quota": ("...O...", "......."),
}
ACCEPTED = {
    *("signal", "retraction", "opinion", "disposition", "acknowledgement", "guidance"),
    *("note", "referral", "referral_update"),
    *("election", "quarantine", "release", "erasure", "budget", "key_epoch"),
    *("genesis", "member", "key", "membership", "suspension", "community", "quota"),
}


def full_directory() -> Directory:
    """An exchange in which every role is held by someone."""
    roles = (Role.OPERATOR, Role.PSEUDONYMS, Role.AUTOMATION)
    return tell(
        make_directory(),
        Member("operator", "The operator", MemberClass.OPERATOR, roles),
        AUTOMATION.key_body(),
        PSEUDONYMS.key_body(),
        Membership("operator", UK, State.ACTIVE),
    )


def publish(directory: Directory, header: Header, *signers: Actor, workload: Workload | None = None) -> None:
    may_publish(directory, workload or signers[0].workload, header, [each.entry(directory) for each in signers])


def header_of(kind: Kind, by: Actor) -> Header:
    """A header of that kind in the log it belongs to; policy does not look at bodies."""
    origin = DIRECTORY if kind >= Kind.GENESIS else UK
    return replace(directory_header(None, kind=kind), origin=origin, publisher=by.member)


def test_the_table_is_the_matrix() -> None:
    def row(roles: frozenset[Role]) -> str:
        return "".join(letter if role in roles else "." for role, letter in zip(Role, "PLAOWSU", strict=True))

    assert {row_.name: (row(row_.publishers), row(row_.readers)) for row_ in KINDS.values()} == MATRIX
    assert {row_.name for row_ in KINDS.values() if row_.accepted} == ACCEPTED


@pytest.mark.parametrize("actor", EVERY_ROLE, ids=lambda actor: actor.role.word)
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_who_may_publish_what(kind: Kind, actor: Actor) -> None:
    directory = full_directory()
    name = kind.name.lower()
    if MATRIX[name][0][actor.role - 1] != ".":
        publish(directory, header_of(kind, actor), actor)
    else:
        with pytest.raises(Denied):
            publish(directory, header_of(kind, actor), actor)


@pytest.mark.parametrize("member", [POLICE, OPERATOR, WITNESS], ids=lambda actor: actor.member)
def test_red_line_only_platforms_publish_signals(member: Actor) -> None:
    """Not even with a pipeline role and key, were the directory to give it one."""
    forged = Actor(member.member, Role.PIPELINE, 9)
    directory = make_directory()
    directory.members[member.member].roles |= {Role.PIPELINE}
    tell(directory, forged.key_body())
    assert directory.workload_is_live(forged.member, Role.PIPELINE)
    with pytest.raises(Denied, match="a member of its class"):
        publish(directory, signal_statement(forged).header, forged)


@pytest.mark.parametrize("kind", [0, 99, -1])
def test_an_unknown_kind(kind: int) -> None:
    with pytest.raises(Rejected) as caught:
        publish(make_directory(), replace(header_of(Kind.SIGNAL, ALPHA), kind=kind), ALPHA)
    assert caught.value.reason is Reason.UNKNOWN_KIND


@pytest.mark.parametrize(
    ("kind", "origin", "by"),
    [
        (Kind.SIGNAL, DIRECTORY, ALPHA),
        (Kind.SIGNAL, f"{EXCHANGE}/none", ALPHA),
        (Kind.SIGNAL, "other/uk", ALPHA),
        (Kind.SIGNAL, "", ALPHA),
        (Kind.MEMBER, UK, OPERATOR),
        (Kind.MEMBER, "other/directory", OPERATOR),
    ],
)
def test_the_wrong_log(kind: Kind, origin: str, by: Actor) -> None:
    with pytest.raises(Rejected) as caught:
        publish(make_directory(), replace(header_of(kind, by), origin=origin), by)
    assert caught.value.reason is Reason.WRONG_ORIGIN


def test_nothing_is_said_in_a_log_that_was_lost_and_closed() -> None:
    heir = community(f"{EXCHANGE}/new", succeeds=UK, succeeds_size=7, succeeds_root=digest("root"))
    directory = tell(make_directory(), heir, Membership("alpha", heir.origin, State.ACTIVE))
    with pytest.raises(Rejected, match="is closed") as caught:
        publish(directory, header_of(Kind.SIGNAL, ALPHA), ALPHA)
    assert (caught.value.reason, heir.origin in caught.value.hint) == (Reason.WRONG_ORIGIN, True)


@pytest.mark.parametrize(
    ("workload", "publisher", "signers"),
    [
        (ALPHA, "alpha", (BETA,)),
        (ALPHA, "alpha", (ALPHA_LIAISON,)),
        (BETA, "alpha", (ALPHA,)),
        (BETA, "beta", (ALPHA,)),
        (ALPHA, "beta", (ALPHA,)),
        (ALPHA, "", (ALPHA,)),
        (ALPHA, "alpha", ()),
        (ALPHA, "alpha", (ALPHA, ALPHA)),
        (ALPHA, "alpha", (ALPHA, ALPHA_LIAISON)),
        (ALPHA, "alpha", (ALPHA, BETA)),
        (ALPHA, "alpha", (ALPHA, OPERATOR, OPERATOR)),
        (ALPHA, "alpha", (OPERATOR, ALPHA)),
    ],
)
def test_the_wrong_key(workload: Actor, publisher: str, signers: tuple[Actor, ...]) -> None:
    header = replace(signal_statement().header, publisher=publisher)
    with pytest.raises(VerificationFailed) as caught:
        publish(make_directory(), header, *signers, workload=workload.workload)
    assert caught.value.reason is Reason.WRONG_KEY


def test_an_operator_may_sign_with_a_member() -> None:
    publish(make_directory(), signal_statement().header, ALPHA, OPERATOR, SECOND_OPERATOR)


@pytest.mark.parametrize("also", [(), (OPERATOR,)], ids=["first", "further"])
def test_a_revoked_key(also: tuple[Actor, ...]) -> None:
    directory = make_directory()
    revoked = also[0] if also else ALPHA
    keys = [each.entry(directory) for each in (ALPHA, *also)]
    tell(directory, Actor("alpha", Role.PIPELINE, 1).key_body(), revoked.key_body(State.ENDED))
    with pytest.raises(VerificationFailed, match="revoked"):
        may_publish(directory, ALPHA.workload, signal_statement().header, keys)


def test_the_key_of_a_suspended_role() -> None:
    directory = tell(make_directory(), Suspension("alpha", Role.PIPELINE, State.ACTIVE, "lost"))
    with pytest.raises(VerificationFailed) as caught:
        publish(directory, signal_statement().header, ALPHA)
    assert caught.value.reason is Reason.WRONG_KEY
    publish(directory, signal_statement(ALPHA_LIAISON).header, ALPHA_LIAISON)


def test_a_suspended_member_is_silent() -> None:
    directory = tell(make_directory(), Suspension("alpha", 0, State.ACTIVE, "flooding"))
    for each in (ALPHA, ALPHA_LIAISON):
        with pytest.raises(Denied):
            publish(directory, signal_statement(each).header, each)


def test_a_suspended_operators_signature_does_not_count() -> None:
    directory = tell(make_directory(), Suspension("operator", 0, State.ACTIVE, "under inquiry"))
    with pytest.raises(VerificationFailed):
        publish(directory, signal_statement().header, ALPHA, OPERATOR)


def test_who_is_not_in_a_community_cannot_publish_there() -> None:
    directory = make_directory()
    header = signal_statement(header={"origin": SIDE}).header
    with pytest.raises(Denied):
        publish(directory, header, ALPHA)
    tell(directory, Membership("alpha", SIDE, State.ACTIVE))
    publish(directory, header, ALPHA)
    tell(directory, Membership("alpha", SIDE, State.ENDED))
    with pytest.raises(Denied):
        publish(directory, header, ALPHA)


GUARDED = (Kind.MEMBER, Kind.KEY, Kind.MEMBERSHIP, Kind.COMMUNITY)


@pytest.mark.parametrize("kind", GUARDED, ids=lambda kind: kind.name.lower())
def test_what_takes_two_operators_keys(kind: Kind) -> None:
    directory = make_directory(threshold=2)
    header = header_of(kind, OPERATOR)
    with pytest.raises(Denied, match="2 operator keys"):
        publish(directory, header, OPERATOR)
    with pytest.raises(VerificationFailed):
        publish(directory, header, OPERATOR, OPERATOR)
    publish(directory, header, OPERATOR, SECOND_OPERATOR)


def test_one_operator_may_suspend_alone_but_not_lift() -> None:
    directory = make_directory(threshold=2)
    header = header_of(Kind.SUSPENSION, OPERATOR)
    brake = replace(header, body=Suspension("alpha", 0, State.ACTIVE, "flooding"))
    publish(directory, brake, OPERATOR)
    lift = replace(header, body=Suspension("alpha", 0, State.ENDED, "over"))
    with pytest.raises(Denied, match="2 operator keys"):
        publish(directory, lift, OPERATOR)
    publish(directory, lift, OPERATOR, SECOND_OPERATOR)


def sight(directory: Directory, actor: Actor, origin: str = UK, *, now_ms: int = NOW_MS) -> Sight | None:
    """Return what an actor sees; None where it is denied."""
    try:
        return may_subscribe(directory, actor.workload, origin, now_ms=now_ms)
    except Denied as error:
        assert error.message == "no such log, or not yours to read"
        return None


def test_what_each_role_sees() -> None:
    directory = full_directory()
    assert sight(directory, ALPHA) is Sight.RECORDS
    for auditor in (OPERATOR, WITNESS, AUTOMATION, PSEUDONYMS):
        assert sight(directory, auditor) is Sight.LEAVES
        assert sight(directory, auditor, SIDE) is Sight.LEAVES
    for each in EVERY_ROLE:
        assert sight(directory, each, DIRECTORY) is Sight.LEAVES


def test_liaisons_and_authorities_see_records_but_never_those_of_signals() -> None:
    directory = make_directory()
    for each in (BETA_LIAISON, POLICE):
        assert sight(directory, each) is Sight.RECORDS
        assert not visible_to(each.workload, Kind.SIGNAL, "alpha", None)
        assert not visible_to(each.workload, Kind.SIGNAL, "alpha", {each.member})
        assert not visible_to(each.workload, Kind.SIGNAL, each.member, None)


@pytest.mark.parametrize("kind", sorted(RESTRICTED))
def test_what_is_for_named_members_is_never_for_everyone(kind: int) -> None:
    assert not visible_to(POLICE.workload, kind, "alpha", None)
    assert not visible_to(POLICE.workload, kind, "alpha", ())
    assert not visible_to(POLICE.workload, kind, "alpha", {"alpha", "fire-service"})
    assert visible_to(POLICE.workload, kind, "alpha", {"alpha", "police"})
    assert visible_to(ALPHA_LIAISON.workload, kind, "alpha", ())
    assert not visible_to(ALPHA.workload, kind, "alpha", {"alpha", "police"})


def test_who_may_ask_for_what_is_said_to_named_members() -> None:
    directory = full_directory()

    def asked(actor: Actor, kind: Kind = Kind.REFERRAL, origin: str = UK) -> bool:
        try:
            may_read_addressed(directory, actor.workload, origin, kind)
        except Denied:
            return False
        return True

    assert {each.role for each in EVERY_ROLE if asked(each)} == {Role.LIAISON, Role.AUTHORITY}
    assert {each.role for each in EVERY_ROLE if asked(each, Kind.NOTE)} == {
        Role.LIAISON,
        Role.AUTHORITY,
        Role.OPERATOR,
    }
    assert not asked(POLICE, origin=SIDE)
    assert not asked(STRANGER)
    tell(directory, Suspension("police", 0, State.ACTIVE, "a test"))
    assert not asked(POLICE)


def test_who_is_denied() -> None:
    directory = make_directory()
    assert sight(directory, ALPHA, SIDE) is None
    assert sight(directory, ALPHA, f"{EXCHANGE}/none") is None
    assert sight(directory, OPERATOR, f"{EXCHANGE}/none") is None
    assert sight(directory, OPERATOR, "other/directory") is None
    assert sight(directory, STRANGER) is None
    assert sight(directory, STRANGER, DIRECTORY) is None
    assert sight(directory, Actor("alpha", Role.OPERATOR)) is None
    assert sight(directory, AUTOMATION) is None, "a role that nobody gave it"


@pytest.mark.parametrize("actor", [ALPHA, ALPHA_LIAISON, OPERATOR, WITNESS], ids=lambda actor: str(actor.workload))
def test_a_suspended_member_keeps_the_leaves_for_ninety_days(actor: Actor) -> None:
    directory = tell(make_directory(), Suspension(actor.member, 0, State.ACTIVE, "flooding"))
    assert LEAF_ONLY_MS == 90 * DAY_MS
    assert sight(directory, actor) is Sight.LEAVES
    assert sight(directory, actor, now_ms=NOW_MS + LEAF_ONLY_MS - 1) is Sight.LEAVES
    assert sight(directory, actor, now_ms=NOW_MS + LEAF_ONLY_MS) is None


def test_who_has_left_keeps_the_leaves_for_ninety_days() -> None:
    directory = tell(make_directory(), Membership("alpha", UK, State.ENDED))
    assert sight(directory, ALPHA) is Sight.LEAVES
    assert sight(directory, ALPHA, now_ms=NOW_MS + LEAF_ONLY_MS - 1) is Sight.LEAVES
    assert sight(directory, ALPHA, now_ms=NOW_MS + LEAF_ONLY_MS) is None
    assert sight(directory, ALPHA, SIDE) is None, "where it never was"
    tell(directory, Membership("alpha", UK, State.ACTIVE))
    assert sight(directory, ALPHA, now_ms=NOW_MS + LEAF_ONLY_MS) is Sight.RECORDS


def test_a_revoked_key_or_workload_gets_nothing() -> None:
    directory = tell(make_directory(), ALPHA.key_body(State.ENDED))
    assert sight(directory, ALPHA) is None
    assert sight(directory, ALPHA, DIRECTORY) is None
    tell(directory, Suspension("alpha", Role.LIAISON, State.ACTIVE, "lost"))
    assert sight(directory, ALPHA_LIAISON) is None


@pytest.mark.parametrize("audience", [None, {"alpha", "police", "operator", "witness"}], ids=["everyone", "restricted"])
@pytest.mark.parametrize("actor", EVERY_ROLE, ids=lambda actor: actor.role.word)
def test_only_a_pipeline_receives_signals(actor: Actor, audience: set[str] | None) -> None:
    assert visible_to(actor.workload, Kind.SIGNAL, "beta", audience) is (actor.role is Role.PIPELINE)


def test_an_audience_fails_closed() -> None:
    assert not visible_to(ALPHA.workload, Kind.SIGNAL, "beta", frozenset())
    assert not visible_to(ALPHA.workload, Kind.SIGNAL, "beta", {"gamma"})
    assert visible_to(ALPHA.workload, Kind.SIGNAL, "beta", {"alpha"})
    assert visible_to(ALPHA.workload, Kind.SIGNAL, "alpha", frozenset()), "its own words"
    assert not visible_to(ALPHA_LIAISON.workload, Kind.SIGNAL, "alpha", {"alpha"}), "not even its own, to a liaison"


@pytest.mark.parametrize("kind", [0, 16, 63, 71, 10**9, -1])
def test_records_of_an_unknown_kind_are_for_nobody(kind: int) -> None:
    assert not any(visible_to(each.workload, kind, each.member, None) for each in EVERY_ROLE)


def test_how_old_the_view_may_be() -> None:
    require_fresh(5_000)
    with pytest.raises(Unavailable):
        require_fresh(5_001)


def test_the_directory_of_a_log() -> None:
    assert directory_of(UK) == DIRECTORY == directory_of(DIRECTORY)
    assert directory_of("nothing") is None
