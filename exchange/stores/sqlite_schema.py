"""The embedded store's file: schema, pragmas, and opening it without surprises."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import apsw

from exchange.errors import Fatal, Reason, Rejected
from exchange.ledger.merkle import EMPTY_ROOT

SCHEMA_VERSION = 1
#: Below this, two connections can corrupt the write-ahead log (fixed in SQLite 3.51.3).
OLDEST_SQLITE = 3_051_003
_CACHE_PAGES_KIB = 16_384

_TABLES = """
CREATE TABLE log(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    durable_size INTEGER NOT NULL,
    durable_root BLOB NOT NULL,
    sealed_size INTEGER NOT NULL,
    sealed_root BLOB NOT NULL,
    checkpoint BLOB NOT NULL,
    floor INTEGER NOT NULL,
    last_received_at_ms INTEGER NOT NULL,
    last_directory_size INTEGER NOT NULL
) STRICT;
CREATE TABLE entries(
    idx INTEGER PRIMARY KEY,
    statement_id BLOB NOT NULL UNIQUE,
    leaf_hash BLOB NOT NULL,
    received_at_ms INTEGER NOT NULL,
    frame BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE tiles(
    level INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    root BLOB NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
"""


def lock(path: Path) -> int:
    """Take the log's lock for this process; the descriptor holds it. Raises `Fatal` when another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Fatal(
            f"{path}: another process has this log open",
            reason=Reason.CONFLICT,
            hint="one hub at a time may use an embedded store; stop the other one first",
        ) from error
    return descriptor


def connect(path: Path, *, create: bool = False, read_only: bool = False) -> apsw.Connection:
    """Open a connection with the pragmas that the promises rest on."""
    if apsw.sqlite_lib_version() and int(apsw.SQLITE_VERSION_NUMBER) < OLDEST_SQLITE:
        raise Fatal("this SQLite is too old to be trusted with a write-ahead log", reason=Reason.CONFIG)
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    if create:
        flags |= apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(5_000)
        if not read_only:
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "FULL")
            connection.pragma("secure_delete", True)  # noqa: FBT003 - the pragma's value
        connection.pragma("cache_size", -_CACHE_PAGES_KIB)
    except apsw.Error as error:
        raise Fatal(f"{path}: cannot be opened as a store: {error}") from error
    return connection


def create_tables(connection: apsw.Connection, origin: str) -> None:
    """Make the schema of a new log."""
    with connection:
        connection.execute(_TABLES)
        connection.execute("INSERT INTO log VALUES (1, ?, 0, ?, 0, ?, x'', 0, 0, 0)", (origin, EMPTY_ROOT, EMPTY_ROOT))
        connection.pragma("user_version", SCHEMA_VERSION)


def check_file(connection: apsw.Connection, path: Path, origin: str) -> None:
    """Return if the file is a log of this origin in a schema this release knows. Raises `Fatal` otherwise."""
    try:
        version = connection.pragma("user_version")
        row = connection.execute("SELECT origin FROM log").fetchone() if version == SCHEMA_VERSION else None
    except apsw.Error as error:
        raise Fatal(f"{path}: not a readable store: {error}") from error
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise Fatal(
            f"{path}: schema version {version}; this release knows {SCHEMA_VERSION}",
            reason=Reason.CONFIG,
            hint="it was written by a newer release: use that one" if newer else "this is not a log of ours",
        )
    if row is None or row[0] != origin:
        raise Fatal(f"{path}: holds the log {row and row[0]!r}, not {origin!r}", reason=Reason.CONFIG)


def missing(path: Path) -> Rejected:
    """Return the error for a log that is not there: logs are created on purpose, never by serving."""
    return Rejected(
        Reason.NOT_FOUND,
        f"{path}: there is no such log",
        hint="`exchange init` makes the directory, `exchange community create` a community",
    )
