"""A transaction: all of it or nothing, nobody else stands still meanwhile, and no question leaves one behind."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from exchange.ops.transactions import first_row, transaction

ROOT = Path(__file__).parents[3]
#: What returns a connection.
OPENING = {"Connection", "_open", "connect", "open_again", "open_file", "open_private"}
#: What is entered as it is, in modules that know apsw: connections that only read, and what is none.
ENTERED = {
    "exchange/stores/facts.py: self._looking",
    "exchange/stores/facts.py: self._reading",
    "clients/python/src/exchange_client/private_database.py: self._turn",
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    made = apsw.Connection(str(tmp_path / "rows.sqlite"))
    made.execute("CREATE TABLE rows(number INTEGER PRIMARY KEY, data BLOB)")
    yield made
    made.close()


def rows(connection: apsw.Connection) -> list[int]:
    found: list[Any] = connection.execute("SELECT number FROM rows ORDER BY number").fetchall()
    return [number for (number,) in found]


def test_what_is_done_inside_is_there_together_or_not_at_all(connection: apsw.Connection) -> None:
    with transaction(connection):
        connection.execute("INSERT INTO rows VALUES (1, NULL)")
    with pytest.raises(ZeroDivisionError), transaction(connection):
        connection.execute("INSERT INTO rows VALUES (2, NULL)")
        _ = 1 / len(rows(connection)[2:])
    assert not connection.in_transaction
    assert rows(connection) == [1]


def test_one_that_cannot_be_committed_is_undone_and_says_why(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("CREATE TABLE others(of INTEGER REFERENCES rows DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(apsw.ConstraintError), transaction(connection):
        connection.execute("INSERT INTO rows VALUES (1, NULL)")
        connection.execute("INSERT INTO others VALUES (7)")
    assert not connection.in_transaction
    assert rows(connection) == []
    with transaction(connection):
        connection.execute("INSERT INTO rows VALUES (3, NULL)")
    assert rows(connection) == [3]


def test_others_run_while_it_commits(connection: apsw.Connection) -> None:
    """The commit waits until another thread has read what it reads: holding the interpreter's lock, it would in vain."""
    with transaction(connection):
        connection.execute("INSERT INTO rows VALUES (1, NULL), (2, NULL)")
    connection.set_busy_timeout(10_000)
    reader = apsw.Connection(connection.filename)
    reading = reader.execute("SELECT number FROM rows")
    begun = threading.Event()

    def read_on() -> None:
        begun.wait()
        time.sleep(0.1)
        reading.close()

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        with transaction(connection):
            connection.execute("INSERT INTO rows VALUES (3, NULL)")
            begun.set()
    finally:
        begun.set()
        thread.join()
        reader.close()
    assert rows(connection) == [1, 2, 3]


def test_an_immediate_one_has_the_file_before_anything_is_read(connection: apsw.Connection) -> None:
    other = apsw.Connection(connection.filename)
    with transaction(connection, immediate=True), pytest.raises(apsw.BusyError), transaction(other, immediate=True):
        pytest.fail("two write at once")
    with transaction(other, immediate=True):
        other.execute("INSERT INTO rows VALUES (4, NULL)")
    other.close()
    assert rows(connection) == [4]


def test_a_question_leaves_no_transaction_behind_whoever_keeps_its_cursor(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    kept: list[apsw.Cursor] = []

    def keep(cursor: apsw.Cursor, _query: str, _values: object) -> bool:
        kept.append(cursor)
        return True

    reader = apsw.Connection(connection.filename)
    reader.exec_trace = keep
    for number in range(1, 4):
        connection.execute("INSERT INTO rows VALUES (?, NULL)", (number,))
        assert first_row(reader, "SELECT number FROM rows ORDER BY number DESC") == (number,)
        assert reader.txn_state("main") == apsw.SQLITE_TXN_NONE
    assert first_row(reader, "SELECT number FROM rows WHERE number = ?", (4,)) is None
    assert len(kept) == 4
    reader.close()


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield all syntax of the modules that know apsw, each with its module."""
    for path in (path for folder in ("exchange", "clients/python/src") for path in (ROOT / folder).rglob("*.py")):
        if "apsw" in (text := path.read_text()):
            for node in ast.walk(ast.parse(text)):
                yield str(path.relative_to(ROOT)), node


def test_no_question_is_asked_in_passing() -> None:
    """Ask with `first_row` and `all_rows`: a loop over a cursor is left where its body raises, and so is ``next``."""
    found = []
    for module, node in nodes():
        match node:
            case (
                ast.For(iter=ast.Call(func=ast.Attribute(attr="execute")))
                | ast.comprehension(iter=ast.Call(func=ast.Attribute(attr="execute")))
                | ast.Call(func=ast.Attribute(attr="fetchone" | "fetchall"))
                | ast.Call(func=ast.Name(id="next"), args=[ast.Call(func=ast.Attribute(attr="execute")), *_])
            ) if module != "exchange/ops/transactions.py":
                found.append(f"{module}: {ast.unparse(node)}")
    assert found == []


def test_nothing_but_what_only_reads_uses_the_transaction_of_apsw() -> None:
    """Write in `transaction`. A connection that only reads has nothing to commit: `ENTERED` names it."""
    found = set()
    for module, node in nodes():
        for item in node.items if isinstance(node, ast.With) else ():
            entered = item.context_expr
            if not isinstance(entered, ast.Call) or ast.unparse(entered.func).rpartition(".")[2] in OPENING:
                found.add(f"{module}: {ast.unparse(entered)}")
    assert found == ENTERED
