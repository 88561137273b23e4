"""The SDK's index, measured."""

from __future__ import annotations

from collections.abc import Sequence

from exchange_client.hamming import HammingIndex
from tests.bench.matching.hashes import LIMIT, Hashes
from tests.bench.matching.measuring import run


class Sdk:
    """The SDK's index; its owners are signal ids of 32 bytes."""

    def __init__(self) -> None:
        self._index = HammingIndex()
        self._ids: list[bytes] = []

    def form(self, hashes: Hashes) -> Sequence[bytes]:
        """Return bytes. The ids of their signals are there before, too."""
        self._ids = self._ids or [row.to_bytes(32, "big") for row in range(len(hashes))]
        return [each.tobytes() for each in hashes]

    def build(self, hashes: Sequence[bytes]) -> None:
        """Fill it at once."""
        self._index.add(self._ids, hashes)

    def ask(self, value: bytes) -> dict[int, int]:
        """Return rows and distances."""
        return {int.from_bytes(owner, "big"): bits for owner, bits in self._index.within(value, LIMIT).items()}

    def add(self, owner: int, value: bytes) -> None:
        """Add one more."""
        self._index.add([owner.to_bytes(32, "big")], [value])

    def remove(self, owner: int) -> bool:
        """Remove one."""
        self._index.remove(owner.to_bytes(32, "big"))
        return True


if __name__ == "__main__":
    run(Sdk())
