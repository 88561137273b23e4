"""The scripts' arguments, made of groups and frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from exchange.errors import Fatal, Reason
from exchange.ledger.merkle import EMPTY_ROOT
from exchange.ledger.tiles import TILE_WIDTH
from exchange.ports import Group, TreeHead
from exchange.stores import redis_scripts as scripts
from exchange.stores.entries import hash_of_leaf_in
from exchange.stores.redis_finding import text_of
from exchange.stores.redis_master import Call
from exchange.stores.redis_rows import frame_part, other_format, root_row, row_of
from exchange.stores.redis_scripts import Keys
from exchange.stores.withheld import refusal

#: Of one script: what else waits for the server waits that long.
_ERASED_AT_ONCE = 64


def create(keys: Keys, bundles: str, withheld: bytes) -> Call:
    """Make an empty log, which is withheld from hubs or not."""
    empty: dict[str, str | bytes | int] = {
        name: 0 for name in scripts.HEAD_FIELDS if name not in {"checkpoint", "durable_root", "sealed_root"}
    }
    empty |= {"format": scripts.FORMAT, "origin": keys.origin, "bundles": bundles, "checkpoint": b""}
    empty |= {"withheld": withheld}
    empty |= {"durable_root": EMPTY_ROOT, "sealed_root": EMPTY_ROOT}
    return Call(scripts.CREATE, [keys.head], [part for pair in empty.items() for part in pair])


class _Places:
    """The keys of a call, and where each stands."""

    def __init__(self, *first: bytes) -> None:
        self.keys = list(first)
        self._at: dict[bytes, int] = {}

    def of(self, key: bytes) -> int:
        """Return the place of a key, counted from 1."""
        if key not in self._at:
            self.keys.append(key)
            self._at[key] = len(self.keys)
        return self._at[key]


def append(keys: Keys, expected: TreeHead, group: Group, withheld: bytes) -> Call:
    """Append a group to this head, of a log that is withheld from hubs for this reason, or for none."""
    places = _Places(keys.head, keys.ids)
    entries: list[str | bytes | int] = []
    for each in group.entries:
        place = places.of(keys.entries(each.index // TILE_WIDTH))
        entries += (place, each.index, each.statement_id, row_of(each))
    fields: list[str | bytes | int] = []
    for tile in group.tiles:
        fields += (places.of(keys.tiles(tile.level)), tile.index, tile.hashes)
        fields += (places.of(keys.roots(tile.level)), tile.index, root_row(tile.root()))
    head = (expected.size, expected.root, group.head.size, group.head.root)
    last = (group.entries[-1].received_at_ms, group.directory_size)
    counts = (len(group.entries), 2 * len(group.tiles))
    return Call(scripts.APPEND, places.keys, [*head, *last, *counts, withheld, *entries, *fields])


def seal(keys: Keys, head: TreeHead, checkpoint: bytes) -> Call:
    """Seal the durable head, which must be this one."""
    return Call(scripts.SEAL, [keys.head], (head.size, head.root, checkpoint, keys.channel))


def confirm(keys: Keys) -> Call:
    """Write something; return the head."""
    return Call(scripts.CONFIRM, [keys.head], scripts.HEAD_FIELDS)


def erase(keys: Keys, frames: Mapping[int, bytes]) -> Iterator[tuple[Call, Mapping[int, bytes]]]:
    """Put these frames in the place of others with the same leaves; yield calls, at least one, with what is in each.

    The last entries go first: one that is not durable is refused before anything is changed.
    """
    indices = sorted(frames, reverse=True)
    for start in range(0, max(1, len(indices)), _ERASED_AT_ONCE):
        part = {index: frames[index] for index in indices[start : start + _ERASED_AT_ONCE]}
        places = _Places(keys.head)
        arguments: list[str | bytes | int] = []
        for index, frame in part.items():
            place = places.of(keys.entries(index // TILE_WIDTH))
            arguments += (place, index, hash_of_leaf_in(frame), frame_part(frame))
        yield Call(scripts.ERASE, places.keys, arguments), part


def put_back(keys: Keys, index: int, was: bytes, frame: bytes) -> Call:
    """Put a frame in the place of one with the same leaf, and tell."""
    parts = (frame_part(was), frame_part(frame))
    held = [keys.head, keys.entries(index // TILE_WIDTH), keys.returned]
    return Call(scripts.PUT_BACK, held, (index, hash_of_leaf_in(frame), *parts, keys.channel))


def drop(keys: Keys, bundles: Sequence[int]) -> Call:
    """Let go of the entries of these bundles, which are those above the floor, and raise it."""
    floor = (bundles[-1] + 1) * TILE_WIDTH
    held = [keys.entries(each) for each in bundles]
    return Call(scripts.DROP, [keys.head, keys.ids, keys.tiles(0), *held], (floor, *bundles))


def refused(keys: Keys, reply: Sequence[object]) -> Fatal:
    """Return the error for a log that a script would not touch: it is not where it was, or not as it was."""
    match reply:
        case [b"format", found, *_]:
            return other_format(text_of(found))
        case [b"withheld", bytes(why), *_]:
            return refusal(keys.origin, why)
    return gone(keys)


def withhold(keys: Keys, was: bytes, now: bytes, head: TreeHead) -> Call:
    """Change why a log with this durable head is withheld from hubs."""
    return Call(scripts.WITHHOLD, [keys.head], (was, now, head.size, head.root))


def gone(keys: Keys) -> Fatal:
    """Return the error for a log that is not where it was."""
    return Fatal(f"the log {keys.origin} is gone from the store", reason=Reason.ROLLED_BACK)


def wrote(reply: Sequence[object]) -> bool:
    """Whether a script has changed anything, by its answer."""
    return reply[0] == b"ok"
