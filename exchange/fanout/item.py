"""One deliverable entry: its frames, and the few facts that decide who sees its records."""

from __future__ import annotations

from functools import lru_cache
from sys import intern

import msgspec

from exchange import codec
from exchange.domain.bodies import Audience
from exchange.ports import StoredEntry

#: What an item takes beside its frames: the objects themselves.
_OWN_BYTES = 512


class Item(msgspec.Struct, gc=False):
    """A sealed entry, ready to send. ``audience`` is None for everyone; an empty one lets nobody in.

    Like the stored entry, it is not of the collector's concern; where it is for some members only, their set is.
    """

    index: int
    #: The frame with records (or with the erased mark).
    full: bytes
    kind: int
    publisher: str
    label: int = 0
    indicator_types: tuple[int, ...] = ()
    election: bytes = b""
    audience: frozenset[str] | None = None
    _bare: bytes = b""

    @property
    def bare(self) -> bytes:
        """The frame without records, made when first asked for."""
        if not self._bare:
            self._bare = codec.leaf_only_frame(codec.frame_leaf(self.full))
        return self._bare

    @property
    def size(self) -> int:
        """Bytes that this item may come to hold, with the frame that is made when first asked for."""
        return 2 * len(self.full) + _OWN_BYTES

    @property
    def restricted(self) -> bool:
        """Whether its records are for some members only."""
        return self.audience is not None


def item_of(entry: StoredEntry) -> Item:
    """Return the item for a stored entry. The header decides; only a restricted one is read further."""
    routing = codec.decode_routing(codec.frame_leaf(entry.frame))
    item = Item(entry.index, entry.frame, routing.kind, intern(routing.publisher))
    if routing.audience is None:
        item.audience = frozenset()
    else:
        item.label = routing.label
        item.indicator_types = _shared(routing.indicator_types)
        item.election = routing.election
        if routing.audience != Audience.EVERYONE:
            record = codec.decode_frame(entry.frame).audience_record
            item.audience = frozenset(codec.decode_audience(record, strict=False))
    return item


@lru_cache(maxsize=256)
def _shared(types: tuple[int, ...]) -> tuple[int, ...]:
    """Return the one tuple of these types. Most entries name the same few, and the collector would look at each."""
    return types
