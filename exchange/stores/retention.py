"""Where a log's retention begins."""

from __future__ import annotations

from exchange.ports import LogStore


async def first_younger(store: LogStore, limit_ms: int) -> int:
    """Return the index of the first entry received after ``limit_ms``: what the floor may rise to. Binary search."""
    head = await store.head()
    low, high = head.floor, head.sealed.size
    while low < high:
        middle = (low + high) // 2
        (entry,) = await store.read(middle, 1)
        if entry.received_at_ms <= limit_ms:
            low = middle + 1
        else:
            high = middle
    return low
