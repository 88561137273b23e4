"""python-threatexchange's PDQIndex (FAISS, MultiHash 16 x 16), measured. Runs where that package is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from tests.bench.matching.hashes import Hashes
from tests.bench.matching.measuring import run


class Threatexchange:
    """Its index takes hexadecimal text, and cannot remove."""

    def __init__(self) -> None:
        self._index: Any = importlib.import_module("threatexchange.signal_type.pdq.pdq_index").PDQIndex()

    def form(self, hashes: Hashes) -> Sequence[str]:
        """Return hexadecimal text."""
        return [each.tobytes().hex() for each in hashes]

    def build(self, hashes: Sequence[str]) -> None:
        """Fill it at once."""
        self._index.add_all((value, row) for row, value in enumerate(hashes))

    def ask(self, value: str) -> dict[int, int]:
        """Return rows and distances."""
        return {found.metadata: found.similarity_info.distance for found in self._index.query(value)}

    def add(self, owner: int, value: str) -> None:
        """Add one more."""
        self._index.add(value, owner)

    def remove(self, owner: int) -> bool:
        """It cannot."""
        return False


if __name__ == "__main__":
    run(Threatexchange())
