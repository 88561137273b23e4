"""What a feed needs of the wire, as a port: the parts of a feed message that are not frames, as bytes."""

from __future__ import annotations

from typing import Protocol


class FeedWire(Protocol):
    """Encodes the small parts of feed messages. Parts may be joined after frames, in any number."""

    def checkpoint(self, note: bytes) -> bytes:
        """Return the part that carries a signed checkpoint."""
        ...

    def heartbeat(self, sealed_size: int) -> bytes:
        """Return the part that says the stream lives, with the sealed size and the hub's time."""
        ...

    def draining(self, cursor: int) -> bytes:
        """Return the part that tells the subscriber to go on elsewhere from this cursor."""
        ...

    def probe(self, state: bytes) -> bytes:
        """Return the part that echoes a probe, with the hub's time."""
        ...
