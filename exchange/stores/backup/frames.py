"""Which frames of an entry a backup keeps, and until when; and the frame of an entry that has none there.

A frame with records ends when they do. Who might have read it is known for as long as the community keeps its
entries: so a restricted entry has a second frame, without records.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from exchange import codec
from exchange.domain.addressed import Addressed
from exchange.domain.bodies import SignalHeader
from exchange.domain.validation import DAY_MS
from exchange.stores.backup.record_keys import day_after


def bare_frame(leaf: bytes) -> bytes:
    """Return the frame of an entry of which there is nothing but its leaf: what it had is erased."""
    header = codec.decode_sequenced(leaf).header
    if header.signal_ids or isinstance(header.body, Addressed):
        return codec.erased_frame(leaf)
    return codec.full_frame(leaf, (), b"")


def kept_frames(frame: bytes, retention_days: int) -> Iterator[tuple[date, bytes]]:
    """Yield the frames to keep of an entry, each with the day on which its key is destroyed."""
    entry = codec.decode_frame(frame)
    said = codec.decode_sequenced(entry.leaf)
    retained = day_after(said.received_at_ms + retention_days * DAY_MS)
    if entry.audience_record:
        yield retained, codec.erased_frame(entry.leaf, entry.audience_record)
    if entry.present and any(entry.records):
        body = said.header.body
        yield (day_after(body.expires_at_ms) if isinstance(body, SignalHeader) else retained), frame
