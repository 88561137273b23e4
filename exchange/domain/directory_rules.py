"""Whether a directory statement is well formed and follows from what the directory holds already.

The directory is the root of every other judgement, so a statement that the fold would ignore is refused before it
becomes a leaf: an unknown member's key, a role that a class of member cannot have, a key registered twice, a second
genesis. Signatures and operator thresholds are `exchange.domain.policy`'s.
"""

from __future__ import annotations

from hashlib import sha256

from exchange.domain.bodies import (
    Body,
    Community,
    Genesis,
    Key,
    Member,
    Membership,
    Quota,
    State,
    Suspension,
)
from exchange.domain.contacts import problem_of as contacts_problem
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin, is_name
from exchange.domain.kinds import CLASS_ROLES, KINDS, MemberClass, Role
from exchange.domain.statement import Header
from exchange.domain.validation import Findings, check_envelope

KEY_BYTES = 32
ROOT_BYTES = 32
MAX_NAME_BYTES = 200
MAX_REASON_BYTES = 500
MAX_DAYS = 3_650
MAX_OPERATOR_KEYS = 16
#: How old a statement of the directory may be: a month, as by default in a community.
DIRECTORY_REPLAY_DAYS = 30


def validate_directory_statement(header: Header, directory: Directory) -> None:
    """Check a directory statement against the directory as it stands. Raises `InvalidStatement`."""
    findings = Findings()
    check_envelope(findings, header)
    findings.check(not header.signal_ids, "signal_ids", "have no place in a directory statement")
    row = KINDS[header.kind]
    body = header.body
    if body is None:
        findings.add(row.name, "is missing")
    elif isinstance(body, Genesis) and directory.size:
        findings.add("genesis", "can only be entry 0")
    else:
        _check_body(findings, body, directory)
        _check_operators_remain(findings, body, directory)
    findings.raise_if_any()


def validate_genesis(header: Header) -> None:
    """Check entry 0. Raises `InvalidStatement`."""
    findings = Findings()
    check_envelope(findings, header)
    genesis = header.body
    if not isinstance(genesis, Genesis):
        findings.add("genesis", "is missing")
        findings.raise_if_any()
        return
    findings.check(is_name(genesis.exchange), "genesis.exchange", "is not a name")
    findings.check(header.origin == f"{genesis.exchange}/{Origin.DIRECTORY_LOG}", "origin", "is not the directory's")
    findings.check(header.publisher == genesis.operator, "publisher", "is not the first operator")
    findings.check(len(genesis.log_public_key) == KEY_BYTES, "genesis.log_public_key", "must be 32 bytes")
    operator_keys = {key.public_key for key in genesis.keys if key.role == Role.OPERATOR}
    findings.check(0 < len(operator_keys) <= MAX_OPERATOR_KEYS, "genesis.keys", "must hold 1 to 16 operator keys")
    findings.check(
        1 <= genesis.operator_threshold <= max(1, len(operator_keys)),
        "genesis.operator_threshold",
        "must be 1 up to the number of operator keys",
    )
    for key in genesis.keys:
        findings.check(key.role in CLASS_ROLES[MemberClass.OPERATOR], "genesis.keys", "hold a role not an operator's")
        findings.check(len(key.public_key) == KEY_BYTES, "genesis.keys", "must be 32 bytes each")
    findings.raise_if_any()


def _check_body(findings: Findings, body: Body, directory: Directory) -> None:
    match body:
        case Member():
            _check_member(findings, body, directory)
        case Key():
            _check_key(findings, body, directory)
        case Membership():
            _known(findings, "membership.member", body.member, directory)
            _state(findings, "membership.state", body.state)
            findings.check(body.community in directory.communities, "membership.community", "is not a community")
        case Suspension():
            _known(findings, "suspension.member", body.member, directory)
            _state(findings, "suspension.state", body.state)
            _text(findings, "suspension.reason", body.reason, MAX_REASON_BYTES)
            entry = directory.members.get(body.member)
            findings.check(
                not body.role or (entry is not None and body.role in entry.roles),
                "suspension.role",
                "is not a role of this member",
            )
        case Community():
            _check_community(findings, body, directory)
        case Quota():
            _known(findings, "quota.member", body.member, directory)
        case _:
            findings.add("body", "does not belong into the directory")


def _check_member(findings: Findings, member: Member, directory: Directory) -> None:
    findings.check(is_name(member.id), "member.id", "is not a member id (a-z, 0-9, dot, hyphen; at most 63)")
    _text(findings, "member.display_name", member.display_name, MAX_NAME_BYTES)
    if member.member_class not in CLASS_ROLES:
        findings.add("member.member_class", f"{member.member_class} is not known")
        return
    allowed = CLASS_ROLES[MemberClass(member.member_class)]
    findings.check(
        bool(member.roles) and set(member.roles) <= allowed,
        "member.roles",
        "must be among " + ", ".join(sorted(role.word for role in allowed)),
    )
    findings.check(list(member.roles) == sorted(set(member.roles)), "member.roles", "must be sorted, without repeats")
    problem = contacts_problem(member.contacts)
    findings.check(not problem, "member.contacts", problem)
    known = directory.members.get(member.id)
    findings.check(known is None or known.member_class == member.member_class, "member.member_class", "cannot change")


def _check_key(findings: Findings, key: Key, directory: Directory) -> None:
    _known(findings, "key.member", key.member, directory)
    _state(findings, "key.state", key.state)
    findings.check(len(key.public_key) == KEY_BYTES, "key.public_key", "must be 32 bytes")
    entry = directory.members.get(key.member)
    findings.check(entry is not None and key.role in entry.roles, "key.role", "is not a role of this member")
    known = directory.key(sha256(key.public_key).digest())
    if known is None:
        findings.check(key.state == State.ACTIVE, "key.public_key", "is not registered")
        return
    findings.check(key.state == State.ENDED, "key.public_key", "is registered already; make a new key")
    findings.check(known.member == key.member and known.role == key.role, "key.public_key", "is not this member's")


def _check_community(findings: Findings, community: Community, directory: Directory) -> None:
    origin = Origin.parse(community.origin)
    findings.check(
        origin is not None and origin.exchange == directory.exchange and not origin.is_directory,
        "community.origin",
        f"must be {directory.exchange}/<name>, and not the directory",
    )
    _text(findings, "community.title", community.title, MAX_NAME_BYTES)
    findings.check(len(community.log_public_key) == KEY_BYTES, "community.log_public_key", "must be 32 bytes")
    known = directory.communities.get(community.origin)
    findings.check(
        known is None or len(community.log_public_key) != KEY_BYTES or known.log_public_key == community.log_public_key,
        "community.log_public_key",
        "cannot change in this release: members check every checkpoint against the first",
    )
    _check_succession(findings, community, known, directory)
    for name in ("retention_days", "max_expiry_days", "replay_window_days"):
        findings.check(1 <= getattr(community, name) <= MAX_DAYS, f"community.{name}", f"must be 1 to {MAX_DAYS}")
    findings.check(
        community.replay_window_days < community.retention_days,
        "community.replay_window_days",
        "must be shorter than the retention: ids must be remembered for longer than a statement may be sent again",
    )
    findings.check(
        community.max_expiry_days <= community.retention_days,
        "community.max_expiry_days",
        "cannot exceed the retention: a live signal must still be in the feed",
    )


def _check_succession(findings: Findings, community: Community, known: Community | None, directory: Directory) -> None:
    ours = (community.succeeds, community.succeeds_size, community.succeeds_root)
    if known is not None:
        before = (known.succeeds, known.succeeds_size, known.succeeds_root)
        findings.check(ours == before, "community.succeeds", "never changes")
        return
    if not community.succeeds:
        findings.check(ours == ("", 0, b""), "community.succeeds", "is missing, and there is a checkpoint of its log")
        return
    findings.check(community.succeeds in directory.communities, "community.succeeds", "is not another community")
    successor = directory.successors.get(community.succeeds)
    findings.check(successor is None, "community.succeeds", f"is closed already: its successor is {successor}")
    findings.check(len(community.succeeds_root) == ROOT_BYTES, "community.succeeds_root", "must be 32 bytes")


def _check_operators_remain(findings: Findings, body: Body, directory: Directory) -> None:
    """Refuse what would leave too few operator keys: nobody could change the directory ever again."""
    match body:
        case Key(role=Role.OPERATOR, state=State.ENDED, public_key=gone):
            left = [key for key in directory.operator_keys() if key.public_key != gone]
        case Suspension(state=State.ACTIVE, role=0 | Role.OPERATOR, member=member):
            left = [key for key in directory.operator_keys() if key.member != member]
        case Member(id=member, roles=roles) if Role.OPERATOR not in roles:
            left = [key for key in directory.operator_keys() if key.member != member]
        case _:
            return
    findings.check(
        len(left) >= directory.operator_threshold,
        "body",
        f"would leave {len(left)} operator keys; the exchange needs {directory.operator_threshold}",
    )


def _known(findings: Findings, where: str, member: str, directory: Directory) -> None:
    findings.check(member in directory.members, where, "is not a member")


def _state(findings: Findings, where: str, state: int) -> None:
    findings.check(state in (State.ACTIVE, State.ENDED), where, "is mandatory")


def _text(findings: Findings, where: str, text: str, limit: int) -> None:
    findings.check(0 < len(text.encode()) <= limit, where, f"must be 1 to {limit} bytes")
    findings.check(text.isprintable(), where, "holds control characters")
