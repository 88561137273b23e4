"""Reading a log without a hub, whichever store it lies in: what `exchange verify` holds against itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from exchange.stores.sqlite_reader import LogState, RawEntry


class Reading(Protocol):
    """A log that is only read. Nothing is trusted: what is read is handed on as it is, for the reader to check."""

    def state(self) -> LogState:
        """Return the log's head. Raises `Fatal`."""
        ...

    def entries(self, size: int) -> Iterator[RawEntry]:
        """Yield entries [0, size) in order. Raises `Fatal` when one is missing."""
        ...

    def tile(self, level: int, index: int) -> tuple[bytes, bytes] | None:
        """Return a whole hash tile as it is stored, with its root; None when it is not there. Raises `Fatal`."""
        ...

    def damage(self) -> str:
        """Return what is wrong with what lies beside the entries, such as an index that is not theirs; or nothing."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
