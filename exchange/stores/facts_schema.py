"""The file that holds the fold of a log's life: its tables, and how a file of another form is thrown away.

Everything in it is a function of the log's leaves (and of audience records, which are kept as long as they are). So a
file that is missing, of another form, or of another tree is made again, and nothing in it needs an fsync of its own.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import apsw

from exchange.errors import Fatal
from exchange.ops.durable import make_folders
from exchange.ops.transactions import all_rows, transaction
from exchange.stores import sqlite_schema as schema

#: Raised with every change of these tables, or of how an entry is taken into them.
FORMAT = 9

TABLES = """
CREATE TABLE place(
    id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, hashes BLOB NOT NULL, sorted INTEGER NOT NULL
) STRICT;
INSERT INTO place VALUES (1, 0, x'', 0);
CREATE TABLE statements(
    idx INTEGER PRIMARY KEY, publisher TEXT NOT NULL, label INTEGER NOT NULL, election BLOB NOT NULL,
    expires_at_ms INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, actioned_at_ms INTEGER NOT NULL,
    directory_size INTEGER NOT NULL, audience TEXT, in_lag INTEGER NOT NULL, gone INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX to_expire ON statements(expires_at_ms) WHERE gone = 0;
-- The signals of each statement, joined; and where each is, by its first eight bytes, of statements below `sorted`.
CREATE TABLE ids(idx INTEGER PRIMARY KEY, ids BLOB NOT NULL) STRICT;
CREATE TABLE said(key INTEGER PRIMARY KEY, idx INTEGER NOT NULL) STRICT;
-- Where eight bytes came again: those of the same signal, or of another that begins alike.
CREATE TABLE said_again(key INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (key, idx)) STRICT, WITHOUT ROWID;
-- Signals that something was said about, or that were said again.
CREATE TABLE signals(
    signal_id BLOB PRIMARY KEY, idx INTEGER NOT NULL, retracted_at INTEGER, erased_at INTEGER, replaced_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX by_place ON signals(idx);
-- Where a signal was said again: nothing but its record counts, which goes when the first one does.
CREATE TABLE repeats(
    signal_id BLOB NOT NULL, idx INTEGER NOT NULL, gone INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (signal_id, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX repeats_left ON repeats(idx) WHERE gone = 0;
CREATE TABLE endings(
    idx INTEGER NOT NULL, signal_id BLOB NOT NULL, erasure INTEGER NOT NULL, reason INTEGER NOT NULL,
    publisher TEXT NOT NULL, received_at_ms INTEGER NOT NULL, directory_size INTEGER NOT NULL,
    acknowledged TEXT, gone INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (idx, signal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX to_erase ON endings(idx) WHERE erasure = 1 AND gone = 0;
CREATE INDEX ending_of ON endings(signal_id);
CREATE TABLE dispositions(
    signal_id BLOB NOT NULL, member TEXT NOT NULL, idx INTEGER NOT NULL, state INTEGER NOT NULL,
    action INTEGER NOT NULL, reason INTEGER NOT NULL, matched_at_ms INTEGER NOT NULL, actioned_at_ms INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL, counted INTEGER NOT NULL, PRIMARY KEY (signal_id, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE opinions(
    signal_id BLOB NOT NULL, member TEXT NOT NULL, idx INTEGER NOT NULL, category INTEGER NOT NULL,
    reason INTEGER NOT NULL, PRIMARY KEY (signal_id, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE members(
    member TEXT PRIMARY KEY, processed_through INTEGER, acknowledged_at_ms INTEGER NOT NULL DEFAULT 0,
    clock_offset_ms INTEGER NOT NULL DEFAULT 0, clock_error_ms INTEGER NOT NULL DEFAULT 0, quarantined_from INTEGER,
    released_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE lag(
    day INTEGER NOT NULL, stage INTEGER NOT NULL, publisher TEXT NOT NULL, receiver TEXT NOT NULL,
    label INTEGER NOT NULL, election BLOB NOT NULL, bucket INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, stage, publisher, receiver, label, election, bucket)
) STRICT, WITHOUT ROWID;
CREATE TABLE activity(
    day INTEGER NOT NULL, member TEXT NOT NULL, kind INTEGER NOT NULL, label INTEGER NOT NULL, election BLOB NOT NULL,
    statements INTEGER NOT NULL, signals INTEGER NOT NULL, PRIMARY KEY (day, member, kind, label, election)
) STRICT, WITHOUT ROWID;
-- Where what is said by few statements lies.
CREATE TABLE few(idx INTEGER PRIMARY KEY) STRICT;
-- What was said to named members. Of the records only who, to whom, of what and when is here; the words are not.
CREATE TABLE addressed(
    id BLOB NOT NULL, idx INTEGER NOT NULL, kind INTEGER NOT NULL, publisher TEXT NOT NULL, target BLOB NOT NULL,
    received_at_ms INTEGER NOT NULL, audience TEXT NOT NULL, counts INTEGER NOT NULL, erased_at INTEGER,
    PRIMARY KEY (id, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX addressed_of ON addressed(target, idx);
CREATE INDEX addressed_place ON addressed(idx);
CREATE INDEX addressed_to_erase ON addressed(idx) WHERE erased_at IS NOT NULL;
CREATE TABLE referrals(
    id BLOB PRIMARY KEY, idx INTEGER NOT NULL, publisher TEXT NOT NULL, authority TEXT NOT NULL,
    received_at_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, state INTEGER NOT NULL, outcome INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL, updates INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX referred_by ON referrals(publisher, idx);
CREATE INDEX referred_to ON referrals(authority, idx);
CREATE INDEX referred_at ON referrals(idx);
-- Entries that came without the records that they had, whoever took them: when these are over (0: with the retention),
-- and of what is for named members its id.
CREATE TABLE bare(
    idx INTEGER PRIMARY KEY, publisher TEXT NOT NULL, ends_at_ms INTEGER NOT NULL, id BLOB NOT NULL,
    kind INTEGER NOT NULL
) STRICT;
CREATE INDEX bare_of ON bare(publisher, idx);
CREATE INDEX bare_addressed ON bare(id) WHERE id != x'';
-- What erasures name that is no signal: a record that is not here now must not come back either.
CREATE TABLE tombs(id BLOB PRIMARY KEY, idx INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def open_file(path: Path) -> apsw.Connection:
    """Open the file, or make it anew where it is not one of this form."""
    make_folders(path.parent)
    with suppress(Fatal, *schema.READ_FAILURES):  # no database at all, or a damaged one
        connection = _open(path)
        if _kept(connection, path):
            return connection
    remove_file(path)
    connection = _open(path)
    try:
        make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _kept(connection: apsw.Connection, path: Path) -> bool:
    """Whether this is a file of ours; where it is not, it is closed: whoever has it open may not remove it."""
    ours = False
    try:
        ours = _is_ours(connection, path)
    finally:
        if not ours:
            connection.close()
    return ours


def open_again(path: Path) -> apsw.Connection:
    """Open a file that another process has open, to write to it beside that. Raises `Fatal` where it is not ours."""
    connection = _open(path, create=False)
    if not _is_ours(connection, path):
        raise Fatal(f"{path}: is not a fold of this form")
    return connection


def remove_file(path: Path) -> None:
    """Remove the file and what SQLite keeps beside it. Nobody may have it open."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _is_ours(connection: apsw.Connection, path: Path) -> bool:
    if connection.pragma("user_version") != FORMAT:
        return False
    rows = all_rows(
        connection,
        "SELECT page_count, page_size, (SELECT count(*) FROM place) FROM pragma_page_count, pragma_page_size",
    )
    ((pages, page_bytes, places),) = rows
    in_log = path.with_name(f"{path.name}-wal").stat().st_size > 0
    return places == 1 and (in_log or path.stat().st_size >= pages * page_bytes)


def _open(path: Path, *, create: bool = True) -> apsw.Connection:
    connection = schema.connect(path, create=create)
    connection.pragma("synchronous", "NORMAL")
    return connection


def make_tables(connection: apsw.Connection) -> None:
    """Make the tables of a new file."""
    with transaction(connection):
        connection.execute(TABLES)
        connection.pragma("user_version", FORMAT)
