"""What a log's facts hold of entries that are *bare*: they came without the records that they had, whoever took them.

One is *lost* where nobody took them: no erasure names it, and its time is not over. Its leaf came back from somebody's
copy, and nothing else did.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from exchange.ports import ToldEntry


class Recovering(Protocol):
    """What the store of a log does besides (`exchange.ports`). Whoever calls has judged that nothing took it."""

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """Put a frame with records in the place of one, durably. The leaf inside must be the same.

        Raises `Conflict`, with nothing changed, when the entry's frame is not ``was`` (any more), nor this one already.
        """
        ...


class Lost(Protocol):
    """Of one log. Every method raises `Unavailable` where the facts are damaged or closed."""

    def is_bare(self, index: int) -> bool:
        """Whether an entry that the fold has taken came without its records, and none have come back since."""
        ...

    def is_erased(self, ids: Collection[bytes]) -> bool:
        """Whether an erasure names any of these, be it of signals or of what is for named members."""
        ...

    async def bare(self) -> Sequence[int]:
        """Return the entries that are bare; those that are long over may be left out from then on."""
        ...

    async def newest_whole(self) -> int | None:
        """Return the newest entry with signals that must have records, by all that the fold has taken."""
        ...

    def is_whole(self, index: int) -> bool:
        """Whether an entry with signals must have records, by all that the fold has taken."""
        ...

    async def said_of(self, target: bytes) -> Sequence[int]:
        """Return the entries of what was said of a referral or noted on a signal, and of the referral itself."""
        ...

    async def take_back(self, entry: ToldEntry) -> None:
        """Take an entry with signals whose records have come back.

        What has to go of them is looked for again: an erasure that came meanwhile has found nothing to erase.
        """
        ...

    async def take_again(self, target: bytes, entries: Sequence[ToldEntry]) -> bool:
        """Take all of `said_of` anew, of which some has come back. False, with nothing changed, where it is more."""
        ...
