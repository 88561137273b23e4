"""A matcher as simple as can be: it remembers everything, and compares one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from exchange.domain.bodies import Erasure, Opinion, Quarantine, Release, Retraction, SignalHeader
from exchange.domain.identifiers import IndicatorType
from exchange_client import ContentMatch, Delivery, Indicator, Match, Opinions

HASHED = (IndicatorType.PDQ, IndicatorType.VPDQ)


@dataclass
class Said:
    """A signal."""

    delivery: Delivery
    header: SignalHeader
    indicators: tuple[Indicator, ...]
    flagged: bool = False
    opinions: dict[str, int] = field(default_factory=dict)


def hashes(indicator: Indicator) -> list[bytes]:
    """What is compared by distance."""
    if indicator.type == IndicatorType.PDQ:
        return [indicator.value]
    return [frame.pdq for frame in indicator.frames if frame.quality >= 50]


def apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def nearest(asked: Iterable[Indicator], known: Iterable[Indicator]) -> tuple[int, int] | None:
    """Type and distance of the first indicator that is nearest."""
    found = []
    for one in asked:
        for other in known:
            if one.type in HASHED and other.type in HASHED:
                found += [(one.type, apart(a, b)) for a in hashes(one) for b in hashes(other) if apart(a, b) <= 31]
            elif (one.type, one.profile, one.value) == (other.type, other.profile, other.value):
                found.append((one.type, 0))
    return min(found, key=lambda each: each[1]) if found else None


class NaiveMatcher:
    def __init__(self) -> None:
        self.signals: dict[bytes, Said] = {}
        self.gone: set[bytes] = set()
        self.ended: set[tuple[bytes, str, str]] = set()
        self.content: dict[str, tuple[Indicator, ...]] = {}
        self.flagged_from: dict[tuple[str, str], int] = {}

    def add(self, delivery: Delivery) -> list[bytes]:
        publisher, origin = delivery.publisher, delivery.origin
        body = delivery.header.body
        here = {id_: said for id_, said in self.signals.items() if said.delivery.origin == origin}
        if isinstance(body, SignalHeader):
            return self.add_signals(delivery, body)
        if isinstance(body, Retraction | Erasure):
            self.end(body.targets, origin, "" if delivery.by_operators else publisher)
        if isinstance(body, Opinion):
            for id_ in set(body.targets) & set(here):
                here[id_].opinions[publisher] = body.category
        if isinstance(body, Quarantine):
            self.flag_publisher(origin, body.member, body.from_index)
        if isinstance(body, Release):
            if (origin, body.member) in self.flagged_from:
                return sorted(self.release_publisher(origin, body.member))
            return sorted(i for i, s in here.items() if s.delivery.publisher == body.member and not s.flagged)
        return []

    def flag_publisher(self, origin: str, member: str, from_index: int) -> None:
        before = self.flagged_from.get((origin, member), from_index)
        self.flagged_from[origin, member] = min(before, from_index)

    def add_signals(self, delivery: Delivery, header: SignalHeader) -> list[bytes]:
        for signal in delivery.signals:
            ends = {(signal.signal_id, delivery.origin, by) for by in ("", delivery.publisher)}
            if signal.signal_id not in self.gone and not ends & self.ended:
                self.signals.setdefault(signal.signal_id, Said(delivery, header, signal.indicators))
        self.end(header.replaces, delivery.origin, delivery.publisher)
        here = [signal.signal_id for signal in delivery.signals if signal.signal_id in self.signals]
        return [id_ for id_ in here if self.signals[id_].delivery.index == delivery.index]

    def end(self, ids: Iterable[bytes], origin: str, publisher: str) -> None:
        for id_ in ids:
            said = self.signals.get(id_)
            if said and said.delivery.origin == origin and publisher in ("", said.delivery.publisher):
                self.remove(id_)
            self.ended.add((id_, origin, publisher))

    def remove(self, id_: bytes) -> None:
        if self.signals.pop(id_, None) is not None:
            self.gone.add(id_)

    def expire(self, now_ms: int) -> int:
        before = len(self.signals)
        self.signals = {id_: said for id_, said in self.signals.items() if said.header.expires_at_ms > now_ms}
        return before - len(self.signals)

    def flagged(self, said: Said) -> bool:
        from_index = self.flagged_from.get((said.delivery.origin, said.delivery.publisher))
        return said.flagged or (from_index is not None and said.delivery.index >= from_index)

    def release(self, id_: bytes) -> list[bytes]:
        if id_ not in self.signals or not self.signals[id_].flagged:
            return []
        self.signals[id_].flagged = False
        return [] if self.flagged(self.signals[id_]) else [id_]

    def release_publisher(self, origin: str, member: str) -> set[bytes]:
        before = {id_ for id_, said in self.signals.items() if self.flagged(said)}
        self.flagged_from.pop((origin, member), None)
        return {id_ for id_ in before if not self.flagged(self.signals[id_])}

    def live(self, now_ms: int, *, flagged: bool) -> dict[bytes, Said]:
        return {
            id_: said
            for id_, said in self.signals.items()
            if said.header.expires_at_ms > now_ms and (flagged or not self.flagged(said))
        }

    def corroboration(self, content: Sequence[Indicator], now_ms: int) -> tuple[str, ...]:
        same = [said for said in self.live(now_ms, flagged=False).values() if nearest(content, said.indicators)]
        if not same:
            return ()
        order = [(said.delivery.received_at_ms, said.delivery.origin, said.delivery.index) for said in same]
        (first_ms, *_), first_by = min(zip(order, [said.delivery.publisher for said in same], strict=True))
        found = set()
        for said in same:
            early = said.header.actioned_at_ms < first_ms and said.delivery.header.created_at_ms < first_ms
            if not said.header.derived_from and (early or said.delivery.publisher == first_by):
                found.add(said.delivery.publisher)
        return tuple(sorted(found))

    def match_of(self, id_: bytes, near: tuple[int, int], content: Sequence[Indicator], now_ms: int) -> Match:
        said = self.signals[id_]
        header, delivery = said.header, said.delivery
        return Match(
            signal_id=id_,
            publisher=delivery.publisher,
            index=delivery.index,
            label=header.label,
            severity=header.severity,
            confidence=header.confidence,
            handling=header.handling,
            expires_at_ms=header.expires_at_ms,
            type=near[0],
            distance=near[1],
            origin=delivery.origin,
            flagged=self.flagged(said),
            opinions=Opinions(*(list(said.opinions.values()).count(number) for number in (1, 2, 3))),
            corroboration=self.corroboration(content, now_ms),
        )

    def match(self, content: Sequence[Indicator], *, now_ms: int, include_flagged: bool) -> list[Match]:
        found = [
            self.match_of(id_, near, content, now_ms)
            for id_, said in self.live(now_ms, flagged=include_flagged).items()
            if (near := nearest(content, said.indicators))
        ]
        return sorted(found, key=lambda match: (match.distance, match.index, match.origin, match.signal_id))

    def content_matching(self, ids: Iterable[bytes], *, now_ms: int, include_flagged: bool) -> list[ContentMatch]:
        live = self.live(now_ms, flagged=include_flagged)
        found = []
        for id_ in ids:
            theirs = [
                ContentMatch(reference, self.match_of(id_, near, content, now_ms))
                for reference, content in self.content.items()
                if id_ in live and (near := nearest(live[id_].indicators, content))
            ]
            found += sorted(theirs, key=lambda each: (each.match.distance, each.reference))
        return found
