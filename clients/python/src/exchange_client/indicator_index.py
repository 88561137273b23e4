"""Indicators and their owners, in memory: exact types in a dictionary, PDQ hashes by their distance.

PDQ hashes, of photographs and of a video's frames, match within a Hamming distance of 31 of 256 bits: recall is
complete, adding and removing are incremental.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from exchange.domain.identifiers import INDICATOR_TYPES, PDQ_BYTES, IndicatorType
from exchange.errors import Reason, Rejected
from exchange_client.hamming import HammingIndex
from exchange_client.records import Indicator

#: A darker or emptier frame looks like every other one.
MIN_FRAME_QUALITY = 50
_PERCEPTUAL = (IndicatorType.PDQ, IndicatorType.VPDQ)
#: An indicator as it is compared: its type, its profile, and its value or all its frames' hashes.
Compared = tuple[int, int, bytes]
#: Type, profile and length of a value.
_HEAD = struct.Struct(">HHI")
#: What nearly all are, at a million: one hash.
_ONE_HASH = _HEAD.pack(IndicatorType.PDQ, 1, PDQ_BYTES)
_ONE_HASH_BYTES = len(_ONE_HASH) + PDQ_BYTES


def pack(indicators: Iterable[Indicator]) -> bytes:
    """Return what can be compared of some indicators: of frames only those with enough structure, as vPDQ has it."""
    packed = []
    for indicator in indicators:
        value = indicator.value
        if indicator.type == IndicatorType.VPDQ:
            frames = (frame.pdq for frame in indicator.frames if frame.quality >= MIN_FRAME_QUALITY)
            value = b"".join(pdq for pdq in frames if len(pdq) == PDQ_BYTES)
        elif indicator.type == IndicatorType.PDQ and len(value) != PDQ_BYTES:
            continue
        packed.append(_HEAD.pack(indicator.type, indicator.profile, len(value)) + value)
    return b"".join(packed)


def unpack(packed: bytes) -> list[Compared]:
    """Return what was packed. Raises `Rejected` (MALFORMED)."""
    found = []
    at = 0
    try:
        while at < len(packed):
            type_, profile, length = _HEAD.unpack_from(packed, at)
            at += _HEAD.size + length
            found.append((type_, profile, packed[at - length : at]))
    except struct.error as error:
        raise Rejected(Reason.MALFORMED, "packed indicators end early") from error
    if at != len(packed) or any(type_ in _PERCEPTUAL and len(value) % PDQ_BYTES for type_, _, value in found):
        raise Rejected(Reason.MALFORMED, "packed indicators are damaged")
    return found


class IndicatorIndex:
    """Owners, each with its indicators."""

    def __init__(self) -> None:
        self._packed: dict[bytes, bytes] = {}
        self._exact: dict[Compared, set[bytes]] = {}
        self._hashes = HammingIndex()

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, owner: bytes) -> bool:
        return owner in self._packed

    def add(self, owned: Iterable[tuple[bytes, bytes]]) -> None:
        """Add owners that are not there yet, each with its packed indicators; many at once are much cheaper."""
        owners: list[bytes] = []
        hashes: list[bytes] = []
        for owner, packed in owned:
            self._packed[owner] = packed
            if len(packed) == _ONE_HASH_BYTES and packed.startswith(_ONE_HASH):
                owners.append(owner)
                hashes.append(packed[-PDQ_BYTES:])
                continue
            for compared in unpack(packed):
                if compared[0] in _PERCEPTUAL:
                    found = list(_hashes(compared))
                    owners += [owner] * len(found)
                    hashes += found
                else:
                    self._exact.setdefault(compared, set()).add(owner)
        self._hashes.add(owners, hashes)

    def remove(self, owner: bytes) -> None:
        """Remove an owner; an unknown one is ignored."""
        packed = self._packed.pop(owner, b"")
        if not packed:
            return
        self._hashes.remove(owner)
        # One that is named twice is removed once.
        for compared in {each for each in unpack(packed) if each[0] not in _PERCEPTUAL}:
            owners = self._exact[compared]
            owners.discard(owner)
            if not owners:
                del self._exact[compared]

    def packed(self, owner: bytes) -> bytes:
        """Return an owner's indicators, packed."""
        return self._packed[owner]

    def nearest(self, packed: bytes) -> dict[bytes, tuple[int, int]]:
        """Return the owners that these indicators match, each with the type that is nearest to it, and the distance."""
        best: dict[bytes, tuple[int, int]] = {}
        for compared in unpack(packed):
            for owner, distance in self._near(compared):
                if owner not in best or distance < best[owner][1]:
                    best[owner] = (compared[0], distance)
        return best

    def _near(self, compared: Compared) -> Iterable[tuple[bytes, int]]:
        if compared[0] not in _PERCEPTUAL:
            return [(owner, 0) for owner in self._exact.get(compared, ())]
        limit = INDICATOR_TYPES[compared[0]].hamming
        return (pair for value in _hashes(compared) for pair in self._hashes.within(value, limit).items())


def _hashes(compared: Compared) -> Iterator[bytes]:
    value = compared[2]
    return (value[at : at + PDQ_BYTES] for at in range(0, len(value), PDQ_BYTES))
