"""What makes a fold faster than the hub itself: a fold that has far to go is given to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from exchange.ledger.merkle import CompactRange


class Making(Protocol):
    """Takes many entries into `Facts` faster than those do, while it can be had."""

    async def take(self, entries: Sequence[tuple[bytes, bytes]], place: CompactRange | None) -> bool:
        """Take the next entries, each a leaf and its frame; with a place: for good, with all since the last one.

        Return False where that cannot be had: then what was taken for good is there, and nothing else.
        """
        ...
