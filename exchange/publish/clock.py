"""The hub's clock, watched. A ledger of lag is worth no more than its clock, so a jumping one stops the sequencer.

The wall clock is compared with the monotonic one at every reading. A difference of more than five seconds between
two readings latches: nothing is sequenced until an operator has looked and starts the hub again.
"""

from __future__ import annotations

from collections.abc import Callable

from exchange.errors import Fatal, Reason, Unavailable

JUMP_MS = 5_000
LONG_PAUSE_MS = 3_600_000


class WatchedClock:
    """Unix milliseconds that never fall, or `Unavailable`."""

    def __init__(
        self,
        wall_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
        *,
        on_jump: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the two clocks, both in whole milliseconds. ``on_jump`` is called once, when a jump is seen."""
        self._on_jump = on_jump
        self._wall_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self._wall_seen = wall_ms()
        self._monotonic_seen = monotonic_ms()
        self._jumped = False

    def check_start(self, last_received_at_ms: int, *, accept: bool) -> None:
        """Return if the clock may be believed after a stop. Raises `Fatal` (CONFIG) unless ``accept``."""
        now = self._wall_ms()
        if accept or not last_received_at_ms:
            return
        if now < last_received_at_ms - JUMP_MS:
            raise Fatal(
                "the clock is behind the newest entry",
                reason=Reason.CONFIG,
                hint="set the clock right; if the ledger's time is wrong, wait until the clock has passed it",
            )
        if now > last_received_at_ms + LONG_PAUSE_MS:
            raise Fatal(
                "the clock is more than an hour past the newest entry",
                reason=Reason.CONFIG,
                hint="check the clock, then start once with --accept-clock",
            )

    def now_ms(self) -> int:
        """Return the wall clock. Raises `Unavailable` once it has been seen to jump."""
        wall, monotonic = self._wall_ms(), self._monotonic_ms()
        drift = (wall - self._wall_seen) - (monotonic - self._monotonic_seen)
        if abs(drift) > JUMP_MS and not self._jumped:
            self._jumped = True
            self._on_jump()
        if self._jumped:
            raise Unavailable(
                "the hub's clock has jumped; nothing is sequenced until an operator has looked",
                retry_after_ms=30_000,
            )
        self._wall_seen, self._monotonic_seen = wall, monotonic
        return wall

    def receive_ms(self, previous_ms: int) -> int:
        """Return the time for new entries: never below the previous entry's. Raises `Unavailable`."""
        now = self.now_ms()
        if now < previous_ms - JUMP_MS:
            raise Unavailable("the hub's clock is behind the newest entry", retry_after_ms=30_000)
        return max(now, previous_ms)
