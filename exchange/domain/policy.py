"""Who may say what, and who may read what. Pure questions to the directory; everything unknown is refused.

`may_publish` is asked before a statement is sequenced and again when its group is built. `may_subscribe` and
`visible_to` are asked at delivery, so a suspension or a revoked key takes effect at once. Nothing here depends on
the transport or on time passing, except the leaf-only window of a suspended member, whose clock is a parameter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exchange.domain.bodies import State, Suspension
from exchange.domain.directory import Directory, KeyEntry
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import CLASS_ROLES, KINDS, Kind, KindRow, Log, MemberClass, Role
from exchange.domain.statement import Header
from exchange.domain.validation import DAY_MS
from exchange.errors import Denied, Reason, Rejected, Unavailable, VerificationFailed

#: How long a suspended or leaving member keeps a leaf-only feed.
LEAF_ONLY_MS = 90 * DAY_MS


class Sight(StrEnum):
    """What a subscriber of a log may see at all."""

    RECORDS = "records"
    LEAVES = "leaves"


@dataclass(frozen=True, slots=True)
class Workload:
    """Who is calling: a member acting in one role, as its certificate says."""

    member: str
    role: Role

    def __str__(self) -> str:
        return f"{self.member}/{self.role.word}"


def may_publish(directory: Directory, workload: Workload, header: Header, keys: Sequence[KeyEntry]) -> None:
    """Return if this workload may publish this header, signed by these keys; the first is the workload's own.

    Raises `Rejected` (unknown kind, wrong origin), `Denied`, or `VerificationFailed` (another member's key).
    """
    row = _row(header)
    _check_origin(directory, header, row)
    _check_keys(directory, workload, header, keys)
    _check_standing(directory, workload, header, row)
    if workload.role is Role.OPERATOR and len(keys) < signatures_needed(directory, header):
        raise Denied(
            f"this needs the signatures of {directory.operator_threshold} operator keys",
            hint="say it with --to-sign hub, and let others `exchange proposals sign` it; or, without the hub, with"
            " --to-sign FILE, `exchange sign` and `exchange submit`",
        )


def may_propose(directory: Directory, workload: Workload, header: Header) -> None:
    """Return if this workload may publish this header once operators have signed it. Raises as `may_publish`."""
    row = _row(header)
    _check_origin(directory, header, row)
    if header.publisher != workload.member:
        raise VerificationFailed(Reason.WRONG_KEY, "the header names another publisher than the calling member")
    _check_standing(directory, workload, header, row)


def signatures_needed(directory: Directory, header: Header) -> int:
    """Return how many operators' keys must sign this where an operator says it. Raises `Rejected` for no known kind."""
    # Suspending is the emergency brake, one operator's hand is enough; letting go of it is not.
    lifts = isinstance(header.body, Suspension) and header.body.state == State.ENDED
    return directory.operator_threshold if _row(header).operator_threshold or lifts else 1


def may_administer(directory: Directory, workload: Workload) -> None:
    """Return if this workload may prepare, see and sign what waits for operators' signatures. Raises `Denied`."""
    live = directory.workload_is_live(workload.member, workload.role)
    if workload.role is not Role.OPERATOR or not live or directory.is_suspended(workload.member):
        raise Denied("no such thing, or not yours to ask for")


def may_cosign(directory: Directory, workload: Workload, key_id: bytes) -> KeyEntry:
    """Return the key, if it is one that the caller signs with as an operator now. Raises `VerificationFailed`."""
    for key in directory.live_keys(workload.member, Role.OPERATOR):
        if key.key_id == key_id:
            return key
    raise VerificationFailed(
        Reason.WRONG_KEY, "it is signed with no operator key of the calling member that is in force"
    )


def _check_standing(directory: Directory, workload: Workload, header: Header, row: KindRow) -> None:
    entry = directory.members.get(workload.member)
    # Who is suspended or has left still says what became of what was taken back: else it could never answer for it.
    answers = header.kind == Kind.DISPOSITION
    live = directory.workload_is_live(workload.member, workload.role)
    if entry is None or (entry.suspended and not answers) or not live:
        raise Denied("this member may not publish now")
    if workload.role not in row.publishers:
        raise Denied(f"the role {workload.role.word} may not publish a {row.name}")
    if workload.role not in CLASS_ROLES[entry.member_class]:
        # The red line of the whole exchange: only platforms say what breached their terms.
        raise Denied(f"a member of its class may not publish a {row.name}")
    inside = directory.in_community(workload.member, header.origin) or (answers and entry.ever_in(header.origin))
    if row.log is Log.COMMUNITY and workload.role is not Role.OPERATOR and not inside:
        raise Denied("this member may not publish here")


def _row(header: Header) -> KindRow:
    row = KINDS.get(header.kind)
    if row is None or not row.accepted:
        name = "unknown" if row is None else row.name
        raise Rejected(Reason.UNKNOWN_KIND, f"kind {header.kind} ({name}) is not accepted by this hub")
    return row


def _check_origin(directory: Directory, header: Header, row: KindRow) -> None:
    is_directory = header.origin == directory.origin
    if is_directory != (row.log is Log.DIRECTORY) or not (is_directory or header.origin in directory.communities):
        raise Rejected(Reason.WRONG_ORIGIN, f"a {row.name} does not belong to this log")
    require_open(directory, header.origin)


def require_open(directory: Directory, origin: str) -> None:
    """Raise `Rejected` (WRONG_ORIGIN) for a log that is closed: entries of it are lost, and another took its place."""
    successor = directory.successors.get(origin)
    if successor is not None:
        raise Rejected(
            Reason.WRONG_ORIGIN,
            f"the log {origin} is closed: entries of it were lost",
            hint=f"its successor is {successor}: what still holds is said there anew",
        )


def _check_keys(directory: Directory, workload: Workload, header: Header, keys: Sequence[KeyEntry]) -> None:
    if not keys or keys[0].member != workload.member or keys[0].role != workload.role:
        raise VerificationFailed(Reason.WRONG_KEY, "the first signature is not by a key of the calling workload")
    if header.publisher != workload.member:
        raise VerificationFailed(Reason.WRONG_KEY, "the header names another publisher than the calling member")
    if len({key.key_id for key in keys}) != len(keys):
        raise VerificationFailed(Reason.WRONG_KEY, "a key signed twice")
    for key in keys:
        if key.revoked or key not in directory.live_keys(key.member, key.role):
            raise VerificationFailed(Reason.WRONG_KEY, "a signing key is revoked or its role is not in force")
    for key in keys[1:]:
        if key.role is not Role.OPERATOR or directory.is_suspended(key.member):
            raise VerificationFailed(Reason.WRONG_KEY, "a further signature is not by a live operator key")


def may_subscribe(directory: Directory, workload: Workload, origin: str, *, now_ms: int) -> Sight:
    """Return what this workload may see of a log; raises `Denied`, which never tells whether the log exists."""
    refused = Denied("no such log, or not yours to read")
    if not directory.workload_is_live(workload.member, workload.role):
        raise refused
    if origin != directory.origin and origin not in directory.communities:
        raise refused
    if origin == directory.origin:
        return Sight.LEAVES
    entry = directory.members[workload.member]
    auditor = entry.member_class in (MemberClass.OPERATOR, MemberClass.WITNESS)
    if entry.suspended and now_ms - entry.suspended_at_ms >= LEAF_ONLY_MS:
        raise refused
    if not auditor and not directory.in_community(workload.member, origin):
        if now_ms - entry.left.get(origin, now_ms - LEAF_ONLY_MS) >= LEAF_ONLY_MS:
            raise refused
        return Sight.LEAVES
    if entry.suspended:
        return Sight.LEAVES
    reads_something = any(row.accepted and workload.role in row.readers for row in KINDS.values())
    return Sight.RECORDS if reads_something and not auditor else Sight.LEAVES


def may_read_addressed(directory: Directory, workload: Workload, origin: str, kind: Kind) -> None:
    """Return if a workload may ask for what is said to named members of a log, as far as it is one of them.

    Raises `Denied`. Operators need not be in a community to read what is said to them.
    """
    live = directory.workload_is_live(workload.member, workload.role)
    if not live or directory.is_suspended(workload.member) or workload.role not in KINDS[kind].readers:
        raise Denied("no such log, or not yours to read")
    if workload.role is not Role.OPERATOR and not directory.in_community(workload.member, origin):
        raise Denied("no such log, or not yours to read")


def may_evaluate(directory: Directory, workload: Workload, communities: Collection[str]) -> None:
    """Return if this workload may have identifiers evaluated by the pseudonym service of these communities.

    Raises `Denied`.
    """
    if workload.role is not Role.PIPELINE:
        raise Denied("only pipelines have identifiers evaluated")
    live = directory.workload_is_live(workload.member, workload.role)
    if not live or directory.is_suspended(workload.member):
        raise Denied("this member has nothing evaluated now", hint="a suspended member waits until that is lifted")
    if not any(directory.in_community(workload.member, origin) for origin in communities):
        raise Denied("this member is in no community of this pseudonym service")


def visible_to(workload: Workload, kind: int, publisher: str, audience: Collection[str] | None) -> bool:
    """Whether a workload with sight of records may read those of one entry.

    ``audience`` is None for EVERYONE and else the members that may read; an empty one lets nobody in but the
    publisher, whose own words these are. What is always restricted is for nobody else without an audience.
    """
    row = KINDS.get(kind)
    if row is None or workload.role not in row.readers:
        return False
    if workload.member == publisher:
        return True
    return workload.member in audience if audience is not None else not row.restricted


def require_fresh(age_ms: int, *, limit_ms: int = 5_000) -> None:
    """Return if a directory view of this age may still be judged by; raises `Unavailable`."""
    if age_ms > limit_ms:
        raise Unavailable("the hub's view of the directory is not fresh", retry_after_ms=500)


def directory_of(origin: str) -> str | None:
    """Return the directory origin that belongs to a log's origin, or None when it is not an origin."""
    parsed = Origin.parse(origin)
    return None if parsed is None else parsed.directory
