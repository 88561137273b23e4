"""Key epochs: how long a pseudonym key is used, and when it must be gone.

An epoch lasts `LIFE_DAYS`; the next one begins `OVERLAP_DAYS` before it ends, so that a platform can index its accounts
anew while the old pseudonyms still match. In the overlap both are live and a signal is published under each. When an
epoch has ended its key is destroyed: nobody, the service included, can make or check its pseudonyms any more. That is
how they expire for certain.

What must stay true: numbers only grow; two epochs never begin at the same time; what is destroyed is never live again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exchange.domain.key_epochs import EpochState
from exchange.domain.validation import DAY_MS
from exchange.errors import Reason, Rejected

LIFE_DAYS = 365
OVERLAP_DAYS = 30


@dataclass(frozen=True, slots=True)
class Epoch:
    """One key epoch, as everybody may know it."""

    #: From 1 on.
    number: int
    #: A compressed point on P-256, 33 bytes; empty for one whose file is lost.
    public_key: bytes
    #: Milliseconds since 1970; live from the first on, and no more from the second on.
    begins_ms: int
    ends_ms: int
    #: Versions of what can change a normal form: members with others make other pseudonyms.
    data_versions: Mapping[str, str]
    destroyed: bool = False

    def state(self, now_ms: int) -> EpochState:
        """Return where it stands at a time."""
        return EpochState.at(now_ms, self.begins_ms, self.ends_ms, destroyed=self.destroyed)


def next_times(epochs: Iterable[Epoch], now_ms: int) -> tuple[int, int, int]:
    """Return number, begin and end of the epoch that follows these: in time for the overlap, and never in the past.

    What is destroyed overlaps with nothing: where nothing else is left, the next one begins now.
    """
    known = list(epochs)
    last = max((epoch.number for epoch in known), default=0)
    ends = max((epoch.ends_ms for epoch in known if not epoch.destroyed), default=0)
    begins = max(now_ms, ends - OVERLAP_DAYS * DAY_MS)
    return last + 1, begins, begins + LIFE_DAYS * DAY_MS


def live_epoch(epochs: Mapping[int, Epoch], number: int, now_ms: int) -> Epoch:
    """Return a live epoch. Raises `Rejected` (NOT_FOUND), with the same words for every other one."""
    epoch = epochs.get(number)
    if epoch is None or epoch.state(now_ms) is not EpochState.LIVE:
        raise not_live()
    return epoch


def not_live() -> Rejected:
    """Return the one refusal for every epoch that is not live."""
    return Rejected(Reason.NOT_FOUND, "no such key epoch is live", hint="ask for the list of key epochs")
