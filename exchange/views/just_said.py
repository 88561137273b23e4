"""What this process has just put into a log, as it was read when it was judged: its leaves need no second reading.

Only a help: what is not here any more, or was put into the log by another, is read from its leaf. A leaf's bytes are
held against the tree either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from exchange.codec import SequencedHeader

#: Statements and signals that are held at most: some megabytes.
MOST = 65_536


class JustSaid:
    """The newest groups that one reader has not taken yet. Lives on the event loop."""

    def __init__(self, most: int = MOST) -> None:
        """Hold at most so many statements and signals."""
        self._groups: deque[tuple[int, Sequence[SequencedHeader]]] = deque()
        self._held = 0
        self._most = most

    def put(self, first: int, said: Sequence[SequencedHeader]) -> None:
        """Take a group that is in the log for good, from this index on; let go of the oldest beyond the bound."""
        self._groups.append((first, said))
        self._held += _weight(said)
        while self._held > self._most:
            self._drop()

    def at(self, index: int) -> SequencedHeader | None:
        """Return what the leaf of an index says, where it is held; indices are asked for in rising order."""
        while self._groups and self._groups[0][0] + len(self._groups[0][1]) <= index:
            self._drop()
        if not self._groups or index < self._groups[0][0]:
            return None
        first, said = self._groups[0]
        return said[index - first]

    def _drop(self) -> None:
        _, said = self._groups.popleft()
        self._held -= _weight(said)


def _weight(said: Sequence[SequencedHeader]) -> int:
    return sum(1 + len(each.header.signal_ids) for each in said)
