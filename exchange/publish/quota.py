"""Per-member limits: token buckets for statements, records and calls opened; counts of calls and streams at once.

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
    #: Opened, finished or cancelled: opening and cancelling costs the hub more than its caller.
    calls_per_minute: int = 60_000
    #: Calls at once, streams not counted.
    calls: int = 256


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
        self._open: dict[tuple[str, str], int] = {}
        #: Calls and streams of all members that are held.
        self.held = 0

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
            self._defaults.calls_per_minute,
            self._defaults.calls,
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
        budgets = (("statements", 1, limits.statements_per_minute), ("records", records, limits.records_per_minute))
        self._charge(member, *budgets)

    def _charge(self, member: str, *budgets: tuple[str, int, int]) -> None:
        """Charge each budget (what, amount, per minute), or none of them. Raises `OverQuota`."""
        now = self._now()
        for what, amount, per_minute in budgets:
            bucket = self._buckets.setdefault((member, what), _Bucket(per_minute, now))
            bucket.refill(per_minute, now)
            wait_ms = bucket.wait_ms(amount, per_minute)
            if wait_ms:
                raise OverQuota(f"more than {per_minute} {what} a minute", retry_after_ms=wait_ms)
        for what, amount, _ in budgets:
            self._buckets[member, what].tokens -= amount

    def hold(self, directory: Directory, member: str, *, stream: bool) -> Callable[[], None]:
        """Count a call until the function that is returned has been called, once. Raises `OverQuota`."""
        limits = self.limits(directory, member)
        self._charge(member, ("calls", 1, limits.calls_per_minute))
        what, most = ("live streams", limits.streams) if stream else ("calls at once", limits.calls)
        if self.live(member, stream=stream) >= most:
            raise OverQuota(f"more than {most} {what}", retry_after_ms=5_000 if stream else 200)
        self._open[member, what] = self._open.get((member, what), 0) + 1
        self.held += 1

        def give_back() -> None:
            self.held -= 1
            self._open[member, what] -= 1
            if not self._open[member, what]:
                del self._open[member, what]

        return give_back

    def live(self, member: str, *, stream: bool) -> int:
        """Return how many calls of a member are held."""
        return self._open.get((member, "live streams" if stream else "calls at once"), 0)
