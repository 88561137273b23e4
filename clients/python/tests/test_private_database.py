"""A member's own file: what is deleted leaves it, copies of moved rows too, and not by writing it anew all the time."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from exchange.errors import Unavailable
from exchange_client.private_database import REWRITE_EVERY_S, PrivateDatabase

KEY_BYTES = 24


class Rows:
    """Rows with random keys, as pseudonyms are, put in and taken out in no order."""

    def __init__(self, path: Path, *, seed: int = 0) -> None:
        self.now = 0.0
        self.path = path
        self.source = random.Random(seed)
        self.keys = [self.source.randbytes(KEY_BYTES) for _ in range(400)]
        self.file = self.open()
        rows = [(key, self.source.randbytes(self.source.randrange(900))) for key in self.keys]
        self.file.now(lambda connection: connection.executemany("INSERT INTO rows VALUES (?, ?)", rows))

    def open(self) -> PrivateDatabase:
        def make(connection: apsw.Connection) -> None:
            connection.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB) STRICT, WITHOUT ROWID")

        return PrivateDatabase(self.path, 1, make, clock_s=lambda: self.now)

    def delete(self, count: int) -> list[bytes]:
        """Delete some rows, each in a transaction of its own."""
        gone = [self.keys.pop(self.source.randrange(len(self.keys))) for _ in range(count)]
        for key in gone:
            self.file.now(lambda connection, key=key: connection.execute("DELETE FROM rows WHERE key = ?", (key,)))  # type: ignore[misc]
        return gone

    def left(self, gone: list[bytes]) -> list[bytes]:
        """Return which of these keys are still in any of the files."""
        data = b"".join(each.read_bytes() for each in self.path.parent.iterdir())
        return [key for key in gone if key in data]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir(mode=0o700)
    return tmp_path / "own" / "file.sqlite"


async def test_sqlite_alone_leaves_copies_behind(path: Path) -> None:
    found = 0
    for seed in range(10):
        rows = Rows(path.with_name(f"{seed}.sqlite"), seed=seed)
        gone = rows.delete(300)
        rows.file.now(lambda connection: connection.execute("SELECT 1").fetchall())
        rows.file._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        found += len(rows.left(gone))
        rows.file.close()
        if found:
            break
    assert found, "there is no need to write files anew any more"


@pytest.mark.parametrize("seed", range(5))
async def test_after_a_purge_nothing_of_it_is_left(path: Path, seed: int) -> None:
    rows = Rows(path, seed=seed)
    gone = rows.delete(300)
    await rows.file.purge()
    assert rows.left(gone) == []
    assert len(rows.left(rows.keys)) == len(rows.keys)
    rows.file.close()


async def test_it_is_written_anew_at_most_once_an_hour_and_when_it_is_closed(path: Path) -> None:
    rows = Rows(path)
    said: list[str] = []

    def traced(_: object, query: str, __: object) -> bool:
        said.append(query)
        return True

    rows.file._connection.set_exec_trace(traced)
    gone: list[bytes] = []
    for seconds, rewritten in (
        (0.0, 1),
        (1.0, 1),
        (REWRITE_EVERY_S - 1, 1),
        (REWRITE_EVERY_S, 2),
        (REWRITE_EVERY_S + 5, 2),
    ):
        rows.now = seconds
        gone += rows.delete(50)
        await rows.file.purge()
        assert said.count("VACUUM") == rewritten
    rows.file.close()
    assert said.count("VACUUM") == 3
    assert rows.left(gone) == []
    rows.file = rows.open()
    rows.file.close()  # and a file that nothing was taken out of is left as it is
    assert said.count("VACUUM") == 3


async def test_what_a_run_that_died_left_behind_goes_with_the_next_purge(path: Path) -> None:
    rows = Rows(path)
    gone = rows.delete(250)
    again = rows.open()  # the first one is never closed
    await again.purge()
    assert rows.left(gone) == []
    again.close()
    rows.file.close()


async def test_without_room_to_write_it_anew_the_next_purge_tries_again(path: Path) -> None:
    rows = Rows(path)
    gone = rows.delete(250)
    holder = rows.open()
    holder._connection.execute("BEGIN IMMEDIATE")
    rows.file._connection.set_busy_timeout(1)
    with pytest.raises(Unavailable):
        await rows.file.purge()
    holder._connection.execute("ROLLBACK")
    holder.close()
    await rows.file.purge()
    assert rows.left(gone) == []
    rows.file.close()
