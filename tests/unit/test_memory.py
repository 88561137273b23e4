"""What all logs of a hub keep of their newest entries together is bounded by what is configured for the hub.

What each has open, and may hold of its files, is what the pages say.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.domain.identifiers import Origin
from exchange.errors import Fatal
from exchange.opening import LEAST_BYTES, Judging, Memory, OpenLog, Room, at_once, make_log, open_log
from exchange.stores.facts import FOLD_CACHES, FactsFile
from exchange.stores.folders import Folders
from exchange.stores.sqlite import LOG_CACHES, SqliteStore
from tests.contract.builders import Chain, commit
from tests.unit.publish.fakes import FakeClock

MIB = 2**20
DIRECTORY = Origin("exchange.example", Origin.DIRECTORY_LOG)


def opened(memory: Memory, origin: Origin) -> Room:
    part = memory.part(origin)
    memory.take(origin, part)
    return part


def some_communities(count: int) -> list[Origin]:
    return [Origin("exchange.example", f"c{number}") for number in range(count)]


@given(
    ring=st.integers(LEAST_BYTES, 512 * MIB),
    recent=st.integers(LEAST_BYTES, 512 * MIB),
    known=st.integers(0, 150),
    late=st.integers(0, 30),
)
def test_all_parts_together_are_no_more_than_the_whole_and_the_least_of_each(
    ring: int, recent: int, known: int, late: int
) -> None:
    memory = Memory(Room(ring, recent))
    parts = [opened(memory, DIRECTORY)]
    communities = some_communities(known + late)
    with memory.expecting(known):
        parts += [opened(memory, origin) for origin in communities[:known]]
    parts += [opened(memory, origin) for origin in communities[known:]]
    assert sum(part.ring for part in parts) <= ring + LEAST_BYTES * len(parts)
    assert sum(part.recent for part in parts) <= recent + LEAST_BYTES * len(parts)
    assert min(min(part.ring, part.recent) for part in parts) >= LEAST_BYTES
    equal = parts[1 : known + 1]
    assert not equal or max(part.ring for part in equal) - min(part.ring for part in equal) <= 1


def test_a_hundred_communities_share_what_one_may_have() -> None:
    memory = Memory(Room(128 * MIB, 64 * MIB))
    opened(memory, DIRECTORY)
    with memory.expecting(1):
        (alone,) = [opened(memory, origin) for origin in some_communities(1)]
    assert (alone.ring, alone.recent) == (127 * MIB // 2, 63 * MIB // 2)
    memory = Memory(Room(128 * MIB, 64 * MIB))
    parts = [opened(memory, DIRECTORY)]
    with memory.expecting(100):
        parts += [opened(memory, origin) for origin in some_communities(100)]
    assert sum(part.ring + part.recent for part in parts) <= 230 * MIB


def test_what_was_for_logs_that_did_not_open_is_free() -> None:
    memory = Memory(Room(128 * MIB, 64 * MIB))
    came, late = some_communities(2)
    with memory.expecting(3):
        assert opened(memory, came) == Room(32 * MIB, 16 * MIB)
    assert opened(memory, late) == Room(48 * MIB, 24 * MIB)


async def test_a_log_whose_fold_cannot_be_opened_is_closed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, (origin,) = Folders(tmp_path / "data", tmp_path / "keys"), some_communities(1)
    await make_log(folders, origin)

    async def refused(_: object, *, most_newest: int) -> None:
        assert most_newest
        raise Fatal("no such folder can be made")

    async def open_it() -> OpenLog:
        judging, clock, memory = Judging(lambda _: 0, at_once, 1), FakeClock().watched(), Memory(Room(0, 0))
        return await open_log(
            folders, origin, judging, clock, lambda: 0.0, memory=memory, adopt=True, committed=lambda *_: None
        )

    with monkeypatch.context() as broken, pytest.raises(Fatal, match="no such folder"):
        broken.setattr(FactsFile, "open", refused)
        await open_it()
    await (await open_it()).aclose()


async def test_a_log_that_fails_as_the_last_thing_of_its_opening_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, (origin,) = Folders(tmp_path / "data", tmp_path / "keys"), some_communities(1)
    await make_log(folders, origin)

    def refused(*_: object) -> None:
        raise Fatal("what follows it cannot be made")

    judging, clock, memory = Judging(lambda _: 0, at_once, 1), FakeClock().watched(), Memory(Room(0, 0))
    before = set(threading.enumerate())
    monkeypatch.setattr("exchange.opening._folds", refused)
    with pytest.raises(Fatal, match="what follows it"):
        await open_log(
            folders, origin, judging, clock, lambda: 0.0, memory=memory, adopt=True, committed=lambda *_: None
        )
    assert set(threading.enumerate()) <= before


async def test_a_log_that_does_not_open_costs_the_others_nothing(tmp_path: Path) -> None:
    folders, (origin,) = Folders(tmp_path / "data", tmp_path / "keys"), some_communities(1)
    await make_log(folders, origin)

    async def open_with(memory: Memory) -> OpenLog:
        judging, clock = Judging(lambda _: 0, at_once, 1), FakeClock().watched()
        return await open_log(
            folders, origin, judging, clock, lambda: 0.0, memory=memory, adopt=True, committed=lambda *_: None
        )

    memory = Memory(Room(128 * MIB, 64 * MIB))
    other = await open_with(Memory(Room(0, 0)))
    with memory.expecting(1):
        whole = memory.part(origin)
        with pytest.raises(Fatal, match="another process has this log open"):
            await open_with(memory)
        assert memory.part(origin) == whole
        await other.aclose()
        opened_log = await open_with(memory)
        assert memory.part(origin) == Room(whole.ring // 2, whole.recent // 2)
    await opened_log.aclose()


def files_open(folder: Path) -> int:
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that this reads
            found += descriptor.readlink().is_relative_to(folder)
    return found


@pytest.mark.parametrize(
    ("log", "threads", "files", "caches", "most"),
    [
        ("c0", 5, 14, {"ledger.sqlite": LOG_CACHES, "life": FOLD_CACHES}, 80 * MIB),
        (Origin.DIRECTORY_LOG, 3, 7, {"ledger.sqlite": LOG_CACHES}, 32 * MIB),
    ],
)
async def test_what_a_log_has_open_and_may_hold_of_its_files_is_known(
    tmp_path: Path, log: str, threads: int, files: int, caches: dict[str, tuple[int, ...]], most: int
) -> None:
    folders, origin = Folders(tmp_path / "data", tmp_path / "keys"), Origin("exchange.example", log)
    await make_log(folders, origin)
    connections_before, threads_before = set(apsw.connections()), set(threading.enumerate())
    judging, clock, memory = Judging(lambda _: 0, at_once, 1), FakeClock().watched(), Memory(Room(0, 0))
    opened_log = await open_log(
        folders, origin, judging, clock, lambda: 0.0, memory=memory, adopt=True, committed=lambda *_: None
    )
    # Everything is open once it has been used.
    assert isinstance(opened_log.store, SqliteStore)
    await commit(opened_log.store, Chain(), 1)
    await opened_log.store.find(bytes(32))
    await opened_log.mark.record(b"a mark")
    if opened_log.facts is not None:
        opened_log.facts.looks(lambda file: file.execute("SELECT * FROM place").fetchall())
        await opened_log.facts.reads(lambda file: file.execute("SELECT * FROM place").fetchall())
    found: dict[str, Counter[int]] = {}
    for connection in set(apsw.connections()) - connections_before:
        cache = -1024 * int(connection.pragma("cache_size"))
        found.setdefault(Path(connection.filename).name, Counter())[cache] += 1
    assert found == {name: Counter(each) for name, each in caches.items()}
    assert sum(each.total() for each in found.values()) == sum(map(len, caches.values()))
    assert sum(cache * count for each in found.values() for cache, count in each.items()) == most
    assert len(set(threading.enumerate()) - threads_before) == threads
    if Path("/proc/self/fd").is_dir():
        assert files_open(tmp_path) == files
    await opened_log.aclose()
