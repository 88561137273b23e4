"""Matching content against known signals, in memory. Nothing bans by itself: a match is advice, with its provenance.

Both ways: content is asked against the signals that are known, and a signal that comes is held against the content that
the platform has. Which came first does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from exchange.domain.bodies import Erasure, Opinion, Quarantine, Release, Retraction, SignalHeader
from exchange_client.delivery import Delivery
from exchange_client.indicator_index import IndicatorIndex, pack
from exchange_client.known_signals import (
    Changed,
    Changes,
    EndedBy,
    KnownSignal,
    KnownStatement,
    StatementRow,
    statement_row,
)
from exchange_client.match import NO_OPINIONS, ContentMatch, Match, Opinions
from exchange_client.records import Indicator

_EXPIRES_AT: Final = 7
assert KnownStatement._fields[_EXPIRES_AT] == "expires_at_ms"


class Matcher:
    """The signals of one or more logs, and a platform's own content, ready to be asked."""

    def __init__(self) -> None:
        self._statements: dict[bytes, StatementRow] = {}
        self._signals = IndicatorIndex()
        #: By the platform's references, in UTF-8.
        self._content = IndicatorIndex()
        self._flagged: set[bytes] = set()
        #: By origin and member, from which index on.
        self._flagged_from: dict[tuple[str, str], int] = {}
        #: By signal and member.
        self._opinions: dict[bytes, dict[str, int]] = {}
        #: Removed for good: a repeat by their publisher does not bring them back.
        self._gone: set[bytes] = set()
        #: Ended before they were known here, by whom (empty: operators): what comes later must not match.
        self._ended: set[EndedBy] = set()
        #: None where there is no file to keep it.
        self._changed: Changed | None = None

    def __len__(self) -> int:
        return len(self._statements)

    def add(self, delivery: Delivery) -> list[bytes]:
        """Take what a delivery says of signals; return those to hold against the own content now: `content_matching`.

        That is its own signals that stand, also when it is delivered again, and those that it releases. Only its
        publisher replaces a signal, and only its publisher and operators take it back.
        """
        origin, publisher = delivery.origin, delivery.publisher
        match delivery.header.body:
            case SignalHeader() as body:
                return self._add_signals(delivery, body)
            case Retraction() | Erasure() as body:
                self._take_back(delivery, body.targets)
            case Opinion() as body:
                for signal_id in body.targets:
                    if self._statement(signal_id, origin) is not None:
                        self.set_opinion(signal_id, publisher, body.category)
            case Quarantine() as body:
                self.flag_publisher(origin, body.member, from_index=body.from_index)
            case Release() as body:
                if (origin, body.member) in self._flagged_from:
                    return self.release_publisher(origin, body.member)
                return self._unflagged(origin, body.member, 0)  # it may be delivered again
        return []

    def _add_signals(self, delivery: Delivery, header: SignalHeader) -> list[bytes]:
        """Take signals. The first header of one wins: a repeat in another entry changes nothing.

        What they replace is removed, also where their records are not for us.
        """
        row = statement_row(delivery, header)
        new: dict[bytes, bytes] = {}
        for signal in delivery.signals:
            if signal.signal_id not in self._statements and not self._is_ended(signal.signal_id, delivery):
                new.setdefault(signal.signal_id, pack(signal.indicators))
        self._statements.update(dict.fromkeys(new, row))
        self._signals.add(new.items())
        self._note(new)
        self._take_back(delivery, header.replaces)
        place = (delivery.origin, delivery.index)
        ids = dict.fromkeys(delivery.signals.ids)
        return [id_ for id_ in ids if id_ in self._statements and self._statements[id_][:2] == place]

    def _take_back(self, delivery: Delivery, signal_ids: Iterable[bytes]) -> None:
        """Forget signals that a delivery ends. One that is not known here may still come: another's, or filtered."""
        by = "" if delivery.by_operators else delivery.publisher
        for signal_id in signal_ids:
            statement = self._statement(signal_id, delivery.origin)
            if statement is not None and by in ("", statement.publisher):
                self.remove(signal_id)
            elif signal_id not in self._gone:
                self._end_unknown((signal_id, delivery.origin, by))

    def _end_unknown(self, ended: EndedBy) -> None:
        self._ended.add(ended)
        if self._changed is not None:
            self._changed.ended.add(ended)

    def _is_ended(self, signal_id: bytes, delivery: Delivery) -> bool:
        """Whether this signal, of whose delivery, was taken back, erased or replaced for good."""
        if signal_id in self._gone:
            return True
        return any((signal_id, delivery.origin, by) in self._ended for by in ("", delivery.publisher))

    def remove(self, signal_id: bytes) -> None:
        """Forget a signal for good; an unknown one is ignored."""
        if signal_id in self._statements:
            self._gone.add(signal_id)
            self._forget(signal_id)

    def _forget(self, signal_id: bytes) -> None:
        del self._statements[signal_id]
        self._signals.remove(signal_id)
        self._flagged.discard(signal_id)
        self._opinions.pop(signal_id, None)
        self._note((signal_id,))

    def expire(self, *, now_ms: int) -> int:
        """Forget signals whose time is over; return how many."""
        over = [id_ for id_, row in self._statements.items() if row[_EXPIRES_AT] <= now_ms]
        for signal_id in over:
            self._forget(signal_id)
        if self._changed is not None:
            self._changed.expired_ms = max(self._changed.expired_ms, now_ms)
        return len(over)

    def flag(self, signal_id: bytes) -> None:
        """Hold a signal's matches back until `release`; an unknown one is ignored."""
        if signal_id in self._statements:
            self._flagged.add(signal_id)
            self._note((signal_id,))

    def release(self, signal_id: bytes) -> list[bytes]:
        """End a signal's own flag; return it where its matches are held back no more: ask `content_matching`."""
        if signal_id not in self._flagged:
            return []
        self._flagged.discard(signal_id)
        self._note((signal_id,))
        return [] if self._is_flagged(signal_id) else [signal_id]

    def flag_publisher(self, origin: str, member: str, *, from_index: int = 0) -> None:
        """Hold the matches of a member's signals in a log back, from an entry on; the lowest one counts."""
        before = self._flagged_from.get((origin, member), from_index)
        self._flagged_from[origin, member] = min(before, from_index)
        self._note_publishers()

    def release_publisher(self, origin: str, member: str) -> list[bytes]:
        """End a member's flag in a log; return the signals whose matches are held back no more."""
        from_index = self._flagged_from.pop((origin, member), None)
        if from_index is None:
            return []
        self._note_publishers()
        return self._unflagged(origin, member, from_index)

    def _unflagged(self, origin: str, member: str, from_index: int) -> list[bytes]:
        theirs = (
            id_
            for id_, row in self._statements.items()
            if (row[0], row[2]) == (origin, member) and row[1] >= from_index
        )
        return [id_ for id_ in theirs if id_ not in self._flagged]

    def set_opinion(self, signal_id: bytes, member: str, opinion: int) -> None:
        """Note a member's opinion, an `OpinionCategory`: its last one counts. An unknown signal is ignored."""
        if signal_id in self._statements:
            self._opinions.setdefault(signal_id, {})[member] = opinion
            self._note((signal_id,))

    def add_content(self, content: Iterable[tuple[str, Sequence[Indicator]]]) -> None:
        """Add the platform's own content, each under a reference of the platform's; many at once are much cheaper.

        One whose reference is there takes its place.
        """
        packed = {reference: pack(indicators) for reference, indicators in content}
        self.remove_content(packed)
        self._content.add([(reference.encode(), value) for reference, value in packed.items()])
        if self._changed is not None:
            self._changed.content.update(packed)

    def remove_content(self, references: Iterable[str]) -> None:
        """Forget content of the platform's; unknown references are ignored."""
        for reference in references:
            owner = reference.encode()
            if owner in self._content:
                self._content.remove(owner)
                if self._changed is not None:
                    self._changed.content.add(reference)

    def match(self, indicators: Sequence[Indicator], *, now_ms: int, include_flagged: bool = False) -> list[Match]:
        """Return the live signals that content with these indicators matches, nearest first."""
        best = self._signals.nearest(pack(indicators))
        corroboration = self._corroboration(best, now_ms)
        found = [
            self._match(id_, *nearest, corroboration)
            for id_, nearest in best.items()
            if self._counts(id_, now_ms, include_flagged=include_flagged)
        ]
        return sorted(found, key=lambda match: (match.distance, match.index, match.origin, match.signal_id))

    def content_matching(
        self, signal_ids: Iterable[bytes], *, now_ms: int, include_flagged: bool = False
    ) -> list[ContentMatch]:
        """Return the own content that these signals match, where they are live: of each the nearest first."""
        matches: list[ContentMatch] = []
        corroborations: dict[bytes, tuple[str, ...]] = {}
        for signal_id in signal_ids:
            if not self._counts(signal_id, now_ms, include_flagged=include_flagged):
                continue
            found = self._content.nearest(self._signals.packed(signal_id))
            for owner, nearest in sorted(found.items(), key=lambda item: (item[1][1], item[0])):
                if owner not in corroborations:
                    same = self._signals.nearest(self._content.packed(owner))
                    corroborations[owner] = self._corroboration(same, now_ms)
                matches.append(ContentMatch(owner.decode(), self._match(signal_id, *nearest, corroborations[owner])))
        return matches

    def _statement(self, signal_id: bytes, origin: str) -> KnownStatement | None:
        """Return what a signal of this log was said with, if it is known."""
        row = self._statements.get(signal_id)
        return KnownStatement._make(row) if row is not None and row[0] == origin else None

    def _counts(self, signal_id: bytes, now_ms: int, *, include_flagged: bool = False) -> bool:
        row = self._statements.get(signal_id)
        if row is None or row[_EXPIRES_AT] <= now_ms:
            return False
        return include_flagged or not self._is_flagged(signal_id)

    def _is_flagged(self, signal_id: bytes) -> bool:
        if signal_id in self._flagged:
            return True
        if not self._flagged_from:
            return False
        origin, index, publisher, *_ = self._statements[signal_id]
        from_index = self._flagged_from.get((origin, publisher))
        return from_index is not None and index >= from_index

    def _corroboration(self, signal_ids: Iterable[bytes], now_ms: int) -> tuple[str, ...]:
        """Return who said the same, and cannot have had it from another: before anybody can have been given it."""
        found = [KnownStatement._make(self._statements[id_]) for id_ in signal_ids if self._counts(id_, now_ms)]
        if not found:
            return ()
        first = min(found, key=lambda each: (each.received_at_ms, each.origin, each.log_index))
        own = (each for each in found if not each.derived)
        independent = (
            each.publisher
            for each in own
            if each.publisher == first.publisher or each.said_at_ms < first.received_at_ms
        )
        return tuple(sorted(set(independent)))

    def _match(self, signal_id: bytes, type_: int, distance: int, corroboration: tuple[str, ...]) -> Match:
        statement = KnownStatement._make(self._statements[signal_id])
        opinions = self._opinions.get(signal_id)
        return Match(
            signal_id,
            statement.publisher,
            statement.log_index,
            statement.label,
            statement.severity,
            statement.confidence,
            statement.handling,
            statement.expires_at_ms,
            type_,
            distance,
            statement.origin,
            self._is_flagged(signal_id),
            NO_OPINIONS if opinions is None else Opinions.of(opinions.values()),
            corroboration,
        )

    def _note(self, signal_ids: Iterable[bytes]) -> None:
        if self._changed is not None:
            self._changed.signals.update(signal_ids)

    def _note_publishers(self) -> None:
        if self._changed is not None:
            self._changed.publishers = True

    def fill(
        self,
        signals: Iterable[tuple[bytes, StatementRow, bytes]],
        content: Iterable[tuple[bytes, bytes]],
        *,
        flagged: Iterable[bytes],
        flagged_from: Mapping[tuple[str, str], int],
        opinions: Iterable[tuple[bytes, str, int]],
        gone: Iterable[bytes],
        ended: Iterable[EndedBy],
    ) -> None:
        """Take what a file holds, which packs indicators, in an empty matcher; from now on its changes are noted."""

        def owned() -> Iterator[tuple[bytes, bytes]]:
            for signal_id, statement, packed in signals:
                self._statements[signal_id] = statement
                yield signal_id, packed

        self._signals.add(owned())
        self._content.add(content)
        self._flagged.update(flagged)
        self._flagged_from.update(flagged_from)
        for signal_id, member, opinion in opinions:
            self._opinions.setdefault(signal_id, {})[member] = opinion
        self._gone.update(gone)
        self._ended.update(ended)
        self._changed = Changed()

    def take_changes(self) -> Changes:
        """Return what changed since the last time, as it stands now."""
        changed, self._changed = self._changed or Changed(), Changed()
        return Changes(
            {id_: self._known(id_) for id_ in changed.signals},
            changed.signals & self._gone,
            {
                ref: self._content.packed(owner) if (owner := ref.encode()) in self._content else None
                for ref in changed.content
            },
            dict(self._flagged_from) if changed.publishers else None,
            changed.expired_ms,
            changed.ended,
        )

    def give_back(self, changes: Changes) -> None:
        """Note changes again that were not written."""
        changed = self._changed or Changed()
        changed.signals |= changes.signals.keys()
        changed.content |= changes.content.keys()
        changed.publishers |= changes.flagged_from is not None
        changed.expired_ms = max(changed.expired_ms, changes.expired_ms)
        changed.ended |= changes.ended
        self._changed = changed

    def _known(self, signal_id: bytes) -> KnownSignal | None:
        statement = self._statements.get(signal_id)
        if statement is None:
            return None
        opinions = dict(self._opinions.get(signal_id, {}))
        return KnownSignal(statement, self._signals.packed(signal_id), signal_id in self._flagged, opinions)
