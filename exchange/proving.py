"""Proofs for any leaf and any two sizes, from the tiles that a log's history holds.

The planning and the arithmetic are `exchange.ledger.proofs`; here is only the fetching, all tiles in one read.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchange.ledger import proofs
from exchange.ledger.merkle import CompactRange
from exchange.ports import History


async def _build(history: History, parts: Sequence[Sequence[proofs.Node]], size: int) -> tuple[bytes, ...]:
    needed = sorted(proofs.tiles_needed(parts, size))
    tiles = await history.tiles(needed)
    return proofs.build(parts, size, dict(zip(needed, tiles, strict=True)).__getitem__)


async def inclusion_proof(history: History, index: int, size: int) -> tuple[bytes, ...]:
    """Return the RFC 6962 path of leaf ``index`` in the tree of ``size`` leaves (sealed, or smaller)."""
    _, path = await proven_leaf(history, index, size)
    return path


async def proven_leaf(history: History, index: int, size: int) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the hash of leaf ``index``, and what `inclusion_proof` does."""
    leaf, *path = await _build(history, [[(0, index)], *proofs.inclusion_nodes(index, size)], size)
    return leaf, tuple(path)


async def consistency_proof(history: History, old: int, new: int) -> tuple[bytes, ...]:
    """Return the RFC 6962 consistency proof between two sizes, the newer one sealed or smaller."""
    return await _build(history, list(proofs.consistency_nodes(old, new)), new)


async def compact_range(history: History, size: int) -> CompactRange:
    """Return the compact range of the first ``size`` leaves."""
    parts = [[node] for node in proofs.range_nodes(0, size)]
    return CompactRange.of(size, await _build(history, parts, size))
