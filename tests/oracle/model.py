"""What must be true, written down a second time: plain lists and sets, with nothing of the product in it.

The model is told what was said and when, and answers: is this taken? who is shown which records of which entry? what
who owes what? how long did everything take? It is written from WIRE and the docs, and
imports the standard library only. Where it and the product differ, one of them is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
#: How long who is suspended or has left is shown leaves.
LEAVES_MS = 90 * DAY_MS
OPERATOR = "operator"
#: What two clocks may be apart.
APART_MS = 2_000

#: An indicator: number of its type, and value.
Value = tuple[int, bytes]


@dataclass(slots=True)
class Signal:
    """One signal that is in the ledger."""

    id: bytes
    value: Value
    statement: Statement
    retracted_at: int | None = None
    erased_at: int | None = None
    replaced_at: int | None = None
    #: Whether its record has left the hub.
    gone: bool = False
    opinions: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Of each member the last: index, state, reason.
    said: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    #: Stages of lag that were counted for a member.
    counted: set[tuple[str, int]] = field(default_factory=set)

    @property
    def stands(self) -> bool:
        """Whether nothing has ended it."""
        return self.retracted_at is None and self.erased_at is None and self.replaced_at is None


@dataclass(slots=True)
class Statement:
    """One entry of the ledger, whatever its kind."""

    kind: str
    publisher: str
    received_ms: int
    index: int = -1
    targets: tuple[bytes, ...] = ()
    reason: int = 0
    # Of a signal:
    signals: list[Signal] = field(default_factory=list)
    label: int = 0
    expires_ms: int = 0
    actioned_ms: int = 0
    created_ms: int = 0
    in_lag: bool = True
    #: None for everyone.
    audience: frozenset[str] | None = None
    #: How often somebody had come or gone before it was said.
    moves: int = 0
    #: Of an erasure: who had acknowledged each of its targets before.
    acknowledged: dict[bytes, frozenset[str]] = field(default_factory=dict)
    replaces: tuple[bytes, ...] = ()
    # Of an opinion:
    category: int = 0
    # Of a quarantine or release:
    about: str = ""
    from_index: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter; an empty set lets everything pass."""

    labels: frozenset[int] = frozenset()
    types: frozenset[int] = frozenset()

    def passes(self, said: Statement) -> bool:
        """Whether records of this entry are wanted."""
        types = {signal.value[0] for signal in said.signals}
        return (not self.labels or said.label in self.labels) and (not self.types or bool(self.types & types))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a reader is shown of one entry."""

    index: int
    kind: str
    publisher: str
    state: str
    signals: tuple[tuple[bytes, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Debt:
    """How a member stands to the end of a signal."""

    owes: bool
    closed_at: int | None
    overdue: bool
    said: int

    @property
    def open(self) -> bool:
        """Whether an answer is owed and has not come."""
        return self.owes and self.closed_at is None


@dataclass(slots=True)
class Model:
    """One community."""

    platforms: Sequence[str]
    now_ms: int
    ledger: list[Statement] = field(default_factory=list)
    by_id: dict[bytes, Signal] = field(default_factory=dict)
    inside: set[str] = field(default_factory=set)
    #: How often somebody has come or gone, and between which of these each member was inside (None: still).
    moves: int = 0
    stays: dict[str, list[tuple[int, int | None]]] = field(default_factory=dict)
    suspended_ms: dict[str, int] = field(default_factory=dict)
    left_ms: dict[str, int] = field(default_factory=dict)
    #: Of each member: through which index, and when that was received.
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    quarantined_from: dict[str, int] = field(default_factory=dict)
    #: Stage, publisher, receiver, label, bucket.
    lag: Counter[tuple[int, str, str, int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.stays = {member: [(-1, None)] for member in self.inside}

    def come(self, member: str) -> None:
        """Let a member into the community."""
        self.inside.add(member)
        self.stays.setdefault(member, []).append((self.moves, None))
        self.moves += 1

    def go(self, member: str) -> None:
        """Let a member leave the community."""
        self.inside.discard(member)
        since, _ = self.stays[member].pop()
        self.stays[member].append((since, self.moves))
        self.moves += 1

    # Who may say and see what.

    def given(self, said: Statement, member: str, before: Statement | None = None) -> bool:
        """Whether a member was given a statement's records (before another): it was there then, or came later."""
        if said.audience is not None and member not in said.audience:
            return False
        return any(
            (until is None or until >= said.moves) and (before is None or since < before.moves)
            for since, until in self.stays.get(member, ())
        )

    def may_speak(self, member: str) -> bool:
        """Whether a platform may say anything here now."""
        return member in self.inside and member not in self.suspended_ms

    def sight(self, member: str) -> str | None:
        """Return what a platform is shown now: records, leaves or nothing."""
        suspended = self.suspended_ms.get(member)
        if suspended is not None and self.now_ms - suspended >= LEAVES_MS:
            return None
        if member not in self.inside:
            left = self.left_ms.get(member)
            return "leaves" if left is not None and self.now_ms - left < LEAVES_MS else None
        return "records" if suspended is None else "leaves"

    def shown(self, member: str, index: int, wanted: Wanted | None = None) -> Shown:
        """Return what a platform's pipeline is shown now of one entry."""
        said = self.ledger[index]
        bare = Shown(index, said.kind, said.publisher, "not_for_you")
        if said.kind != "signal" or self.sight(member) != "records":
            return bare
        readers = said.audience
        if readers is not None and member != said.publisher and member not in readers:
            return bare
        if wanted is not None and not wanted.passes(said):
            return bare
        there = tuple((each.id, each.value) for each in said.signals if not each.gone)
        return Shown(index, said.kind, said.publisher, "present" if there else "erased", there)

    def may_know(self, member: str, id_: bytes) -> bool:
        """Whether a member may name a signal: its own, or one that it was given. The operator may name each."""
        signal = self.by_id.get(id_)
        if signal is None:
            return False
        return member in (OPERATOR, signal.statement.publisher) or self.given(signal.statement, member)

    def may_say(self, kind: str, member: str, targets: Sequence[bytes]) -> bool:
        """Whether a member may say this of signals."""
        if member != OPERATOR and not self.may_speak(member):
            ended = all(id_ in self.by_id and not self.by_id[id_].stands for id_ in targets)
            if kind != "disposition" or not ended or member not in self.stays:
                return False
        if not targets or len(set(targets)) != len(targets):
            return False
        return all(self.may_say_of(kind, member, id_) for id_ in targets)

    def may_say_of(self, kind: str, member: str, id_: bytes) -> bool:
        """Whether a member that may speak may say this of one signal."""
        if not self.may_know(member, id_):
            return False
        signal = self.by_id[id_]
        own = signal.statement.publisher == member
        if kind == "retraction":
            return (own or member == OPERATOR) and signal.retracted_at is None
        if kind == "erasure":
            return (own or member == OPERATOR) and signal.erased_at is None
        return not own and member != OPERATOR

    def may_acknowledge(self, member: str, through: int) -> bool:
        """Whether a member may say now that it has processed all up to an index."""
        if not self.may_speak(member) or not 0 <= through < len(self.ledger):
            return False
        last = self.acknowledged.get(member)
        return last is None or (through > last[0] and self.now_ms >= last[1] + MINUTE_MS)

    # What was said, and taken.

    def add(self, said: Statement) -> Statement:
        """Take a statement as the next entry of the ledger."""
        said.index, said.received_ms = len(self.ledger), self.now_ms
        said.moves = self.moves
        self.ledger.append(said)
        return said

    def add_signals(self, said: Statement, *, created_ms: int) -> None:
        """Take a statement of signals."""
        said.created_ms = created_ms
        self.add(said)
        self.by_id.update((each.id, each) for each in said.signals)
        for id_ in said.replaces:
            old = self.by_id.get(id_)
            if old is not None and old.statement.publisher == said.publisher and old.replaced_at is None:
                old.replaced_at = said.index
        if said.in_lag:
            if said.actioned_ms:
                self._lag(1, said, "", said.received_ms - said.actioned_ms)
            self._lag(2, said, "", said.received_ms - created_ms)

    def add_ending(self, said: Statement, *, decided_ms: int = 0) -> None:
        """Take a retraction or an erasure."""
        self.add(said)
        for id_ in said.targets:
            signal = self.by_id[id_]
            if said.kind == "erasure":
                signal.erased_at = said.index
                reached = {who for who, (through, _) in self.acknowledged.items() if through >= signal.statement.index}
                said.acknowledged[id_] = frozenset(reached)
            else:
                signal.retracted_at = said.index
                if decided_ms:
                    self._lag(7, signal.statement, "", said.received_ms - decided_ms)

    def add_opinion(self, said: Statement) -> None:
        """Take an opinion."""
        self.add(said)
        for id_ in said.targets:
            self.by_id[id_].opinions[said.publisher] = (said.category, said.reason)

    def add_disposition(self, said: Statement, state: int, *, matched_ms: int, actioned_ms: int) -> None:
        """Take a disposition: the last one counts; lag is counted once for a stage, and not of before the signal."""
        self.add(said)
        who = said.publisher
        for id_ in said.targets:
            signal = self.by_id[id_]
            about, lags = signal.statement, dict[int, int]()
            signal.said[who] = (said.index, state, said.reason)
            if state == 4:  # reversed
                if signal.retracted_at is not None and actioned_ms:
                    lags[9] = actioned_ms - self.ledger[signal.retracted_at].received_ms
            elif about.in_lag:
                if matched_ms:
                    lags[4] = matched_ms - about.received_ms
                if state == 2 and actioned_ms:  # actioned
                    lags[5] = actioned_ms - about.received_ms
                    if about.actioned_ms and lags[5] >= -APART_MS:
                        lags[6] = actioned_ms - about.actioned_ms
            for stage, ms in lags.items():
                if ms >= -APART_MS and (who, stage) not in signal.counted:
                    signal.counted.add((who, stage))
                    self._lag(stage, about, who, ms)

    def add_acknowledgement(self, said: Statement, through: int, cells: Sequence[tuple[str, int, bool, int]]) -> None:
        """Take an acknowledgement; a cell is publisher, label, whether of retractions, and one bucket with one count."""
        self.add(said)
        self.acknowledged[said.publisher] = (through, said.received_ms)
        for publisher, label, retraction, bucket in cells:
            self.lag[8 if retraction else 3, publisher, said.publisher, label, bucket] += 1

    def _lag(self, stage: int, about: Statement, receiver: str, ms: int) -> None:
        bucket, bound = 0, 1
        while ms >= bound and bucket < 31:
            bucket, bound = bucket + 1, bound * 2
        self.lag[stage, about.publisher, receiver, about.label, bucket] += 1

    def sweep(self) -> int:
        """Let what is over or erased leave the hub; return how many records that were."""
        due = [
            signal
            for signal in self.by_id.values()
            if not signal.gone and (signal.erased_at is not None or signal.statement.expires_ms <= self.now_ms)
        ]
        for signal in due:
            signal.gone = True
        return len(due)

    # What is told of it.

    def debts(self, asker: str, deadline_ms: int) -> dict[tuple[int, bytes, str], Debt]:
        """Return all debts that somebody may know of, by ending, signal and member."""
        found = {}
        for said in self.ledger:
            if said.kind == "retraction" or (said.kind == "erasure" and said.reason == 1):
                for id_ in said.targets:
                    for member in self.platforms:
                        about = self.by_id[id_].statement
                        told = about.audience is None or asker in (OPERATOR, about.publisher, member)
                        if member != about.publisher and self.given(about, member, said) and told:
                            found[said.index, id_, member] = self._debt(said, self.by_id[id_], member, deadline_ms)
        return found

    def _debt(self, ending: Statement, signal: Signal, member: str, deadline_ms: int) -> Debt:
        through = self.acknowledged.get(member, (-1, 0))[0]
        index, state, _ = signal.said.get(member, (-1, 0, 0))
        nothing_stands = state in (3, 4)
        upheld_since = state == 5 and index > ending.index
        acknowledged = through >= signal.statement.index
        if ending.kind == "erasure":
            acknowledged = member in ending.acknowledged[signal.id]
        owes = acknowledged or state != 0
        closed_at = index if nothing_stands or upheld_since else None
        overdue = owes and closed_at is None and self.now_ms - ending.received_ms > deadline_ms
        return Debt(owes, closed_at, overdue, state)

    def lag_rows(self) -> dict[tuple[int, str, str, int], list[int]]:
        """Return all lag by stage, publisher, receiver and label, as counts by bucket."""
        rows: dict[tuple[int, str, str, int], list[int]] = {}
        for (stage, publisher, receiver, label, bucket), count in self.lag.items():
            counts = rows.setdefault((stage, publisher, receiver, label), [])
            counts.extend([0] * (bucket + 1 - len(counts)))
            counts[bucket] += count
        return rows

    def activity(self) -> Counter[tuple[str, str, int]]:
        """Return how many statements each member made, by kind and label."""
        return Counter((said.publisher, said.kind, said.label) for said in self.ledger)

    def quarantined(self, signal: Signal) -> bool:
        """Whether a signal is flagged."""
        start = self.quarantined_from.get(signal.statement.publisher)
        return start is not None and signal.statement.index >= start
