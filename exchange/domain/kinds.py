"""The table of statement kinds, and the vocabulary of roles. The one place that says who may say and read what.

Policy, validation, documentation and tests all read `KINDS`. Numbers, names, logs and roles are permanent: leaves
keep them for ever. A kind whose ``accepted`` is False has its place in the table already; the hub refuses it, and
receivers keep its leaf and ignore its content.

This module holds data only; it knows nothing of bytes, keys or time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Kind(IntEnum):
    """What a statement is. Numbers as in ``exchange.v1.Kind``."""

    SIGNAL = 1
    RETRACTION = 2
    OPINION = 3
    DISPOSITION = 4
    ACKNOWLEDGEMENT = 5
    NOTE = 6
    REFERRAL = 7
    REFERRAL_UPDATE = 8
    GUIDANCE = 9
    ELECTION = 10
    QUARANTINE = 11
    RELEASE = 12
    BUDGET = 13
    ERASURE = 14
    KEY_EPOCH = 15
    GENESIS = 64
    MEMBER = 65
    KEY = 66
    MEMBERSHIP = 67
    SUSPENSION = 68
    COMMUNITY = 69
    QUOTA = 70


class Role(IntEnum):
    """What a workload or a signing key is for. Numbers as in ``exchange.v1.Role``."""

    PIPELINE = 1
    LIAISON = 2
    AUTHORITY = 3
    OPERATOR = 4
    WITNESS = 5
    PSEUDONYMS = 6
    AUTOMATION = 7

    @property
    def word(self) -> str:
        """The role as it stands in a SPIFFE id and on a command line."""
        return self.name.lower()


class MemberClass(IntEnum):
    """What kind of organisation a member is. Numbers as in ``exchange.v1.MemberClass``."""

    PLATFORM = 1
    AUTHORITY = 2
    OPERATOR = 3
    WITNESS = 4


class Log(StrEnum):
    """Which log a kind belongs to."""

    COMMUNITY = "community"
    DIRECTORY = "directory"


#: The roles that workloads and keys of each class of member may have.
CLASS_ROLES: dict[MemberClass, frozenset[Role]] = {
    MemberClass.PLATFORM: frozenset({Role.PIPELINE, Role.LIAISON}),
    MemberClass.AUTHORITY: frozenset({Role.AUTHORITY}),
    MemberClass.OPERATOR: frozenset({Role.OPERATOR, Role.AUTOMATION, Role.PSEUDONYMS}),
    MemberClass.WITNESS: frozenset({Role.WITNESS}),
}


@dataclass(frozen=True, slots=True)
class KindRow:
    """One row of the table."""

    kind: Kind
    log: Log
    #: Roles whose statements of this kind the hub accepts.
    publishers: frozenset[Role]
    #: Roles that may receive its records; empty where it has none.
    readers: frozenset[Role]
    #: Bounds on the number of records, inclusive.
    min_records: int
    max_records: int
    #: Whether it takes as many operators' signatures as the genesis asks for, when an operator says it.
    operator_threshold: bool
    #: Whether this release publishes and reads it.
    accepted: bool
    summary: str
    #: Whether its records are always for named members only, whatever its header says.
    restricted: bool = False

    @property
    def name(self) -> str:
        """The kind's permanent name, lower case."""
        return self.kind.name.lower()


_PLATFORM = frozenset({Role.PIPELINE, Role.LIAISON})
_OPERATOR = frozenset({Role.OPERATOR})
_NOBODY: frozenset[Role] = frozenset()


def _community(
    kind: Kind,
    publishers: frozenset[Role],
    summary: str,
    *,
    readers: frozenset[Role] = _NOBODY,
    records: tuple[int, int] = (0, 0),
    threshold: bool = False,
    accepted: bool = False,
    restricted: bool = False,
) -> KindRow:
    return KindRow(kind, Log.COMMUNITY, publishers, readers, *records, threshold, accepted, summary, restricted)


def _directory(kind: Kind, summary: str, *, threshold: bool = False) -> KindRow:
    return KindRow(kind, Log.DIRECTORY, _OPERATOR, _NOBODY, 0, 0, threshold, accepted=True, summary=summary)


_ROWS = (
    _community(
        Kind.SIGNAL,
        _PLATFORM,
        "hashed identifiers of content or accounts that breached the publisher's terms",
        readers=frozenset({Role.PIPELINE}),
        records=(1, 1000),
        accepted=True,
    ),
    _community(
        Kind.RETRACTION, _PLATFORM | _OPERATOR, "takes signals back, with the reason", threshold=True, accepted=True
    ),
    _community(Kind.OPINION, _PLATFORM, "a receiver's view of a signal", accepted=True),
    _community(Kind.DISPOSITION, _PLATFORM, "what a receiver did with a signal", accepted=True),
    _community(
        Kind.ACKNOWLEDGEMENT,
        frozenset({Role.PIPELINE}),
        "processed through an index, with delivery lag",
        accepted=True,
    ),
    _community(
        Kind.NOTE,
        frozenset({Role.LIAISON, Role.AUTHORITY, Role.OPERATOR}),
        "a short note on a dispute or referral",
        readers=frozenset({Role.LIAISON, Role.AUTHORITY, Role.OPERATOR}),
        records=(1, 1),
        accepted=True,
        restricted=True,
    ),
    _community(
        Kind.REFERRAL,
        _PLATFORM,
        "refers a case to an authority",
        readers=frozenset({Role.LIAISON, Role.AUTHORITY}),
        records=(1, 1),
        accepted=True,
        restricted=True,
    ),
    _community(
        Kind.REFERRAL_UPDATE,
        _PLATFORM | {Role.AUTHORITY},
        "acknowledges, asks about or closes a referral",
        readers=frozenset({Role.LIAISON, Role.AUTHORITY}),
        records=(1, 1),
        accepted=True,
        restricted=True,
    ),
    _community(
        Kind.GUIDANCE,
        frozenset({Role.LIAISON, Role.OPERATOR}),
        "a platform's profile for candidates: its rules, and where to report a breach",
        accepted=True,
    ),
    _community(Kind.ELECTION, _OPERATOR, "an election's window, target classes, lag target and expiry", accepted=True),
    _community(
        Kind.QUARANTINE,
        frozenset({Role.OPERATOR, Role.AUTOMATION}),
        "flags a member's entries until release",
        accepted=True,
    ),
    _community(Kind.RELEASE, _OPERATOR, "ends a quarantine", accepted=True),
    _community(
        Kind.BUDGET, frozenset({Role.PSEUDONYMS}), "rounded daily totals of pseudonym evaluations", accepted=True
    ),
    _community(
        Kind.ERASURE, _PLATFORM | _OPERATOR, "salt and data of signals leave every store", threshold=True, accepted=True
    ),
    _community(
        Kind.KEY_EPOCH,
        frozenset({Role.PSEUDONYMS}),
        "a pseudonym key is announced, overlaps or is destroyed",
        accepted=True,
    ),
    _directory(Kind.GENESIS, "the exchange itself; entry 0, self-signed by the first operator"),
    _directory(Kind.MEMBER, "an organisation and the roles it may have", threshold=True),
    _directory(Kind.KEY, "a member's signing key for one role, or its revocation", threshold=True),
    _directory(Kind.MEMBERSHIP, "a member joins or leaves a community", threshold=True),
    _directory(Kind.SUSPENSION, "a member or one of its roles is suspended, or the suspension lifted"),
    _directory(Kind.COMMUNITY, "a community, its log key, retention and rules", threshold=True),
    _directory(Kind.QUOTA, "a member's limits", threshold=True),
)

#: Kinds of a community of which few are ever said: a fold of them is held in memory, and their places are noted.
FEW = frozenset({Kind.KEY_EPOCH, Kind.GUIDANCE, Kind.ELECTION})

#: The table, by number.
KINDS: dict[int, KindRow] = {row.kind.value: row for row in _ROWS}
#: The kinds whose records are always for named members only.
RESTRICTED = frozenset(number for number, row in KINDS.items() if row.restricted)
#: What receivers say all the time of what they did: nobody is to act on it at once.
SAID_AFTERWARDS = frozenset({Kind.ACKNOWLEDGEMENT.value, Kind.DISPOSITION.value})
