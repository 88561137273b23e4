"""Backups of a log in real files: what is in them, what is not, and what is made of them again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

import pytest

from exchange import codec
from exchange.domain.validation import DAY_MS
from exchange.errors import ExchangeError, Fatal, Reason, Rejected, VerificationFailed
from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint, sign_checkpoint
from exchange.ledger.tree import Tree
from exchange.ports import StoredEntry
from exchange.stores.backup import writing
from exchange.stores.backup.frames import bare_frame
from exchange.stores.backup.layout import LogBackup, bundle_file, leaves
from exchange.stores.backup.reading import BackedUp
from exchange.stores.backup.record_keys import RecordKeys, day_of
from exchange.stores.backup.writing import Task, back_up, sweep
from exchange.stores.refilling import check_leaves, refill
from exchange.stores.sqlite import SqliteStore
from exchange.stores.sqlite_reader import LogFiles
from tests.contract.builders import KEY, WIDTH, Chain, read_all, tile
from tests.contract.followed_log import entry
from tests.unit.builders import NOW_MS, UK, Said, pdq_record, signal_statement

TODAY = day_of(NOW_MS)
VERIFIER = log_verifier(UK, KEY.public_key)


def said(number: int) -> Said:
    """Return the statement of an index: some are restricted, and they end with different days."""
    audience = ["beta"] if number % 7 == 0 else None
    expires = NOW_MS + (1 + number % 3) * DAY_MS
    return signal_statement(
        records=[pdq_record(f"{number}")], seed=f"{number}", audience=audience, expires_at_ms=expires
    )


class Site:
    """One log in files, its backup, and the keys of its records."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "log"
        self.backup = folder / "backup"
        self.keys = RecordKeys(folder / "keys")
        self.chain = Chain()
        self.store: SqliteStore
        self.held: LogBackup | None = None

    async def open(self) -> None:
        self.store = await SqliteStore.open(self.files, origin=UK, create=not self.files.exists())

    async def grow(self, count: int) -> None:
        new = tuple(entry(at, said(at).statement) for at in range(self.chain.size, self.chain.size + count))
        self.chain = await self.add(self.chain, new)

    async def add(self, chain: Chain, new: tuple[StoredEntry, ...]) -> Chain:
        grown, group = chain.grow_by(new)
        await self.store.append(chain.head, replace(group, directory_size=9))
        await self.store.seal(grown.head, self.note(grown))
        return grown

    def note(self, chain: Chain) -> bytes:
        return sign_checkpoint(Checkpoint(UK, chain.size, chain.head.root), KEY)

    def task(self, today: date = TODAY) -> Task:
        return Task("uk", VERIFIER, self.note(self.chain), self.backup, self.held, self.keys, 30, today)

    def run(self, today: date = TODAY) -> LogBackup:
        """Back up, as far as to the manifest."""
        with closing(LogFiles(self.files)) as log:
            return back_up(self.task(today), log)

    def back_up(self, today: date = TODAY) -> LogBackup:
        self.held = self.run(today)
        self.keys.destroy_over(today)
        self.held = sweep(self.backup, self.held, today)
        return self.held

    def frames(self) -> list[bytes]:
        assert self.held is not None
        return list(BackedUp(self.backup, self.held, self.keys).frames())


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.open()
    yield made
    await made.store.aclose()


async def restored(site: Site, folder: Path) -> SqliteStore:
    """Return a new store, filled from the backup."""
    store = await SqliteStore.open(folder, origin=UK, create=True)
    await refill(store, Tree(), iter(site.frames()), UK, KEY)
    return store


async def test_a_restored_log_is_the_log(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PART_BYTES", 20_000)
    monkeypatch.setattr("exchange.stores.refilling._GROUP_ENTRIES", 100)
    await site.grow(700)
    site.back_up()
    await site.grow(70)
    await site.store.erase({5: bare_frame(codec.frame_leaf(site.chain.entries[5].frame))})
    held = site.back_up()
    assert len(held.parts) > 5
    assert [part.first for part in held.parts[1:]] == [part.end for part in held.parts[:-1]]
    store = await restored(site, tmp_path / "new")
    try:
        assert await store.head() == await site.store.head()
        # What was erased since its backup is there again: erasing it once more is for whoever restores.
        assert await read_all(store) == [*site.chain.entries]
        for level, index, width in ((0, 0, 256), (0, 3, 2), (1, 0, 3)):
            assert await tile(store, level, index, width) == await tile(site.store, level, index, width)
    finally:
        await store.aclose()


async def test_no_record_is_in_it_in_clear(site: Site) -> None:
    await site.grow(30)
    site.back_up()
    files = b"".join(path.read_bytes() for path in site.backup.rglob("*") if path.is_file())
    records = [record for each in range(30) for record in said(each).statement.records]
    assert not [record for record in records if record[:40] in files]
    assert all(codec.frame_leaf(each.frame) in files for each in site.chain.entries)


async def test_below_the_floor_there_are_leaves(site: Site) -> None:
    await site.grow(600)
    await site.store.archive(300)
    held = site.back_up()
    assert held.floor == WIDTH
    frames = site.frames()
    assert frames[:WIDTH] == [bare_frame(leaf) for leaf in site.chain.leaves[:WIDTH]]
    assert frames[WIDTH:] == [each.frame for each in site.chain.entries[WIDTH:]]


async def test_with_a_day_its_key_and_its_records_go_and_who_could_read_them_is_still_known(site: Site) -> None:
    await site.grow(21)
    first = site.back_up()
    days = first.parts[0].days
    assert len(days) == 4  # three ends, and the end of what the community keeps
    copied = site.backup.with_name("copy")
    shutil.copytree(site.backup, copied)
    second = site.back_up(TODAY + timedelta(days=2))
    assert second.parts[0].days == days[1:]
    assert not list(site.backup.glob(f"records/*/{days[0]}"))
    for folder, held in ((site.backup, second), (copied, first)):
        back = BackedUp(folder, held, site.keys)
        for at, frame in enumerate(back.frames()):
            found, was = codec.decode_frame(frame), codec.decode_frame(site.chain.entries[at].frame)
            assert found.leaf == was.leaf
            assert found.present == (at % 3 != 0)
            assert found.audience_record == was.audience_record
        assert back.without_key == ({days[0]} if folder == copied else set())


async def test_what_ends_today_gets_no_key(site: Site) -> None:
    await site.grow(3)
    held = site.back_up(TODAY + timedelta(days=10))
    assert [part.days for part in held.parts] == [((TODAY + timedelta(days=31)).isoformat(),)]


async def test_a_run_that_was_cut_off_adds_nothing_and_is_repeated(site: Site) -> None:
    await site.grow(300)
    site.back_up()
    await site.grow(20)
    site.run()  # and nobody wrote the manifest
    assert len(site.frames()) == 300
    await site.grow(1)
    site.back_up()
    assert site.frames() == [each.frame for each in site.chain.entries]
    assert len(list(site.backup.glob("records/*"))) == 2
    assert [path.name for path in site.backup.glob("tile/entries/*.p/*")] == [str(321 % WIDTH)]


async def test_a_log_that_is_older_or_another_is_not_backed_up_over_it(site: Site, tmp_path: Path) -> None:
    await site.grow(300)
    site.back_up()
    before = {path: path.read_bytes() for path in site.backup.rglob("*") if path.is_file()}
    for count, expected in ((200, Reason.ROLLED_BACK), (300, Reason.BAD_PROOF)):
        other = Site(tmp_path / f"other {count}")
        await other.open()
        new = tuple(entry(at, said(at + 1).statement) for at in range(count))
        other.chain = await other.add(other.chain, new)
        other.backup, other.held = site.backup, site.held
        with pytest.raises(ExchangeError) as caught:
            other.run()
        assert caught.value.reason is expected
        await other.store.aclose()
    assert {path: path.read_bytes() for path in site.backup.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("held", [0, 100])
async def test_a_damaged_log_leaves_nothing_behind_that_stands_in_the_way_of_the_good_one(
    site: Site, held: int
) -> None:
    if held:
        await site.grow(held)
        site.back_up()
    await site.grow(300)
    frame = site.chain.entries[150].frame
    change = "UPDATE entries SET frame = ? WHERE idx = 150"
    with closing(sqlite3.connect(site.files / "ledger.sqlite")) as ledger:
        ledger.execute(change, (frame[:200] + bytes([frame[200] ^ 1]) + frame[201:],))
        ledger.commit()
        with pytest.raises(VerificationFailed, match="do not make its signed checkpoint"):
            site.run()
        ledger.execute(change, (frame,))
        ledger.commit()
    site.back_up()
    assert site.frames() == [each.frame for each in site.chain.entries]


async def test_the_mark_knows_of_what_the_file_has_not_sealed_yet(site: Site) -> None:
    await site.grow(5)
    with closing(LogFiles(site.files)) as log:
        assert log.state().sealed_size < 5
    assert site.back_up().size == 5


async def test_a_store_that_has_lost_what_was_released_is_not_backed_up(site: Site) -> None:
    await site.grow(5)
    longer, _ = site.chain.grow_by((entry(5, said(5).statement),))
    with closing(LogFiles(site.files)) as log, pytest.raises(Fatal) as caught:
        back_up(replace(site.task(), mark=site.note(longer)), log)
    assert caught.value.reason is Reason.ROLLED_BACK


@pytest.mark.parametrize("what", ["bundle", "records", "a bundle is gone", "records are gone"])
async def test_damage_is_found(site: Site, what: str) -> None:
    await site.grow(300)
    held = site.back_up()
    path = bundle_file(site.backup, 0, WIDTH)
    if "records" in what:
        path = site.backup / held.parts[0].folder / held.parts[0].days[0]
    if "gone" in what:
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    checkpoint = open_checkpoint(held.checkpoint.encode(), VERIFIER)
    with pytest.raises(Fatal if "gone" in what else (VerificationFailed, Rejected)):
        check_leaves(leaves(site.backup, held.size), checkpoint, [])
        site.frames()


async def test_what_was_lost_is_put_back_byte_for_byte(site: Site, tmp_path: Path) -> None:
    await site.grow(500)
    site.back_up()
    older = Site(tmp_path / "older")
    await older.open()
    older.chain = await older.add(Chain(), site.chain.entries[:333])
    tree = older.chain.tree
    checkpoint = Checkpoint(UK, site.chain.size, site.chain.head.root)
    check_leaves(leaves(site.backup, 500), checkpoint, [older.chain.head])
    await refill(older.store, tree, map(bare_frame, leaves(site.backup, 500, 333)), UK, KEY)
    head = await older.store.head()
    assert (head.durable, head.checkpoint) == (site.chain.head, site.note(site.chain))
    found = await read_all(older.store)
    assert [each.leaf_hash for each in found] == site.chain.leaf_hashes
    assert [each.frame for each in found[:333]] == [each.frame for each in site.chain.entries[:333]]
    await older.store.aclose()


async def test_leaves_that_do_not_continue_what_is_here_are_refused(site: Site) -> None:
    await site.grow(20)
    site.back_up()
    checkpoint = Checkpoint(UK, 20, site.chain.head.root)
    wrong, _ = Chain().grow_by(tuple(entry(at, said(at + 1).statement) for at in range(10)))
    right, _ = Chain().grow_by(site.chain.entries[:10])
    check_leaves(leaves(site.backup, 20), checkpoint, [right.head])
    for heads in ([wrong.head], [right.head, wrong.head]):
        with pytest.raises(VerificationFailed, match="first 10 entries"):
            check_leaves(leaves(site.backup, 20), checkpoint, heads)
    with pytest.raises(VerificationFailed, match="missing from 15"):
        check_leaves(islice(leaves(site.backup, 20), 15), checkpoint, [])
