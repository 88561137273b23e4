"""The second half of the model: where a platform is in the ledger, and what stands in its look-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.oracle.model import Shown, Signal, Statement, Value, Wanted


@dataclass(frozen=True, slots=True)
class Known:
    """What a match tells of a signal."""

    id: bytes
    publisher: str
    index: int
    label: int
    flagged: bool
    #: How many members think that it is right, worth a look, wrong.
    opinions: tuple[int, ...]
    #: The members whose signals say the same, and who said so before they can have heard it.
    corroboration: tuple[str, ...]


@dataclass(slots=True)
class Reader:
    """A platform that follows the ledger: where it is, and what its look-up holds."""

    name: str
    wanted: Wanted = field(default_factory=Wanted)
    #: The index that comes next.
    next: int = 0
    #: Where the message began whose entries it was handed last, on this stream.
    message_at: int | None = None
    in_hand: int | None = None
    known: dict[bytes, Signal] = field(default_factory=dict)
    ended: set[bytes] = field(default_factory=set)

    #: Of known signals: what members think of them.
    opinions: dict[bytes, dict[str, int]] = field(default_factory=dict)
    #: Members whose signals are flagged, from an entry on.
    flagged: dict[str, int] = field(default_factory=dict)

    def takes(self, said: Statement, shown: Shown, by_id: dict[bytes, Signal]) -> None:
        """Take one entry as it was shown: what is new is known, and what ends is known no more."""
        for id_, _ in shown.signals:
            if id_ not in self.ended:
                self.known.setdefault(id_, by_id[id_])
        if said.kind in ("retraction", "erasure"):
            self._end(said.targets)
        elif said.kind == "opinion":
            for id_ in said.targets:
                if id_ in self.known:
                    self.opinions.setdefault(id_, {})[said.publisher] = said.category
        elif said.kind == "quarantine":
            self.flagged[said.about] = min(said.from_index, self.flagged.get(said.about, said.from_index))
        elif said.kind == "release":
            self.flagged.pop(said.about, None)
        self._end(id_ for id_ in said.replaces if id_ in by_id and by_id[id_].statement.publisher == said.publisher)

    def _end(self, ids: Iterable[bytes]) -> None:
        for id_ in ids:
            if id_ in self.known:
                self.forget(id_)
                self.ended.add(id_)

    def forget(self, id_: bytes) -> None:
        """Know a signal no more."""
        del self.known[id_]
        self.opinions.pop(id_, None)

    def matching(self, value: Value, now_ms: int, *, include_flagged: bool) -> set[Known]:
        """Return what content of this value matches, and what is known of each."""
        live = [
            signal for signal in self.known.values() if signal.value == value and signal.statement.expires_ms > now_ms
        ]
        unflagged = [signal for signal in live if not self._is_flagged(signal.statement)]
        corroboration = _independent([signal.statement for signal in unflagged])
        return {
            Known(
                signal.id,
                signal.statement.publisher,
                signal.statement.index,
                signal.statement.label,
                self._is_flagged(signal.statement),
                tuple(list(self.opinions.get(signal.id, {}).values()).count(category) for category in (1, 2, 3)),
                corroboration,
            )
            for signal in (live if include_flagged else unflagged)
        }

    def _is_flagged(self, said: Statement) -> bool:
        start = self.flagged.get(said.publisher)
        return start is not None and said.index >= start


def _independent(said: list[Statement]) -> tuple[str, ...]:
    """Return who said it first, and who had acted and said so before anybody else can have been told."""
    if not said:
        return ()
    first = min(said, key=lambda each: each.index)
    early = {each.publisher for each in said if max(each.created_ms, each.actioned_ms) < first.received_ms}
    return tuple(sorted(early | {first.publisher}))
