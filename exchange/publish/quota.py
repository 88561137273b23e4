"""Per-member limits: token buckets for statements and records, a count for streams.

Limits are the member's own from the directory where it has them, else the hub's defaults. A bucket holds one
minute's worth, so a burst after silence is fine and a flood is not. Memory is bounded by the number of members.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from exchange.domain.directory import Directory
from exchange.errors import OverQuota, Reason, Rejected

_MINUTE_MS = 60_000
#: Less than a millionth of a millisecond is arithmetic, not waiting.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Limits:
    """What one member may use."""

    records_per_minute: int = 600_000
    statements_per_minute: int = 300_000
    streams: int = 64


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_ms: int

    def refill(self, per_minute: int, now_ms: int) -> None:
        refilled = self.tokens + (now_ms - self.at_ms) * per_minute / _MINUTE_MS
        self.tokens, self.at_ms = min(float(per_minute), refilled), now_ms

    def wait_ms(self, amount: int, per_minute: int) -> int:
        """Return the milliseconds until there is enough; 0 when there is now."""
        missing = amount - self.tokens
        return ceil(missing * _MINUTE_MS / per_minute - _ROUNDING) if missing > 0 else 0


class Quotas:
    """The budgets of all members."""

    def __init__(self, defaults: Limits, monotonic_ms: Callable[[], int]) -> None:
        """Start with full budgets."""
        self._defaults = defaults
        self._now = monotonic_ms
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._streams: dict[str, int] = {}

    def limits(self, directory: Directory, member: str) -> Limits:
        """Return the limits in force for a member."""
        entry = directory.members.get(member)
        own = entry.quota if entry is not None else None
        if own is None:
            return self._defaults
        return Limits(
            own.records_per_minute or self._defaults.records_per_minute,
            own.statements_per_minute or self._defaults.statements_per_minute,
            own.streams or self._defaults.streams,
        )

    def take(self, directory: Directory, member: str, *, records: int) -> None:
        """Charge one statement with so many records. Raises `OverQuota`, charging nothing.

        A statement with more records than a minute's budget can never pass: that is `Rejected` (TOO_LARGE).
        """
        limits = self.limits(directory, member)
        if records > limits.records_per_minute:
            raise Rejected(
                Reason.TOO_LARGE,
                f"{records} records are more than this member's {limits.records_per_minute} a minute",
                hint="split the statement, or ask an operator for a larger quota",
            )
        now = self._now()
        wanted = (("statements", 1, limits.statements_per_minute), ("records", records, limits.records_per_minute))
        for what, amount, per_minute in wanted:
            bucket = self._buckets.setdefault((member, what), _Bucket(per_minute, now))
            bucket.refill(per_minute, now)
            wait_ms = bucket.wait_ms(amount, per_minute)
            if wait_ms:
                raise OverQuota(f"more than {per_minute} {what} a minute", retry_after_ms=wait_ms)
        for what, amount, _ in wanted:
            self._buckets[member, what].tokens -= amount

    def open_stream(self, directory: Directory, member: str) -> None:
        """Count one more live stream. Raises `OverQuota`."""
        limit = self.limits(directory, member).streams
        if self._streams.get(member, 0) >= limit:
            raise OverQuota(f"more than {limit} live streams", retry_after_ms=5_000)
        self._streams[member] = self._streams.get(member, 0) + 1

    def close_stream(self, member: str) -> None:
        """Count one live stream less."""
        left = self._streams.get(member, 0) - 1
        if left > 0:
            self._streams[member] = left
        else:
            self._streams.pop(member, None)
