"""Matching content against known signals, in memory. Nothing bans by itself: a match is advice, with its provenance.

Exact types are looked up in a dictionary. PDQ hashes (of photographs and of a video's frames) match within a Hamming
distance of 31 of 256 bits: recall is complete, adding and removing are incremental.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exchange.domain.bodies import SignalHeader
from exchange.domain.identifiers import INDICATOR_TYPES, PDQ_BYTES, IndicatorType
from exchange.domain.statement import Indicator
from exchange_client.delivery import Delivery
from exchange_client.hamming import HammingIndex

#: A darker or emptier frame looks like every other one.
MIN_FRAME_QUALITY = 50
_PERCEPTUAL = (IndicatorType.PDQ, IndicatorType.VPDQ)


@dataclass(frozen=True, slots=True)
class Match:
    """A known signal that the content matches, and where it comes from."""

    signal_id: bytes
    publisher: str
    index: int
    label: int
    severity: int
    confidence: int
    handling: int
    expires_at_ms: int
    type: int
    #: Bits that differ; 0 for an exact type.
    distance: int
    #: The log that ``index`` is a place in.
    origin: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    signal_id: bytes
    delivery: Delivery
    header: SignalHeader

    def match(self, type_: int, distance: int) -> Match:
        header = self.header
        return Match(
            self.signal_id,
            self.delivery.publisher,
            self.delivery.index,
            header.label,
            header.severity,
            header.confidence,
            header.handling,
            header.expires_at_ms,
            type_,
            distance,
            self.delivery.origin,
        )


class Matcher:
    """The signals of one or more logs, ready to be asked."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._exact: dict[tuple[int, int, bytes], set[bytes]] = {}
        self._exact_of: dict[bytes, set[tuple[int, int, bytes]]] = {}
        self._pdq = HammingIndex()
        #: Removed for good: a repeat by their publisher does not bring them back.
        self._gone: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, delivery: Delivery) -> None:
        """Take what a delivery says. The first header of a signal wins; a repeat changes nothing.

        What it replaces is removed, also where its records are not for us, provided that it is its own publisher's.
        """
        header = delivery.signal
        if header is None:
            return
        perceptual: list[tuple[bytes, bytes]] = []
        for signal in delivery.signals:
            if signal.signal_id not in self._known and signal.signal_id not in self._gone:
                self._known[signal.signal_id] = _Known(signal.signal_id, delivery, header)
                perceptual.extend(self._index(signal.signal_id, signal.indicators))
        self._pdq.add([signal_id for signal_id, _ in perceptual], [value for _, value in perceptual])
        for replaced in header.replaces:
            known = self._known.get(replaced)
            if known is not None and known.delivery.publisher == delivery.publisher:
                self.remove(replaced)

    def _index(self, signal_id: bytes, indicators: Iterable[Indicator]) -> Iterable[tuple[bytes, bytes]]:
        """Take the exact indicators, and yield the hashes of the others: those of a delivery are added together."""
        for indicator in indicators:
            if indicator.type in _PERCEPTUAL:
                yield from ((signal_id, value) for value in _hashes(indicator))
            else:
                key = (indicator.type, indicator.profile, indicator.value)
                self._exact.setdefault(key, set()).add(signal_id)
                self._exact_of.setdefault(signal_id, set()).add(key)

    def remove(self, signal_id: bytes) -> None:
        """Forget a signal for good; an unknown one is ignored."""
        if signal_id in self._known:
            self._gone.add(signal_id)
            self._forget(signal_id)

    def _forget(self, signal_id: bytes) -> None:
        del self._known[signal_id]
        self._pdq.remove(signal_id)
        for key in self._exact_of.pop(signal_id, ()):
            owners = self._exact[key]
            owners.discard(signal_id)
            if not owners:
                del self._exact[key]

    def expire(self, *, now_ms: int) -> int:
        """Forget signals whose time is over; return how many."""
        over = [id_ for id_, known in self._known.items() if known.header.expires_at_ms <= now_ms]
        for signal_id in over:
            self._forget(signal_id)
        return len(over)

    def match(self, indicators: Sequence[Indicator], *, now_ms: int) -> list[Match]:
        """Return the live signals that content with these indicators matches, nearest first."""
        best: dict[bytes, tuple[int, int]] = {}
        for indicator in indicators:
            for signal_id, distance in self._candidates(indicator):
                if signal_id not in best or distance < best[signal_id][1]:
                    best[signal_id] = (indicator.type, distance)
        found = [
            self._known[id_].match(type_, distance)
            for id_, (type_, distance) in best.items()
            if self._known[id_].header.expires_at_ms > now_ms
        ]
        return sorted(found, key=lambda match: (match.distance, match.index))

    def _candidates(self, indicator: Indicator) -> Iterable[tuple[bytes, int]]:
        if indicator.type in _PERCEPTUAL:
            limit = INDICATOR_TYPES[indicator.type].hamming
            for value in _hashes(indicator):
                yield from self._pdq.within(value, limit).items()
        else:
            key = (indicator.type, indicator.profile, indicator.value)
            yield from ((signal_id, 0) for signal_id in self._exact.get(key, ()))


def _hashes(indicator: Indicator) -> Iterable[bytes]:
    """Yield the PDQ hashes that can be compared: of frames only those with enough structure, as vPDQ has it."""
    if indicator.type == IndicatorType.PDQ:
        found: Iterable[bytes] = (indicator.value,)
    else:
        found = (frame.pdq for frame in indicator.frames if frame.quality >= MIN_FRAME_QUALITY)
    return (value for value in found if len(value) == PDQ_BYTES)
