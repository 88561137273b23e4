"""A matcher's file: bounded to what is known, private, whole after any failure, and refused where it is damaged."""

from __future__ import annotations

import asyncio
import random
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from clients.python.tests.fake_hub import START_MS, UK
from clients.python.tests.speech import delivery, received, saying, sha
from exchange.domain.bodies import Erasure, ErasureReason
from exchange.domain.identifiers import IndicatorType
from exchange.errors import Fatal, Reason, Rejected, Unavailable
from exchange.ledger.merkle import CompactRange
from exchange_client import Indicator, MatcherFile
from exchange_client.cursors import Position

NOW = START_MS
AT_ONE = Position(CompactRange.of(1, [bytes(32)]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "matcher" / "matcher.sqlite"


def stored(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in path.parent.iterdir())


def pdq(value: bytes) -> Indicator:
    return Indicator(IndicatorType.PDQ, value)


async def test_only_its_owner_can_read_it(path: Path) -> None:
    file = MatcherFile(path)
    file.matcher.add(delivery(received(sha())))
    await file.save()
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    file.close()


async def test_what_was_ended_before_it_came_is_remembered(path: Path) -> None:
    file, early = MatcherFile(path), received(sha(b"1" * 32))
    file.matcher.add(saying(Erasure((early.signal_id,), ErasureReason.ON_REQUEST)))
    await file.save()
    file.close()
    file = MatcherFile(path)
    assert file.matcher.add(delivery(early)) == []
    assert file.matcher.match(early.indicators, now_ms=NOW) == []
    file.close()


async def test_what_is_removed_replaced_or_expired_leaves_the_file_among_many(path: Path) -> None:
    source = random.Random(3)
    file = MatcherFile(path)
    signals = [received(pdq(source.randbytes(32)), id_=source.randbytes(32)) for _ in range(3_000)]
    content = {f"content-{number}": source.randbytes(32) for number in range(1_000)}
    for index in range(0, len(signals), 10):
        lasts = source.choice([10, 20])
        file.matcher.add(delivery(*signals[index : index + 10], index=index, expires_at_ms=NOW + lasts))
    file.matcher.add_content((reference, [pdq(value)]) for reference, value in content.items())
    await file.save()
    for signal in source.sample(signals, 1_000):
        file.matcher.remove(signal.signal_id)
        if source.random() < 0.01:
            await file.save()
    removed = source.sample(sorted(content), 400)
    file.matcher.remove_content(removed[:200])
    file.matcher.add_content((reference, [pdq(source.randbytes(32))]) for reference in removed[200:])
    assert 500 < file.matcher.expire(now_ms=NOW + 10) < 1_500
    await file.save()
    known = file.matcher.take_changes  # nothing is left to write
    assert known().signals == {}
    file.close()
    data = stored(path)
    for signal in signals:
        live = bool(file.matcher.match(signal.indicators, now_ms=NOW))
        assert (signal.indicators[0].value in data) == live
    assert [each for each in removed if content[each] in data] == []
    assert [each for each, value in content.items() if each not in removed and value not in data] == []
    assert [each for each in removed[:200] if each.encode() + b"\0" in data] == []
    assert len(MatcherFile(path).matcher) == len(file.matcher)


async def test_a_log_that_an_earlier_run_left_behind_is_emptied(path: Path) -> None:
    file = MatcherFile(path)
    gone = received(sha(b"\x07gone" * 6 + b"!!"))
    file.matcher.add(delivery(gone))
    await file.save()
    file.matcher.remove(gone.signal_id)
    await file._file.run(lambda connection: connection.execute("DELETE FROM signals"))  # and then it died
    assert gone.indicators[0].value in stored(path)
    again = MatcherFile(path)
    await again.save()
    assert gone.indicators[0].value not in stored(path)
    again.close()
    file.close()


async def test_a_full_disk_loses_nothing(path: Path) -> None:
    file = MatcherFile(path)
    await file.store(UK, AT_ONE)
    pages = file._file.now(lambda connection: connection.pragma("page_count"))
    file._file.now(lambda connection: connection.pragma("max_page_count", pages))
    signals = [received(sha()) for _ in range(500)]
    file.matcher.add(delivery(*signals))
    file.matcher.flag(signals[0].signal_id)
    file.matcher.flag_publisher(UK, "beta", from_index=7)
    file.matcher.add_content([("one", [sha(b"1" * 32)])])
    with pytest.raises(Unavailable, match="full"):
        await file.store(UK, Position(CompactRange.of(2, [bytes(32)])))
    position = await file.load(UK)
    assert position is not None
    assert position.range.size == 1
    file._file.now(lambda connection: connection.pragma("max_page_count", 1 << 20))
    await file.save()
    file.close()
    again = MatcherFile(path)
    assert len(again.matcher) == 500
    (flagged,) = again.matcher.match(signals[0].indicators, now_ms=NOW, include_flagged=True)
    assert flagged.flagged
    again.matcher.add(delivery(received(sha(b"1" * 32)), publisher="beta", index=7))
    (held,) = again.matcher.match([sha(b"1" * 32)], now_ms=NOW, include_flagged=True)
    assert held.flagged
    again.close()


async def test_an_older_state_never_overwrites_a_newer_one(path: Path) -> None:
    """Whoever saves may be cancelled: what is under way ends before the next begins."""
    file = MatcherFile(path)
    for number in range(60):
        one = received(sha())
        file.matcher.add(delivery(one, index=number))
        saving = asyncio.ensure_future(file.save())
        await asyncio.sleep(0)
        saving.cancel()
        file.matcher.remove(one.signal_id)
        await file.save()
    file.close()
    again = MatcherFile(path)
    assert len(again.matcher) == 0
    again.close()


def _lose_statement(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM statements")


def _lose_log(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM logs")


def _cut(connection: apsw.Connection) -> None:
    connection.execute("UPDATE signals SET indicators = substr(indicators, 1, 20)")


def _cut_head(connection: apsw.Connection) -> None:
    connection.execute("UPDATE signals SET indicators = substr(indicators, 1, 3)")


def _shorten(connection: apsw.Connection) -> None:
    connection.execute("UPDATE content SET indicators = x'000100010000000100'")


@pytest.mark.parametrize("damage", [_lose_statement, _lose_log, _cut, _cut_head, _shorten])
async def test_a_damaged_file_is_refused(path: Path, damage: Callable[[apsw.Connection], None]) -> None:
    file = MatcherFile(path)
    file.matcher.add(delivery(received(pdq(bytes(32)))))
    file.matcher.add_content([("one", [sha()])])
    await file.save()
    await file._file.run(damage)
    file.close()
    with pytest.raises(Rejected) as caught:
        MatcherFile(path)
    assert caught.value.reason is Reason.MALFORMED


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with apsw.Connection(str(path)) as connection:
        connection.pragma("user_version", 9)
    with pytest.raises(Fatal, match="format 9; this release knows"):
        MatcherFile(path)
