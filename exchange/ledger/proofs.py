"""RFC 6962 inclusion and consistency proofs: which nodes they need, how they are built, how they are checked.

A proof is planned first and built second: the plan names nodes by (height, number), the caller fetches the tiles
that hold them, the builder reads them. So nothing here waits, and a server can fetch all tiles at once.
Checking follows RFC 9162 sections 2.1.3.2 and 2.1.4.2. The length of a proof is fixed by index and sizes; any other
length is refused before anything is hashed. Checks raise `VerificationFailed` and return nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from exchange.errors import Reason, Rejected, VerificationFailed
from exchange.ledger.merkle import EMPTY_ROOT, HASH_BYTES, fold_right, node_hash
from exchange.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, HashTile, TileRef, tile_width

#: A complete node: its height above the leaves, and its number among the nodes of that height.
Node = tuple[int, int]


def range_nodes(start: int, end: int) -> list[Node]:
    """Return the complete nodes that cover leaves [start, end), left to right; start is aligned to the range."""
    nodes: list[Node] = []
    while start < end:
        height = (end - start).bit_length() - 1
        nodes.append((height, start >> height))
        start += 1 << height
    return nodes


def inclusion_nodes(index: int, size: int) -> Iterator[list[Node]]:
    """Yield, lowest first, the sibling subtrees on the path of a leaf; each as the complete nodes that make it.

    Raises `Rejected` (MALFORMED) unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise Rejected(Reason.MALFORMED, "no such leaf in a tree of that size")
    siblings: list[list[Node]] = []
    start, end = 0, size
    while end - start > 1:
        split = 1 << ((end - start - 1).bit_length() - 1)
        middle = start + split
        if index < middle:
            siblings.append(range_nodes(middle, end))
            end = middle
        else:
            siblings.append(range_nodes(start, middle))
            start = middle
    return iter(reversed(siblings))


def consistency_nodes(old: int, new: int) -> Iterator[list[Node]]:
    """Yield the parts of the consistency proof from ``old`` to ``new`` leaves, in proof order.

    Raises `Rejected` (MALFORMED) unless 0 <= old <= new. Nothing is needed when old is 0 or equals new.
    """
    if not 0 <= old <= new:
        raise Rejected(Reason.MALFORMED, "the old size is above the new one")
    parts: list[list[Node]] = []
    start, end, whole = 0, new, True
    while old > 0 and old != end:
        split = 1 << ((end - start - 1).bit_length() - 1)
        middle = start + split
        if old <= middle:
            parts.append(range_nodes(middle, end))
            end = middle
        else:
            parts.append(range_nodes(start, middle))
            start, whole = middle, False
    if not whole:
        parts.append(range_nodes(start, end))
    return iter(reversed(parts))


def _tile_of(node: Node, size: int) -> TileRef:
    height, number = node
    level, step = divmod(height, TILE_HEIGHT)
    index = (number << step) // TILE_WIDTH
    return level, index, tile_width(size, level, index)


def tiles_needed(parts: Sequence[Sequence[Node]], size: int) -> set[TileRef]:
    """Return the tiles, as wide as the tree of ``size`` has them, that hold all these nodes."""
    return {_tile_of(node, size) for part in parts for node in part}


def build(parts: Sequence[Sequence[Node]], size: int, tile: Callable[[TileRef], HashTile]) -> tuple[bytes, ...]:
    """Return the proof for planned parts, reading tiles through ``tile``.

    A tile may be wider than asked for. Raises `Rejected` (MALFORMED) for one that is narrower.
    """

    def value(node: Node) -> bytes:
        height, number = node
        step = height % TILE_HEIGHT
        ref = _tile_of(node, size)
        return tile(ref).node(step, number - (ref[1] * TILE_WIDTH >> step))

    return tuple(fold_right([value(node) for node in part]) for part in parts)


def _bad(what: str) -> VerificationFailed:
    return VerificationFailed(Reason.BAD_PROOF, what)


def _check_shape(proof: Sequence[bytes], length: int) -> None:
    if len(proof) != length or any(len(hash_) != HASH_BYTES for hash_ in proof):
        raise _bad(f"the proof must have {length} hashes of {HASH_BYTES} bytes")


def verify_inclusion(*, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the leaf is number ``index`` in the tree of ``size`` leaves with this root. Raises otherwise."""
    if not 0 <= index < size:
        raise _bad("the index lies outside the tree")
    if len(leaf_hash) != HASH_BYTES or len(root) != HASH_BYTES:
        raise _bad(f"a leaf hash and a root have {HASH_BYTES} bytes")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _check_shape(proof, inner + border)
    node = leaf_hash
    for height, sibling in enumerate(proof[:inner]):
        node = node_hash(sibling, node) if index >> height & 1 else node_hash(node, sibling)
    for sibling in proof[inner:]:
        node = node_hash(sibling, node)
    if node != root:
        raise _bad("the leaf is not in the tree with this root")


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the tree of ``new_size`` extends the tree of ``old_size``. Raises otherwise."""
    if not 0 <= old_size <= new_size:
        raise _bad("the old size is above the new one")
    if len(old_root) != HASH_BYTES or len(new_root) != HASH_BYTES:
        raise _bad(f"a root has {HASH_BYTES} bytes")
    if old_size in (0, new_size):
        _check_shape(proof, 0)
        if old_root != (new_root if old_size else EMPTY_ROOT):
            raise _bad("two roots for one size")
        return
    shift = (old_size & -old_size).bit_length() - 1
    inner = ((old_size - 1) ^ (new_size - 1)).bit_length() - shift
    border = ((old_size - 1) >> (inner + shift)).bit_count()
    whole = old_size == 1 << shift
    _check_shape(proof, inner + border + (0 if whole else 1))
    seed, path = (old_root, proof) if whole else (proof[0], proof[1:])
    mask = (old_size - 1) >> shift
    first = second = seed
    for height, sibling in enumerate(path[:inner]):
        if mask >> height & 1:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
        else:
            second = node_hash(second, sibling)
    for sibling in path[inner:]:
        first = node_hash(sibling, first)
        second = node_hash(sibling, second)
    if first != old_root or second != new_root:
        raise _bad("the new tree does not extend the old one")
