"""What the header of each kind of statement says, as values, and the words that it uses.

One class for each kind that has a body; `exchange.domain.kinds` is their table, and `exchange.codec_bodies` reads and
writes them. Enum fields hold plain numbers, 0 where nothing was said: a receiver keeps a number that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from exchange.domain.addressed import Addressed
from exchange.domain.contacts import Contact
from exchange.domain.guidance_body import Guidance


class Confidence(IntEnum):
    """How sure the publisher is (MISP estimative-language)."""

    LOW = 1
    MODERATE = 2
    HIGH = 3


class Severity(IntEnum):
    """How bad it is (ThreatExchange)."""

    INFO = 1
    WARNING = 2
    SUSPICIOUS = 3
    SEVERE = 4
    APOCALYPSE = 5


class Handling(IntEnum):
    """Traffic Light Protocol 2.0."""

    RED = 1
    AMBER_STRICT = 2
    AMBER = 3
    GREEN = 4
    CLEAR = 5


class Audience(IntEnum):
    """Who may read the records."""

    EVERYONE = 1
    RESTRICTED = 2


class TargetClass(IntEnum):
    """Whom the abuse is aimed at."""

    CANDIDATE = 1
    OFFICIAL = 2
    STAFF = 3


class SourceAction(IntEnum):
    """What the publisher did (DSA decision_visibility and decision_account)."""

    REMOVED = 1
    DISABLED = 2
    DEMOTED = 3
    AGE_RESTRICTED = 4
    INTERACTION_RESTRICTED = 5
    LABELLED = 6
    ACCOUNT_SUSPENDED = 7
    ACCOUNT_TERMINATED = 8


class LawfulBasis(IntEnum):
    """UK GDPR Article 6(1), in its order."""

    CONSENT = 1
    CONTRACT = 2
    LEGAL_OBLIGATION = 3
    VITAL_INTERESTS = 4
    PUBLIC_TASK = 5
    LEGITIMATE_INTERESTS = 6


class RetractionReason(IntEnum):
    """Why signals are taken back."""

    ERROR = 1
    OVERTURNED_ON_APPEAL = 2
    IDENTIFIER_RECYCLED = 3
    WITHDRAWN_BY_VICTIM = 4
    LEGAL = 5


class ErasureReason(IntEnum):
    """Why the data of signals leave every store before their time."""

    ON_REQUEST = 1
    LEGAL = 2
    ERROR = 3


class OpinionCategory(IntEnum):
    """A receiver's view of a signal (python-threatexchange)."""

    POSITIVE_CLASS = 1
    INVESTIGATION_SEED = 2
    NEGATIVE_CLASS = 3


class OpinionReason(IntEnum):
    """What an opinion rests on."""

    REVIEWED = 1
    FALSE_POSITIVE = 2
    WRONG_LABEL = 3
    OUT_OF_DATE = 4
    APPEAL = 5


class DispositionState(IntEnum):
    """What a receiver did with a signal."""

    PENDING_REVIEW = 1
    ACTIONED = 2
    NOT_ACTIONED = 3
    REVERSED = 4
    UPHELD = 5


class DispositionReason(IntEnum):
    """What a disposition rests on."""

    OWN_TERMS = 1
    LEGAL = 2
    OTHER_SIGNALS = 3
    NO_MATCH = 4
    NO_BREACH = 5
    OUT_OF_SCOPE = 6
    RETRACTED = 7


class QuarantineReason(IntEnum):
    """Why a member's entries are flagged."""

    BURST = 1
    DISPUTED = 2
    CANARY = 3
    OPERATOR = 4


class State(IntEnum):
    """Whether what a statement names is in force."""

    ACTIVE = 1
    ENDED = 2


@dataclass(frozen=True, slots=True)
class SignalHeader:
    """What holds for all records of a signal statement. Enum fields hold 0 where nothing was said."""

    label: int
    confidence: int
    severity: int
    handling: int
    audience: int
    expires_at_ms: int
    indicator_types: tuple[int, ...]
    audience_id: bytes = b""
    election: bytes = b""
    target_class: int = 0
    observed_at_ms: int = 0
    actioned_at_ms: int = 0
    source_action: int = 0
    guidance_clause: str = ""
    lawful_basis: int = 0
    backfill: bool = False
    replaces: tuple[bytes, ...] = ()
    derived_from: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Retraction:
    """Takes signals back. Targets are signal ids, here and below."""

    targets: tuple[bytes, ...]
    reason: int
    decided_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Opinion:
    """A receiver's view of signals of others."""

    targets: tuple[bytes, ...]
    category: int
    reason: int


@dataclass(frozen=True, slots=True)
class Disposition:
    """What a receiver did with signals of others."""

    targets: tuple[bytes, ...]
    state: int
    action: int = 0
    reason: int = 0
    matched_at_ms: int = 0
    actioned_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class LagCell:
    """How long signals (or retractions) were under way to a receiver, in buckets of `exchange.domain.lag`."""

    publisher: str
    label: int
    election: bytes
    retraction: bool
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A receiver has processed all entries up to an index, this one too."""

    processed_through: int
    clock_offset_ms: int = 0
    clock_error_ms: int = 0
    cells: tuple[LagCell, ...] = ()


@dataclass(frozen=True, slots=True)
class Election:
    """An election that signals may name."""

    name: str
    title: str
    begins_ms: int
    polling_ends_ms: int
    target_classes: tuple[int, ...]
    lag_target_ms: int
    lag_alert_ms: int
    keep_days: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Flags a member's entries from an index on."""

    member: str
    from_index: int
    reason: int


@dataclass(frozen=True, slots=True)
class Release:
    """Ends a member's quarantine."""

    member: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """Salt and data of signals leave every store."""

    targets: tuple[bytes, ...]
    reason: int


@dataclass(frozen=True, slots=True)
class BudgetTotal:
    """What one member had evaluated under one key epoch, rounded up."""

    member: str
    key_epoch: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class Budget:
    """The pseudonym service's totals of one day (since 1970, UTC)."""

    day: int
    totals: tuple[BudgetTotal, ...]


@dataclass(frozen=True, slots=True)
class DataVersion:
    """One source of a normal form, and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class KeyEpoch:
    """A pseudonym key is announced (ACTIVE) or destroyed (ENDED: without times and versions)."""

    number: int
    state: int
    #: A compressed point on P-256, 33 bytes.
    public_key: bytes
    begins_ms: int = 0
    ends_ms: int = 0
    data_versions: tuple[DataVersion, ...] = ()


@dataclass(frozen=True, slots=True)
class GenesisKey:
    """A key of the first operator."""

    role: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Genesis:
    """The exchange itself: entry 0 of its directory."""

    exchange: str
    log_public_key: bytes
    operator: str
    operator_name: str
    keys: tuple[GenesisKey, ...]
    operator_threshold: int


@dataclass(frozen=True, slots=True)
class Member:
    """An organisation, and the roles its workloads and keys may have."""

    id: str
    display_name: str
    member_class: int
    roles: tuple[int, ...]
    contacts: tuple[Contact, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """A member's Ed25519 signing key for one role, in force or revoked."""

    member: str
    role: int
    public_key: bytes
    state: int


@dataclass(frozen=True, slots=True)
class Membership:
    """A member joins or leaves a community."""

    member: str
    community: str
    state: int


@dataclass(frozen=True, slots=True)
class Suspension:
    """A member (role 0) or one of its roles is suspended, or the suspension is lifted."""

    member: str
    role: int
    state: int
    reason: str


@dataclass(frozen=True, slots=True)
class Community:
    """A community and its rules, in days of 24 hours; and whose log it closes, at which last known checkpoint."""

    origin: str
    title: str
    log_public_key: bytes
    last_size_under_old_key: int
    retention_days: int
    max_expiry_days: int
    replay_window_days: int
    public_entries: bool
    succeeds: str = ""
    succeeds_size: int = 0
    succeeds_root: bytes = b""


@dataclass(frozen=True, slots=True)
class Quota:
    """A member's limits; 0 leaves the hub's default."""

    member: str
    records_per_minute: int
    statements_per_minute: int
    streams: int


#: What is said about signals, by their ids; and what else belongs to a signal's life.
AboutSignals = Retraction | Opinion | Disposition | Erasure
Life = AboutSignals | Acknowledgement | Election | Quarantine | Release
OfDirectory = Genesis | Member | Key | Membership | Suspension | Community | Quota
Body = SignalHeader | Life | Budget | KeyEpoch | Guidance | Addressed | OfDirectory
