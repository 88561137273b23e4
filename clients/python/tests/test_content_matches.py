"""Arriving signals against a platform's own content: as they come, after restarts, and when they are released."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import DAY_MS, START_MS, UK, FakeHub, client_of, signed
from clients.python.tests.speech import delivery, header_body, received, saying, sha
from exchange import codec
from exchange.domain.bodies import Opinion, OpinionCategory, Quarantine, Release, Retraction
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Kind
from exchange.domain.statement import Header, signal_ids
from exchange_client import ContentMatch, Matcher, MatcherFile, Opinions, content_matches
from exchange_client.records import Indicator, Record, VideoFrame

NOW = START_MS
OWN, OTHER = sha(b"1" * 32), sha(b"2" * 32)


def say(hub: FakeHub, *indicators: Indicator, member: str = "alpha") -> bytes:
    """Commit a signal; return its id."""
    records = (codec.encode_record(Record(secrets.token_bytes(16), indicators)),)
    (signal_id,) = signal_ids(UK, member, records)
    types = tuple(sorted({indicator.type for indicator in indicators}))
    body = header_body(indicator_types=types, expires_at_ms=hub.now + DAY_MS)
    header = Header(UK, Kind.SIGNAL, member, hub.now, secrets.token_bytes(16), (signal_id,), body)
    hub.commit(signed(header, hub.keys[member], records=records))
    return signal_id


def told(matches: list[ContentMatch]) -> list[tuple[str, bytes]]:
    return [(each.reference, each.match.signal_id) for each in matches]


def test_a_new_signal_finds_own_content_at_once() -> None:
    matcher = Matcher()
    value = secrets.token_bytes(32)
    video = Indicator(IndicatorType.VPDQ, frames=(VideoFrame(0, 80, value), VideoFrame(9, 20, bytes(32))))
    matcher.add_content([("photograph", [Indicator(IndicatorType.PDQ, value), OWN]), ("video", [video]), ("", [OTHER])])
    near = bytes([value[0] ^ 0b111]) + value[1:]
    photograph = received(Indicator(IndicatorType.PDQ, near))
    ids = matcher.add(delivery(photograph, received(Indicator(IndicatorType.PDQ, bytes(32))), index=4))
    found = matcher.content_matching(ids, now_ms=NOW)
    assert told(found) == [("photograph", photograph.signal_id), ("video", photograph.signal_id)]
    assert [(each.match.distance, each.match.index, each.match.origin) for each in found] == [(3, 4, UK)] * 2
    matcher.remove_content(["video", "unknown"])
    matcher.add_content([("photograph", [OWN])])  # in place of what it had
    assert matcher.content_matching(ids, now_ms=NOW) == []
    exact = matcher.add(delivery(received(OWN, OWN), index=5))
    assert told(matcher.content_matching(exact, now_ms=NOW)) == [("photograph", exact[0])]
    assert matcher.content_matching(exact, now_ms=NOW + DAY_MS) == []


def test_a_match_tells_what_others_say() -> None:
    matcher = Matcher()
    matcher.add_content([("own", [OWN])])
    first = received(OWN)
    matcher.add(delivery(first, publisher="alpha", index=0))
    matcher.add(delivery(received(OWN), publisher="beta", index=1))
    matcher.add(delivery(received(OWN), publisher="beta", index=2, created_at_ms=NOW - 1))
    matcher.add(delivery(received(OWN), publisher="gamma", index=3, derived_from=(first.signal_id,)))
    matcher.add(delivery(received(OWN), publisher="delta", index=4, expires_at_ms=NOW))
    matcher.add(delivery(received(OTHER), publisher="epsilon", index=5))
    for member, category in (("beta", 1), ("gamma", 3), ("delta", 2), ("gamma", 2), ("eta", 9)):
        matcher.add(saying(Opinion((first.signal_id, b"unknown"), category, 1), publisher=member))
    for matches in (
        matcher.match([OWN], now_ms=NOW),
        [matcher.content_matching([first.signal_id], now_ms=NOW)[0].match],
    ):
        assert matches[0].signal_id == first.signal_id
        assert matches[0].corroboration == ("alpha", "beta")
        assert matches[0].opinions == Opinions(positive=1, seed=2, negative=0)
        assert not matches[0].opinions.disputed
    matcher.add(saying(Opinion((first.signal_id,), OpinionCategory.NEGATIVE_CLASS, 2), publisher="beta"))
    assert matcher.match([OWN], now_ms=NOW)[0].opinions.disputed


@pytest.mark.parametrize(
    ("acted", "made", "independent"), [(-5, -1, True), (0, -1, True), (-5, 0, False), (-5, 3, False), (2, 3, False)]
)
def test_whoever_may_have_heard_it_from_another_does_not_corroborate(
    acted: int, made: int, *, independent: bool
) -> None:
    matcher = Matcher()
    matcher.add(delivery(received(OWN), publisher="alpha", index=0, created_at_ms=NOW - 9))
    times: dict[str, Any] = {"created_at_ms": NOW + made, "actioned_at_ms": NOW + acted if acted else 0}
    matcher.add(delivery(received(OWN), publisher="beta", index=1, received_at_ms=NOW + 4, **times))
    (first, second) = matcher.match([OWN], now_ms=NOW)
    assert first.corroboration == second.corroboration == (("alpha", "beta") if independent else ("alpha",))
    assert first.act_grade() == independent
    assert first.act_grade(1)
    assert not first.act_grade(3)


def test_nobody_corroborates_what_all_have_from_one_that_is_held_back_or_repeats() -> None:
    matcher = Matcher()
    matcher.add(delivery(received(OWN), publisher="alpha", index=0, derived_from=(bytes(32),)))
    matcher.add(delivery(received(OWN), publisher="beta", index=1, received_at_ms=NOW + 4, created_at_ms=NOW + 2))
    (one, _) = matcher.match([OWN], now_ms=NOW)
    assert one.corroboration == ()
    matcher.add(saying(Quarantine("alpha", 0, 1), publisher="op", index=9))
    (one,) = matcher.match([OWN], now_ms=NOW)  # and what is quarantined hides nobody
    assert one.corroboration == ("beta",)


def test_what_is_disputed_or_quarantined_is_not_of_the_grade_to_act_on() -> None:
    matcher = Matcher()
    signal = received(OWN)
    matcher.add(delivery(signal))
    assert matcher.match([OWN], now_ms=NOW)[0].act_grade(1)
    matcher.add(saying(Opinion((signal.signal_id,), OpinionCategory.NEGATIVE_CLASS, 2), publisher="beta"))
    assert not matcher.match([OWN], now_ms=NOW)[0].act_grade(1)
    matcher.add(saying(Opinion((signal.signal_id,), OpinionCategory.POSITIVE_CLASS, 2), publisher="beta"))
    matcher.add(saying(Quarantine("alpha", 0, 1), publisher="op", index=9))
    assert not matcher.match([OWN], now_ms=NOW, include_flagged=True)[0].act_grade(0)


def test_what_is_quarantined_is_held_back_until_it_is_released() -> None:
    matcher = Matcher()
    matcher.add_content([("own", [OWN])])
    before, after, others = received(OWN), received(OWN), received(OWN)
    matcher.add(delivery(before, index=3))
    matcher.add(saying(Quarantine("alpha", 4, 1), publisher="op", index=9))
    assert matcher.add(delivery(after, index=10)) == [after.signal_id]
    matcher.add(delivery(others, index=11, publisher="beta"))
    assert [m.signal_id for m in matcher.match([OWN], now_ms=NOW)] == [before.signal_id, others.signal_id]
    everything = matcher.match([OWN], now_ms=NOW, include_flagged=True)
    assert [match.flagged for match in everything] == [False, True, False]
    assert matcher.content_matching([after.signal_id], now_ms=NOW) == []
    assert len(matcher.content_matching([after.signal_id], now_ms=NOW, include_flagged=True)) == 1
    released = matcher.add(saying(Release("alpha"), publisher="op", index=12))
    assert released == [after.signal_id]
    assert told(matcher.content_matching(released, now_ms=NOW)) == [("own", after.signal_id)]


def test_a_signal_has_a_flag_of_its_own() -> None:
    matcher = Matcher()
    one = received(OWN)
    matcher.add(delivery(one, index=3))
    matcher.flag(one.signal_id)
    matcher.flag_publisher(UK, "alpha")
    assert matcher.release(one.signal_id) == []  # its publisher still is
    matcher.flag(one.signal_id)
    assert matcher.release_publisher(UK, "alpha") == []  # it still is
    assert matcher.match([OWN], now_ms=NOW) == []
    assert matcher.release(one.signal_id) == [one.signal_id]
    assert len(matcher.match([OWN], now_ms=NOW)) == 1


def test_only_its_publisher_and_operators_take_a_signal_back() -> None:
    matcher = Matcher()
    one, other = received(OWN), received(OTHER)
    matcher.add(delivery(one, other))
    matcher.add(saying(Retraction((one.signal_id,), 1), publisher="beta"))
    matcher.add(saying(Retraction((one.signal_id,), 1), origin="test.exchange/elsewhere"))
    assert len(matcher) == 2
    matcher.add(saying(Retraction((one.signal_id,), 1)))
    assert matcher.match([OWN], now_ms=NOW) == []
    assert len(matcher) == 1


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


class Platform:
    """Beta, with its matcher on disk."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.client, self.transport = client_of(hub, folder / "beta", "beta")
        self.file = MatcherFile(folder / "matcher.sqlite")

    async def arriving(self) -> AsyncIterator[ContentMatch]:
        async with self.client, aclosing(self.client.subscribe(UK, positions=self.file)) as deliveries:
            matches = content_matches(self.file.matcher, deliveries, now_ms=lambda: self.hub.now)
            async with asyncio.timeout(20), aclosing(matches):
                async for match in matches:
                    yield match

    async def take(self, count: int) -> list[tuple[str, bytes]]:
        """The next matches; the last one is not acknowledged."""
        found = []
        async with aclosing(self.arriving()) as arriving:  # type: ignore[type-var]
            async for match in arriving:
                found.append(match)
                if len(found) == count:
                    break
        return told(found)


async def test_matches_come_as_signals_arrive_and_go_on_after_a_restart(hub: FakeHub, tmp_path: Path) -> None:
    platform = Platform(hub, tmp_path)
    platform.file.matcher.add_content([("own", [OWN]), ("same", [OWN]), ("other", [OTHER])])
    await platform.file.save()
    ids = [say(hub, OWN), say(hub, sha()), say(hub, OTHER), say(hub, sha(), OWN)]
    assert await platform.take(3) == [("own", ids[0]), ("same", ids[0]), ("other", ids[2])]
    platform.file.close()
    again = Platform(hub, tmp_path)
    # The signal whose match was in hand when it ended comes again; what was acknowledged before does not.
    assert await again.take(3) == [("other", ids[2]), ("own", ids[3]), ("same", ids[3])]
    assert [cursor for cursor, _ in again.transport.subscriptions] == [2]
    again.file.close()
    # All are known without reading the log.
    restored = MatcherFile(tmp_path / "matcher.sqlite").matcher
    assert [match.signal_id for match in restored.match([OWN], now_ms=hub.now)] == [ids[0], ids[3]]


async def test_a_process_that_dies_reads_again_what_it_had_not_stored(hub: FakeHub, tmp_path: Path) -> None:
    platform = Platform(hub, tmp_path)
    platform.file.matcher.add_content([("own", [OWN])])
    await platform.file.save()
    ids = [say(hub, OWN) for _ in range(7)]
    arriving = platform.arriving()
    for _ in range(5):
        await anext(arriving)
    platform.file.close()  # dies: what it had taken is in memory alone, and can be stored no more
    await arriving.aclose()  # type: ignore[attr-defined]
    again = Platform(hub, tmp_path)
    position = await again.file.load(UK)
    stored = position.range.size if position else 0
    assert len(again.file.matcher) >= stored
    assert await again.take(7 - stored) == [("own", id_) for id_ in ids[stored:]]
    again.file.close()
