"""What a later release wrote is refused by this one, in words that name both formats, and stays as it was, byte for byte.

One case for each file that a release may one day write otherwise. What is folded from a log is made again instead.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from clients.python.tests.fake_service import EPOCH, Service
from exchange.errors import ExchangeError, Fatal, Reason, Rejected
from exchange.report.payload import FORMAT as REPORT
from exchange.report.payload import PAYLOAD_FILE, decoded
from exchange.stores import budget_book, facts_schema, sqlite_schema
from exchange.stores.backup.layout import FORMAT as BACKUP
from exchange.stores.backup.layout import Manifest, read_manifest, write_manifest
from exchange.stores.budget_book import BudgetFile, read_totals
from exchange.stores.epoch_keys import EpochKeys
from exchange.stores.facts import FactsFile
from exchange.stores.proposals_file import FORMAT as PROPOSALS
from exchange.stores.proposals_file import ProposalFile, encoded
from exchange.stores.sealed_mark import FORMAT as MARK
from exchange.stores.sealed_mark import LATER, SLOT_BYTES, SealedMarkFile, read_mark
from exchange.stores.sqlite import FILE_NAME, SqliteStore
from exchange.stores.sqlite_reader import LogFiles
from exchange_client import account_index, account_signals, matcher_file, state
from exchange_client.account_index import AccountIndex
from exchange_client.account_indexes import AccountIndexes
from exchange_client.account_signals import AccountSignals
from exchange_client.matcher_file import MatcherFile
from exchange_client.pseudonyms import Pseudonyms
from exchange_client.state import StateFile
from tests.contract.builders import ORIGIN, Chain, commit
from tests.unit.report.example import plain

Step = Callable[[Path], Awaitable[object]]


def files_in(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder, but for locks and for what SQLite's processes share."""
    kept = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("lock", "-shm")))
    return {str(path): data for path in kept if (data := path.read_bytes())}


@contextmanager
def refused(what: str, known: int, folder: Path) -> Iterator[None]:
    """Check that what runs inside is refused as a later format, and changes nothing."""
    before = files_in(folder)
    with pytest.raises(ExchangeError, match=f"format {known + 1}; this release knows {known}") as caught:
        yield
    assert isinstance(caught.value, Fatal | Rejected), what
    assert caught.value.reason is Reason.CONFIG
    assert "docs/upgrade.md" in caught.value.hint
    assert files_in(folder) == before


async def a_log(folder: Path) -> None:
    store = await SqliteStore.open(folder, origin=ORIGIN, create=True)
    await commit(store, Chain(), 3)
    await store.aclose()


async def opened(folder: Path) -> None:
    await SqliteStore.open(folder, origin=ORIGIN)


async def looked_at(folder: Path) -> None:
    with closing(LogFiles(folder)) as files:
        files.state()


async def a_book(folder: Path) -> None:
    await (await BudgetFile.open(folder / "budgets.sqlite")).aclose()


async def book(folder: Path) -> None:
    await BudgetFile.open(folder / "budgets.sqlite")


async def totals(folder: Path) -> None:
    read_totals(folder / "budgets.sqlite", 0)


async def a_client(folder: Path) -> None:
    await StateFile(folder / "client.sqlite").aclose()


async def a_matcher(folder: Path) -> None:
    MatcherFile(folder / "matcher.sqlite").close()


async def an_index(folder: Path) -> None:
    AccountIndex(folder / "epoch-1-00.sqlite", Pseudonyms(Service().evaluate, EPOCH)).close()


async def indexes(folder: Path) -> None:
    AccountIndexes(folder).close()


async def account_book(folder: Path) -> None:
    AccountSignals(folder / "uk.signals.sqlite", ORIGIN).close()


DATABASES: dict[str, tuple[str, int, Step, Step]] = {
    "a log": (FILE_NAME, sqlite_schema.SCHEMA_VERSION, a_log, opened),
    "a log that is only looked at": (FILE_NAME, sqlite_schema.SCHEMA_VERSION, a_log, looked_at),
    "budgets": ("budgets.sqlite", budget_book._SCHEMA_VERSION, a_book, book),
    "budgets that are only looked at": ("budgets.sqlite", budget_book._SCHEMA_VERSION, a_book, totals),
    "a client's state": ("client.sqlite", state.SCHEMA_VERSION, a_client, a_client),
    "a matcher": ("matcher.sqlite", matcher_file._SCHEMA_VERSION, a_matcher, a_matcher),
    "own accounts": ("epoch-1-00.sqlite", account_index._SCHEMA_VERSION, an_index, an_index),
    "own accounts that are asked": ("epoch-1-00.sqlite", account_index._SCHEMA_VERSION, an_index, indexes),
    "accounts' signals": ("uk.signals.sqlite", account_signals._SCHEMA_VERSION, account_book, account_book),
}


@pytest.mark.parametrize("died", [False, True], ids=["closed", "died"])
@pytest.mark.parametrize("what", DATABASES)
async def test_a_database_of_a_later_release_is_refused_and_unchanged(tmp_path: Path, what: str, died: bool) -> None:
    name, known, make, again = DATABASES[what]
    made, folder = tmp_path / "made", tmp_path / "folder"
    made.mkdir(mode=0o700)
    await make(made)
    with closing(apsw.Connection(str(made / name))) as connection:
        connection.pragma("user_version", known + 1)
        connection.execute("CREATE TABLE of_the_later_release(x)")
        if died:  # its process was killed: what it wrote lies in its write-ahead log
            shutil.copytree(made, folder)
    if not died:
        shutil.copytree(made, folder)
    assert (folder / f"{name}-wal").exists() == died
    with refused(what, known, folder):
        await again(folder)


async def test_a_fold_of_a_later_release_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "folds" / "life"
    facts = await FactsFile.open(path)
    await facts.aclose()
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE place SET size = 1, hashes = zeroblob(32)")
        connection.pragma("user_version", facts_schema.FORMAT + 1)
    again = await FactsFile.open(path)
    assert again.place().size == 0
    await again.aclose()


async def test_a_backup_of_a_later_release_is_refused_whatever_else_it_says(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest(BACKUP, "news.exchange", 1, ()))
    path = tmp_path / "backup.json"
    later = json.loads(path.read_text()) | {"format": BACKUP + 1, "of_the_later_release": True}
    path.write_text(json.dumps(later))
    with refused("a backup", BACKUP, tmp_path):
        read_manifest(tmp_path)


async def test_a_mark_of_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "marks" / "news"
    path.parent.mkdir()
    path.write_bytes((LATER + b"%d\n" % (MARK + 1)).ljust(2 * SLOT_BYTES, b"x"))
    mark = SealedMarkFile(path)
    for look in (mark.load(), mark.record(b"a note")):
        with refused("a mark", MARK, tmp_path):
            await look
    with refused("a mark", MARK, tmp_path):
        read_mark(path)
    await mark.aclose()


async def test_proposals_of_a_later_release_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "proposals"
    first, _, rest = encoded([]).partition(b"\n")
    later = json.loads(first) | {"format": PROPOSALS + 1, "of_the_later_release": True}
    path.write_bytes(json.dumps(later).encode() + b"\nwhatever it holds\n" + rest)
    with refused("proposals", PROPOSALS, tmp_path):
        await ProposalFile(path).load()


async def test_a_key_epoch_of_a_later_release_is_refused(tmp_path: Path) -> None:
    keys = EpochKeys(tmp_path)
    keys.create(7, 1, 2, {})
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    for change in (keys.load, lambda: keys.destroy(7)):
        with refused("a key epoch", 1, tmp_path):
            change()


def test_a_report_of_a_later_release_is_told_from_a_damaged_one() -> None:
    later: dict[str, Any] = plain() | {"format": REPORT + 1, "of_the_later_release": True}
    with pytest.raises(Rejected, match=f"format {REPORT + 1}; this release knows {REPORT}") as caught:
        decoded(json.dumps(later).encode())
    assert PAYLOAD_FILE in caught.value.message
    assert caught.value.reason is Reason.CONFIG
