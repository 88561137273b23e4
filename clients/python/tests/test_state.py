"""What a client keeps between runs: statements until they are safe, and its place in each log."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw
import pytest

from clients.python.tests.fake_hub import DAY_MS, START_MS, UK, FakeHub
from clients.python.tests.speech import statement
from exchange.domain.statement import Statement
from exchange.errors import Fatal, Rejected, Unavailable
from exchange.ledger.merkle import CompactRange
from exchange_client import Outbox
from exchange_client.cursors import Cursors, Position
from exchange_client.state import SCHEMA_VERSION, StateFile

T = TypeVar("T")


def said(count: int) -> list[Statement]:
    hub = FakeHub()
    return [statement(hub) for _ in range(count)]


async def test_a_statement_is_kept_for_a_day_after_its_receipt(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    outbox = Outbox(state, UK)
    first, second = said(2)
    await outbox.add([first, second], [], now_ms=START_MS)
    assert await outbox.pending() == [first, second]
    await outbox.settle(receipts=[(first, 7)], now_ms=START_MS)
    assert await outbox.pending() == [second]
    assert await outbox.kept() == [first, second]
    await outbox.prune(now_ms=START_MS + DAY_MS)
    assert await outbox.kept() == [first, second]
    await outbox.prune(now_ms=START_MS + DAY_MS + 1)
    assert await outbox.kept() == [second]
    await state.aclose()


async def test_many_are_pruned_a_few_at_a_time_between_what_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange_client.outbox.PRUNE_AT_ONCE", 2)
    state = StateFile(tmp_path / "s.sqlite")
    outbox = Outbox(state, UK)
    old, young, unsent, late = said(7), said(1), said(1), said(1)
    await outbox.add([*old[:3], *young, *unsent, *old[3:]], [], now_ms=START_MS)
    await outbox.settle(receipts=[(each, 7) for each in old], now_ms=START_MS)
    await outbox.settle(receipts=[(each, 8) for each in young], now_ms=START_MS + 1)
    pruning = asyncio.create_task(outbox.prune(now_ms=START_MS + DAY_MS + 1))
    await asyncio.sleep(0)
    await outbox.add(late, [], now_ms=START_MS)
    assert len(await outbox.kept()) > len(young + unsent + late)
    await pruning
    assert await outbox.kept() == [*young, *unsent, *late]
    await state.aclose()


async def test_pruning_ends_though_something_is_kept_beside_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange_client.outbox.PRUNE_AT_ONCE", 1)
    state = StateFile(tmp_path / "s.sqlite")
    outbox, run = Outbox(state, UK), state.run
    await outbox.add(said(3), [], now_ms=START_MS)

    async def beside(job: Callable[[apsw.Connection], T]) -> T:
        done, _ = await asyncio.gather(run(job), outbox_beside.add(said(1), [], now_ms=START_MS))
        return done

    outbox_beside = Outbox(StateFile(tmp_path / "s.sqlite"), UK)
    monkeypatch.setattr(state, "run", beside)
    async with asyncio.timeout(20):
        await outbox.prune(now_ms=START_MS)
    monkeypatch.undo()
    assert 3 < len(await outbox.kept()) < 10
    await outbox_beside._state.aclose()
    await state.aclose()


async def test_a_witnessed_tree_releases_what_lies_in_it(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    outbox, other = Outbox(state, UK), Outbox(state, "test.exchange/other")
    statements = said(4)
    for place, each in enumerate(statements[:3]):
        await outbox.add([each], [], now_ms=START_MS)
        await outbox.settle(receipts=[(each, place)], now_ms=START_MS)
    await outbox.add([statements[3]], [], now_ms=START_MS)
    await other.witnessed(99)
    await outbox.witnessed(2)
    assert await outbox.kept() == statements[2:]
    await state.aclose()


async def test_adding_twice_changes_nothing(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    outbox = Outbox(state, UK)
    (one,) = said(1)
    await outbox.add([one], [("T-1", b"i" * 32), ("", b"j" * 32)], now_ms=START_MS)
    await outbox.settle(receipts=[(one, 7)], now_ms=START_MS)
    await outbox.add([one], [("T-1", b"i" * 32)], now_ms=START_MS + 1)
    assert await outbox.pending() == []
    assert await outbox.signal_ids("T-1") == [b"i" * 32]
    assert await outbox.signal_ids("") == []
    await state.aclose()


async def test_logs_are_kept_apart(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    (one,) = said(1)
    await Outbox(state, UK).add([one], [("T-1", b"i" * 32)], now_ms=START_MS)
    other = Outbox(state, "test.exchange/other")
    assert await other.pending() == []
    assert await other.signal_ids("T-1") == []
    await state.aclose()


async def test_everything_survives_a_new_process_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "s.sqlite"
    state = StateFile(path)
    statements = said(3)
    await Outbox(state, UK).add(statements, [("T", b"i" * 32)], now_ms=START_MS)
    position = Position(CompactRange().extend([b"h" * 32] * 5), b"note", 1_234, 7)
    await Cursors(state).store(UK, position)
    await state.aclose()
    again = StateFile(path)
    assert await Outbox(again, UK).pending() == statements
    assert await Cursors(again).load(UK) == position
    assert await Cursors(again).load("elsewhere") is None
    await again.aclose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_newer_schema_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    await StateFile(path).aclose()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    with pytest.raises(Fatal, match="format 4; this release knows 3"):
        StateFile(path)
    (tmp_path / "d.sqlite").write_bytes(b"this is no database" * 99)
    with pytest.raises(Fatal):
        StateFile(tmp_path / "d.sqlite")


async def test_writes_are_durable_in_the_sense_of_sqlite(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    assert await state.run(lambda c: (c.pragma("journal_mode"), c.pragma("synchronous"))) == ("wal", 2)
    await state.aclose()


async def test_what_leaves_the_outbox_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    state = StateFile(path)
    outbox = Outbox(state, UK)
    (one,) = said(1)
    (record,) = one.records
    await outbox.add([one], [], now_ms=START_MS)
    await outbox.settle(receipts=[(one, 7)], now_ms=START_MS)
    await state.aclose()
    assert record in path.read_bytes()
    state = StateFile(path)
    await Outbox(state, UK).prune(now_ms=START_MS + DAY_MS + 1)
    await state.aclose()
    assert record not in path.read_bytes()


async def test_a_job_that_fails_takes_nobody_with_it(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    outbox = Outbox(state, UK)
    statements = said(20)

    def wrong(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO nothing VALUES (1)")

    def bug(connection: apsw.Connection) -> None:
        raise LookupError("a bug")

    jobs = [outbox.add([each], [], now_ms=START_MS) for each in statements]
    results = await asyncio.gather(*jobs[:10], state.run(wrong), state.run(bug), *jobs[10:], return_exceptions=True)
    failed = [result for result in results if result is not None]
    assert [type(error) for error in failed] == [Fatal, LookupError]
    assert sorted(s.payload for s in await outbox.pending()) == sorted(s.payload for s in statements)
    await state.aclose()


async def test_a_disk_that_fills_inside_a_job_takes_all_that_are_committed_with_it(tmp_path: Path) -> None:
    """SQLite undoes the whole transaction by itself then: what comes after must not be committed alone, unnoticed."""
    state = StateFile(tmp_path / "s.sqlite")

    def make(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE rows(number INTEGER PRIMARY KEY, data BLOB)")

    await state.run(make)

    def limit(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", connection.pragma("page_count") + 2)

    await state.run(limit)

    def insert(number: int, size: int) -> Callable[[apsw.Connection], None]:
        def job(connection: apsw.Connection) -> None:
            connection.execute("INSERT INTO rows VALUES (?, zeroblob(?))", (number, size))

        return job

    jobs = (insert(1, 1), insert(2, 10_000_000), insert(3, 1))
    told = await asyncio.gather(*map(state.run, jobs), return_exceptions=True)
    assert [type(error) for error in told] == [Unavailable] * 3
    rows = await state.run(lambda connection: connection.execute("SELECT number FROM rows").fetchall())
    assert rows == []
    await state.run(insert(4, 1))
    await state.aclose()


async def test_a_caller_that_is_cancelled_breaks_nothing(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite")
    outbox = Outbox(state, UK)
    statements = said(30)
    for each in statements:
        task = asyncio.ensure_future(outbox.add([each], [], now_ms=START_MS))
        await asyncio.sleep(0)
        task.cancel()
    await outbox.add([], [], now_ms=START_MS)
    assert len(await outbox.pending()) == 30
    await state.aclose()
    await state.aclose()
    with pytest.raises(Rejected, match="closed"):
        await outbox.pending()
