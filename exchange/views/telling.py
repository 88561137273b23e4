"""A log's entries as the fold of its life takes them: decoded, with what of their frames the fold is made of.

Where much is to be read, as at a start without a fold, leaves are read while those before them are decoded, and many
entries make one part: a transaction writes each page of its file that it touches, and signal ids lie all over the file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeAlias

from exchange import codec
from exchange.codec import SequencedHeader
from exchange.codec_addressed import decode_addressed
from exchange.domain.addressed import Addressed, AddressedRecord
from exchange.domain.bodies import Audience, SignalHeader
from exchange.domain.kinds import FEW
from exchange.domain.statement import statement_id
from exchange.errors import Rejected
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ports import ToldEntry
from exchange.views.ahead import one_ahead
from exchange.views.just_said import JustSaid
from exchange.views.replay import Leaves, Pace

Part: TypeAlias = "tuple[list[ToldEntry], CompactRange]"
#: Leaves with their frames.
Page: TypeAlias = "tuple[Sequence[tuple[bytes, bytes]], CompactRange]"

#: Entries that are read at once.
PAGE = 2_048
#: Signals and entries of one part, about, where much is to be read: tens of megabytes in memory.
PART = 32_768
#: Entries of which the clock is looked at once: half a millisecond's work.
_BREATH = 16
#: Leaves that are only hashed.
_MANY = 256


class Telling:
    """Reads one log."""

    def __init__(self, leaves: Leaves, just_said: JustSaid, canaries: frozenset[tuple[int, bytes]]) -> None:
        """What was just said in this process is not decoded again; ``canaries`` are indicators, as type and value."""
        self._leaves = leaves
        self._just_said = just_said
        self._canaries = canaries

    async def parts(self, place: CompactRange, size: int, pace: Pace, *, small: bool) -> AsyncGenerator[Part]:
        """Yield all entries from this place up to ``size``, each part with the place after it.

        ``small`` parts are for whoever waits for the newest entries.
        """
        entries: list[ToldEntry] = []
        weight = 0
        async with aclosing(one_ahead(self.pages(place, size, pace))) as pages:
            async for page, end in pages:
                for index, (leaf, frame) in enumerate(page, start=end.size - len(page)):
                    entry = self.told(index, leaf, frame)
                    entries.append(entry)
                    weight += 1 + len(entry.header.signal_ids)
                    if not index % _BREATH:
                        await pace.breathe()
                if small or weight >= PART or end.size == size:
                    yield entries, end
                    entries, weight = [], 0

    async def pages(self, place: CompactRange, size: int, pace: Pace) -> AsyncGenerator[Page]:
        """Yield all entries from this place up to ``size`` as they are stored, each page with the place after it."""
        while place.size < size:
            page = await self._leaves.with_frames(place.size, min(PAGE, size - place.size))
            hashes = []
            for at, (leaf, _) in enumerate(page):
                hashes.append(leaf_hash(leaf))
                if not at % _MANY:
                    await pace.breathe()
            place = place.extend(hashes)
            yield page, place

    def told(self, index: int, leaf: bytes, frame: bytes) -> ToldEntry:
        """Return one entry, by its leaf and its frame (empty below the floor)."""
        return told(index, leaf, frame, self._canaries, self._just_said.at(index))


def told(
    index: int,
    leaf: bytes,
    frame: bytes,
    canaries: frozenset[tuple[int, bytes]] = frozenset(),
    just_said: SequencedHeader | None = None,
) -> ToldEntry:
    """Return what an entry tells. ``just_said`` is what its leaf says, where that was said here. Raises `Rejected`."""
    said = just_said or codec.decode_sequenced(leaf)
    body = said.header.body
    addressed = isinstance(body, Addressed)
    restricted = addressed or (isinstance(body, SignalHeader) and body.audience != Audience.EVERYONE)
    audience = _audience(frame) if restricted else None
    record = _record(said.header.kind, frame) if addressed else None
    canary = bool(canaries) and isinstance(body, SignalHeader) and _holds_one_of(canaries, frame)
    named = statement_id(codec.decode_leaf(leaf).payload) if said.header.kind in FEW else b""
    # What was just said here has its records: nobody need look.
    bare = just_said is None and bool(said.header.signal_ids and frame) and codec.is_erased(frame)
    when, at = said.received_at_ms, said.directory_size
    return ToldEntry(index, said.header, when, said.late, at, audience, canary, named, record, bare)


def _holds_one_of(canaries: frozenset[tuple[int, bytes]], frame: bytes) -> bool:
    records = codec.decode_records(codec.decode_frame(frame).records, strict=False) if frame else ()
    return any((each.type, each.value) in canaries for record in records for each in record.indicators)


def _audience(frame: bytes) -> frozenset[str]:
    """Return who may read a restricted entry; nobody where its audience record is gone."""
    record = codec.decode_frame(frame).audience_record if frame else b""
    try:
        return frozenset(codec.decode_audience(record, strict=False))
    except Rejected:
        return frozenset()


def _record(kind: int, frame: bytes) -> AddressedRecord | None:
    """Return the record of what is said to named members; None where it is gone."""
    entry = codec.decode_frame(frame) if frame else None
    if entry is None or not entry.present:
        return None
    try:
        return decode_addressed(kind, entry.records, strict=False)
    except Rejected:
        return None
