"""The newest entries of a log, kept in memory so that what was just sealed is read without touching the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from exchange.ledger.tiles import TILE_WIDTH, HashTile, TileRef
from exchange.ports import StoredEntry

MAX_BYTES = 32 * 1024 * 1024
MAX_ENTRIES = 65_536


class RecentEntries:
    """Consecutive entries up to the durable end, bounded by bytes and count. Lives on the event loop."""

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        """Keep at most so much, and never less than the last group."""
        self._entries: list[StoredEntry] = []
        self._bytes = 0
        self._max_bytes = max_bytes
        self._max_entries = max_entries

    def covers(self, start: int) -> bool:
        """Whether the entry at this index, and all after it, are held."""
        return bool(self._entries) and start >= self._entries[0].index

    def holds(self, start: int, end: int) -> bool:
        """Whether all entries [start, end) are held: where others write too, the newest may be missing."""
        return self.covers(start) and end <= self._entries[-1].index + 1

    def slice(self, start: int, end: int) -> Sequence[StoredEntry]:
        """Return entries [start, end); `covers` must hold for ``start``."""
        first = self._entries[0].index
        return self._entries[start - first : end - first]

    def tile(self, ref: TileRef) -> HashTile | None:
        """Return a tile of leaf hashes, where all of its leaves are held."""
        level, index, width = ref
        start = index * TILE_WIDTH
        if level or not self.holds(start, start + width):
            return None
        return HashTile(b"".join(entry.leaf_hash for entry in self.slice(start, start + width)))

    def add(self, entries: Sequence[StoredEntry]) -> None:
        """Add a group; let go of the oldest beyond the bounds."""
        kept = len(self._entries)
        self._entries.extend(entries)
        self._bytes += sum(len(entry.frame) for entry in entries)
        surplus = 0
        while surplus < kept and (self._bytes > self._max_bytes or len(self._entries) - surplus > self._max_entries):
            self._bytes -= len(self._entries[surplus].frame)
            surplus += 1
        del self._entries[:surplus]

    def follow(self, entries: Sequence[StoredEntry]) -> None:
        """Add entries, of which some may be held; where they do not continue what is held, hold them alone."""
        end = self._entries[-1].index + 1 if self._entries else -1
        if not entries[0].index <= end <= entries[-1].index + 1:
            self._entries, self._bytes, end = [], 0, entries[0].index
        if new := entries[end - entries[0].index :]:
            self.add(new)

    def replace_frames(self, frames: Mapping[int, bytes]) -> None:
        """Put new frames in place of those held."""
        for index, frame in frames.items():
            if self._entries and 0 <= index - self._entries[0].index < len(self._entries):
                at = index - self._entries[0].index
                self._bytes += len(frame) - len(self._entries[at].frame)
                self._entries[at] = structs.replace(self._entries[at], frame=frame)

    def drop_below(self, floor: int) -> None:
        """Let go of entries below an index."""
        count = max(0, floor - self._entries[0].index) if self._entries else 0
        self._bytes -= sum(len(entry.frame) for entry in self._entries[:count])
        del self._entries[:count]
