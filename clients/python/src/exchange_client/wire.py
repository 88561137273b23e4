"""What crosses the wire, as values: nothing here is verified, and nothing here knows gRPC."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.codec import Delivered
from exchange.errors import ExchangeError


@dataclass(frozen=True, slots=True)
class Filter:
    """What a subscriber wants the records of, judged on headers. Empty sets let everything pass."""

    labels: frozenset[int] = frozenset()
    indicator_types: frozenset[int] = frozenset()
    elections: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a feed."""

    floor: int
    checkpoint: bytes
    compact_range: tuple[bytes, ...]
    consistency_proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ProvenLeaf:
    """A leaf that a hub picked out, with its path in the tree of the checkpoint beside it."""

    leaf: bytes
    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FeedMessage:
    """One message of a feed, its parts in the order in which they are to be read."""

    hello: Hello | None = None
    entries: tuple[Delivered, ...] = ()
    checkpoint: bytes = b""
    heartbeat_size: int | None = None
    draining: bool = False
    probe: bytes = b""


@dataclass(frozen=True, slots=True)
class WireReceipt:
    """A receipt as it came, not verified."""

    index: int
    leaf: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    repeated: bool


@dataclass(frozen=True, slots=True)
class WireResult:
    """What became of one statement."""

    statement_id: bytes
    receipt: WireReceipt | None
    error: ExchangeError | None


@dataclass(frozen=True, slots=True)
class Probed:
    """What a hub answers to a probe at once: on how many live streams it will echo, and its clock."""

    streams: int
    sealed_size: int
    hub_time_ms: int


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """How the hub knows the caller."""

    member: str
    role: str
    suspended: bool
    communities: tuple[str, ...]
    directory_size: int
    hub_time_ms: int


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """One member, as the hub tells it. `ExchangeClient.directory` is the verified source."""

    id: str
    display_name: str
    member_class: str
    roles: tuple[str, ...]
    suspended: bool
    communities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommunitySummary:
    """One community, as the hub tells it. `ExchangeClient.directory` is the verified source."""

    origin: str
    title: str
    verifier_key: str
    retention_days: int
    max_expiry_days: int
    replay_window_days: int
    public_entries: bool
    members: int


@dataclass(frozen=True, slots=True)
class GuidanceSummary:
    """Which profile a platform has in a community, as a hub tells it."""

    platform: str
    version: int
    #: The member that the platform is; empty while it is none.
    member: str
    publisher: str
    confirmed: bool
    languages: tuple[str, ...]
    profile_sha256: bytes
    published_at_ms: int
    index: int


@dataclass(frozen=True, slots=True)
class GuidanceAnswer:
    """Summaries, and of one platform that was asked for its leaf and the checkpoint that proves it."""

    profiles: tuple[GuidanceSummary, ...]
    leaf: ProvenLeaf | None
    checkpoint: bytes
