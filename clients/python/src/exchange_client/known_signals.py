"""What a matcher knows of signals, as it is held in memory and goes to a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exchange.domain.bodies import SignalHeader
from exchange_client.delivery import Delivery


class KnownStatement(NamedTuple):
    """What holds for all signals of one statement, as far as a match tells of it."""

    origin: str
    log_index: int
    publisher: str
    label: int
    severity: int
    confidence: int
    handling: int
    expires_at_ms: int
    #: 1 where it repeats what another signal said, 0 otherwise.
    derived: int
    #: When the hub had it.
    received_at_ms: int
    #: The later one of when its publisher acted and when it was made: whoever had it from others had it before.
    said_at_ms: int


#: A `KnownStatement` as a plain tuple, which Python's collector leaves alone: there may be a million.
StatementRow = tuple[str, int, str, int, int, int, int, int, int, int, int]

#: A signal that was ended: its id, in which log, and by whom; empty where operators said so.
EndedBy = tuple[bytes, str, str]


def statement_row(delivery: Delivery, header: SignalHeader) -> StatementRow:
    """Return what a delivered statement says."""
    return (
        delivery.origin,
        delivery.index,
        delivery.publisher,
        header.label,
        header.severity,
        header.confidence,
        header.handling,
        header.expires_at_ms,
        int(bool(header.derived_from)),
        delivery.received_at_ms,
        max(header.actioned_at_ms, delivery.header.created_at_ms),
    )


class KnownSignal(NamedTuple):
    """A signal, and what others said of it."""

    statement: StatementRow
    #: Its indicators, as `exchange_client.indicator_index` packs them.
    packed: bytes
    flagged: bool
    #: Numbers, by member.
    opinions: Mapping[str, int]


@dataclass(slots=True)
class Changes:
    """What is not in a matcher's file yet, as it stands now: what happened in between does not matter."""

    #: None where it is known no more.
    signals: dict[bytes, KnownSignal | None] = field(default_factory=dict)
    #: Of those, the ones that do not come back.
    gone: set[bytes] = field(default_factory=set)
    #: The platform's own content, packed; None where it was removed.
    content: dict[str, bytes | None] = field(default_factory=dict)
    #: By origin and member, from which index on; None where nothing changed.
    flagged_from: dict[tuple[str, str], int] | None = None
    #: Every signal whose time was over then has been forgotten; 0 where none was looked for.
    expired_ms: int = 0
    #: Ended before they were known.
    ended: set[EndedBy] = field(default_factory=set)


@dataclass(slots=True)
class Changed:
    """Which parts of a matcher have changed since its file was written."""

    signals: set[bytes] = field(default_factory=set)
    content: set[str] = field(default_factory=set)
    publishers: bool = False
    expired_ms: int = 0
    ended: set[EndedBy] = field(default_factory=set)
