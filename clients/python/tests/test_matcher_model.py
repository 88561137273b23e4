"""Whatever happens to a matcher, in any order and over restarts, it answers as comparing one by one does."""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clients.python.tests.fake_hub import START_MS, UK
from clients.python.tests.naive_matcher import NaiveMatcher, hashes
from clients.python.tests.speech import delivery, received, saying
from exchange.domain.bodies import Body, Disposition, Erasure, Opinion, Quarantine, Release, Retraction
from exchange.domain.identifiers import IndicatorType
from exchange.ledger.merkle import CompactRange
from exchange_client import Indicator, MatcherFile, VideoFrame
from exchange_client.cursors import Position

NOW = START_MS
OTHER_LOG = "test.exchange/elsewhere"
#: Not of zeros, which any page of a file has; and frames lie side by side there: what begins in the middle of one and ends
#: in the next must look like none.
CENTRES = (sha256(b"one").digest(), sha256(b"two").digest())


def flipped(value: bytes, bits: list[int]) -> bytes:
    number = int.from_bytes(value, "big")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(32, "big")


a_hash = st.builds(flipped, st.sampled_from(CENTRES), st.lists(st.integers(0, 255), max_size=34, unique=True))
a_frame = st.builds(VideoFrame, st.integers(0, 9), st.sampled_from([0, 49, 50, 100]), a_hash)
exact_types = st.sampled_from([IndicatorType.IMAGE_SHA256, IndicatorType.VIDEO_SHA256, IndicatorType.PSEUDONYM])
an_indicator = st.one_of(
    st.builds(lambda value: Indicator(IndicatorType.PDQ, value), a_hash),
    st.builds(lambda frames: Indicator(IndicatorType.VPDQ, frames=tuple(frames)), st.lists(a_frame, max_size=3)),
    st.builds(Indicator, exact_types, st.sampled_from([b"1" * 32, b"2" * 32]), st.sampled_from([1, 2])),
)
some_indicators = st.lists(an_indicator, max_size=3).map(tuple)
an_id = st.integers(0, 11).map(lambda number: number.to_bytes(32, "big"))
some_ids = st.lists(an_id, max_size=3).map(tuple)
a_member = st.sampled_from(["alpha", "beta", "gamma"])
an_origin = st.sampled_from([UK, OTHER_LOG])
a_reference = st.sampled_from(["one", "two", "three", "vier/4", "cinq é"])
a_time = st.integers(NOW - 5, NOW + 5)


class Beside(RuleBasedStateMachine):
    """A matcher with its file, and a naive one."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "matcher.sqlite"
        self.given: set[bytes] = set()
        #: An id is the hash of its record: said again, it says the same.
        self.records: dict[bytes, tuple[Indicator, ...]] = {}
        self.naive = NaiveMatcher()
        self.index = 0
        self.file = MatcherFile(self.path)
        self.saved = copy.deepcopy(self.naive)
        self.stored = 0

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run(work)

    @rule(
        signals=st.lists(st.tuples(an_id, some_indicators), max_size=3, unique_by=lambda pair: pair[0]),
        publisher=a_member,
        origin=an_origin,
        lasts=st.integers(-4, 8),
        replaces=st.lists(an_id, max_size=2),
        derived=st.booleans(),
        words=st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 5)),
        times=st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 3)),
        again=st.booleans(),
    )
    def add(
        self,
        signals: list[tuple[bytes, tuple[Indicator, ...]]],
        publisher: str,
        origin: str,
        lasts: int,
        replaces: list[bytes],
        derived: bool,
        words: tuple[int, int, int],
        times: tuple[int, int, int],
        again: bool,
    ) -> None:
        severity, confidence, handling = words
        signals = [(id_, self.records.setdefault(id_, indicators)) for id_, indicators in signals]
        acted, made, came = (NOW + each for each in times)
        said = delivery(
            *(received(*indicators, id_=id_) for id_, indicators in signals),
            publisher=publisher,
            index=self.index,
            origin=origin,
            expires_at_ms=NOW + lasts,
            replaces=tuple(replaces),
            derived_from=(b"d" * 32,) if derived else (),
            severity=severity,
            confidence=confidence,
            handling=handling,
            actioned_at_ms=acted,
            created_at_ms=made,
            received_at_ms=came,
        )
        self.index += 1
        self.given |= values(each for _, indicators in signals for each in indicators)
        for _ in range(1 + again):
            assert self.file.matcher.add(said) == self.naive.add(said)

    @rule(
        body=st.one_of(
            st.builds(Retraction, some_ids, st.just(1)),
            st.builds(Erasure, some_ids, st.just(1)),
            st.builds(Opinion, some_ids, st.integers(0, 4), st.just(1)),
            st.builds(Quarantine, a_member, st.integers(0, 12), st.just(1)),
            st.builds(Release, a_member),
            st.builds(Disposition, some_ids, st.just(1)),
        ),
        publisher=a_member,
        origin=an_origin,
        by_operators=st.booleans(),
    )
    def add_another_kind(self, body: Body, publisher: str, origin: str, by_operators: bool) -> None:
        said = replace(saying(body, publisher=publisher, origin=origin, index=self.index), by_operators=by_operators)
        self.index += 1
        assert sorted(self.file.matcher.add(said)) == self.naive.add(said)

    @rule(id_=an_id)
    def remove(self, id_: bytes) -> None:
        self.file.matcher.remove(id_)
        self.naive.remove(id_)

    @rule(id_=an_id)
    def flag(self, id_: bytes) -> None:
        self.file.matcher.flag(id_)
        if id_ in self.naive.signals:
            self.naive.signals[id_].flagged = True

    @rule(id_=an_id)
    def release(self, id_: bytes) -> None:
        assert self.file.matcher.release(id_) == self.naive.release(id_)

    @rule(origin=an_origin, member=a_member, from_index=st.integers(0, 12))
    def flag_publisher(self, origin: str, member: str, from_index: int) -> None:
        self.file.matcher.flag_publisher(origin, member, from_index=from_index)
        self.naive.flag_publisher(origin, member, from_index)

    @rule(origin=an_origin, member=a_member)
    def release_publisher(self, origin: str, member: str) -> None:
        released = self.file.matcher.release_publisher(origin, member)
        assert len(released) == len(set(released))
        assert set(released) == self.naive.release_publisher(origin, member)

    @rule(id_=an_id, member=a_member, opinion=st.integers(0, 4))
    def set_opinion(self, id_: bytes, member: str, opinion: int) -> None:
        self.file.matcher.set_opinion(id_, member, opinion)
        if id_ in self.naive.signals:
            self.naive.signals[id_].opinions[member] = opinion

    @rule(now_ms=a_time)
    def expire(self, now_ms: int) -> None:
        assert self.file.matcher.expire(now_ms=now_ms) == self.naive.expire(now_ms)

    @rule(content=st.lists(st.tuples(a_reference, some_indicators), max_size=3, unique_by=lambda pair: pair[0]))
    def add_content(self, content: list[tuple[str, tuple[Indicator, ...]]]) -> None:
        self.file.matcher.add_content(content)
        self.naive.content.update(content)
        self.given |= values(each for _, indicators in content for each in indicators)

    @rule(references=st.lists(a_reference, max_size=2))
    def remove_content(self, references: list[str]) -> None:
        self.file.matcher.remove_content(references)
        for reference in references:
            self.naive.content.pop(reference, None)

    @rule(by_position=st.booleans())
    def save(self, by_position: bool) -> None:
        if by_position:
            self.stored += 1
            self.run(self.file.store(UK, Position(CompactRange.of(1 << self.stored, [bytes(32)]))))
        else:
            self.run(self.file.save())
        self.saved = copy.deepcopy(self.naive)

    @rule(orderly=st.booleans())
    def start_anew(self, orderly: bool) -> None:
        if orderly:
            self.save(by_position=False)
        self.file.close()
        self.file = MatcherFile(self.path)
        self.naive = copy.deepcopy(self.saved)
        position = asyncio.run(self.file.load(UK))
        assert (0 if position is None else position.range.size) == (1 << self.stored if self.stored else 0)

    @rule(asked=some_indicators, now_ms=a_time, include_flagged=st.booleans())
    def ask(self, asked: tuple[Indicator, ...], now_ms: int, include_flagged: bool) -> None:
        found = self.file.matcher.match(asked, now_ms=now_ms, include_flagged=include_flagged)
        assert found == self.naive.match(asked, now_ms=now_ms, include_flagged=include_flagged)

    @rule(ids=st.lists(an_id, max_size=6), now_ms=a_time, include_flagged=st.booleans())
    def ask_for_content(self, ids: list[bytes], now_ms: int, include_flagged: bool) -> None:
        found = self.file.matcher.content_matching(ids, now_ms=now_ms, include_flagged=include_flagged)
        assert found == self.naive.content_matching(ids, now_ms=now_ms, include_flagged=include_flagged)

    @invariant()
    def they_know_as_many(self) -> None:
        if hasattr(self, "file"):
            assert len(self.file.matcher) == len(self.naive.signals)

    def teardown(self) -> None:
        if not hasattr(self, "file"):
            return
        try:
            self.run(self.file.save())
            self.what_is_in_the_file_is_what_is_known()
        finally:
            self.file.close()
            shutil.rmtree(self.folder)

    def what_is_in_the_file_is_what_is_known(self) -> None:
        stored = b"".join(path.read_bytes() for path in self.folder.iterdir())
        known = [each for said in self.naive.signals.values() for each in said.indicators]
        kept = values(known) | values(each for content in self.naive.content.values() for each in content)
        assert {value for value in self.given | kept if value in stored} == kept


def values(indicators: Iterable[Indicator]) -> set[bytes]:
    """What of indicators lies in a file."""
    found = set()
    for indicator in indicators:
        hashed = indicator.type in (IndicatorType.PDQ, IndicatorType.VPDQ)
        found.update(hashes(indicator) if hashed else [indicator.value])
    return found


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
