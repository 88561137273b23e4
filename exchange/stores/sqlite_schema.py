"""The embedded store's file: schema, pragmas, and opening it without surprises."""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import apsw

from exchange.errors import ExchangeError, Fatal, OtherFormat, Reason, Rejected, Unavailable
from exchange.ledger.merkle import EMPTY_ROOT
from exchange.ops.database_format import format_in
from exchange.ops.durable import sync_folder
from exchange.ops.transactions import all_rows, first_row, transaction

SCHEMA_VERSION = 2
#: Below this, two connections can corrupt the write-ahead log (fixed in SQLite 3.51.3).
OLDEST_SQLITE = (3, 51, 3)
#: What a connection may hold of a file: pages that it has read or written, so never more than the file has.
CACHE_BYTES = 16 * 2**20

#: What reading a file can raise: a flipped bit in a row's header makes a text of a blob.
READ_FAILURES = (apsw.Error, UnicodeDecodeError)
#: SQLite undoes these itself: nothing changed, and trying again can help.
CLEAN_FAILURES = (apsw.FullError, apsw.BusyError)

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


def checksum(statement_id: bytes, received_at_ms: int, frame: bytes) -> int:
    """Return the checksum of an entry's row: of all in it that neither its key nor its leaf hash vouches for."""
    return zlib.crc32(frame, zlib.crc32(statement_id + received_at_ms.to_bytes(8, "big", signed=True)))


def explain(error: Exception, path: Path) -> ExchangeError:
    """Return the typed error for one of SQLite's."""
    if isinstance(error, apsw.FullError):
        return Unavailable("the store's disk is full", retry_after_ms=5_000)
    if isinstance(error, apsw.BusyError):
        return Unavailable("the store's file is in use by another program", retry_after_ms=1_000)
    return Fatal(f"{path}: {error}")


@contextlib.contextmanager
def typed(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as typed ones."""
    try:
        yield
    except READ_FAILURES as error:
        raise explain(error, path) from error


def lock(path: Path) -> int:
    """Take the log's lock for this process; the descriptor holds it. Raises `Fatal` when another process has it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG) from error
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
    if tuple(map(int, apsw.sqlite_lib_version().split("."))) < OLDEST_SQLITE:
        raise Fatal(
            f"SQLite {apsw.sqlite_lib_version()} is too old to be trusted with a write-ahead log",
            reason=Reason.CONFIG,
            hint="install the apsw release that this project's lock file names",
        )
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    if create:
        # Made by us first: it holds records in clear, and SQLite would let everyone read it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        connection = apsw.Connection(str(path), flags=flags)
    except apsw.Error as error:
        raise Fatal(f"{path}: cannot be opened as a store: {error}") from error
    try:
        connection.set_busy_timeout(5_000)
        if not read_only:
            if connection.pragma("journal_mode", "wal") != "wal":
                raise Fatal(f"{path}: this file system cannot hold a write-ahead log", reason=Reason.CONFIG)
            connection.pragma("synchronous", "FULL")
            connection.pragma("secure_delete", True)  # noqa: FBT003 - the pragma's value
        connection.pragma("cache_size", -CACHE_BYTES // 1024)
    except (apsw.Error, Fatal) as error:
        connection.close()
        if isinstance(error, Fatal):
            raise
        raise Fatal(f"{path}: cannot be opened as a store: {error}") from error
    return connection


def make(path: Path, origin: str) -> None:
    """Make the file of a new log, whole or not at all: aside first, under a name that nobody opens.

    Raises `Unavailable` on a full disk, `Fatal` on anything else.
    """
    aside = path.with_name(f".{path.name}.new")
    for left in (aside, *(aside.with_name(f"{aside.name}-{name}") for name in ("wal", "shm"))):
        left.unlink(missing_ok=True)
    connection = connect(aside, create=True)
    try:
        with typed(path):
            with transaction(connection):
                connection.execute(_TABLES)
                row = (origin, EMPTY_ROOT, EMPTY_ROOT)
                connection.execute("INSERT INTO log VALUES (1, ?, 0, ?, 0, ?, x'', 0, 0, 0)", row)
                connection.pragma("user_version", SCHEMA_VERSION)
            # What is still in the write-ahead log would not be renamed with the file.
            left_behind, *_ = first_row(connection, "PRAGMA wal_checkpoint(TRUNCATE)") or (1,)
    finally:
        connection.close()
    if left_behind:
        raise Fatal(f"{path}: could not be made whole: another program has it open")
    aside.rename(path)
    sync_folder(path.parent)


def make_durable(connection: apsw.Connection, path: Path) -> None:
    """Make sure that what this file says is on the disk, before anyone builds on it.

    A process that died in the middle of a commit, or whose fsync failed, can leave a commit that is in the system's
    memory only: whoever opens the file sees it, and the loss of power would take it away. Moving the write-ahead log
    into the file writes it anew and syncs both. Without room for that, the log itself is synced.
    """
    try:
        all_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    except apsw.FullError:
        log = os.open(f"{path}-wal", os.O_RDWR)
        try:
            os.fdatasync(log)
        finally:
            os.close(log)
    except apsw.Error as error:
        raise Fatal(f"{path}: cannot be made durable: {error}") from error


def require_format(path: Path, *known: int) -> None:
    """Return if a file is in one of these formats, of which the last is ours. Raises `OtherFormat` and `Fatal`.

    `Unavailable` where another program holds it. Comes before the opening: what another release wrote stays as it is.
    """
    try:
        found = format_in(path)
    except apsw.BusyError as error:
        raise explain(error, path) from error
    except (*READ_FAILURES, OSError) as error:
        raise Fatal(f"{path}: not a readable store: {error}") from error
    if found not in known:
        raise OtherFormat(path, found, known[-1])


def check_file(connection: apsw.Connection, path: Path, origin: str) -> None:
    """Return if the file is the log of this origin. Raises `Fatal` otherwise."""
    try:
        row = first_row(connection, "SELECT origin FROM log WHERE id = 1")
    except READ_FAILURES as error:
        raise Fatal(f"{path}: not a readable store: {error}") from error
    if row is None or row[0] != origin:
        raise Fatal(f"{path}: holds the log {row and row[0]!r}, not {origin!r}", reason=Reason.CONFIG)


def require_none(path: Path) -> None:
    """Return if there is no log yet. Raises `Rejected` (CONFLICT)."""
    if path.exists():
        raise Rejected(Reason.CONFLICT, f"{path}: there is a log already", hint="open it without creating it")


def missing(path: Path) -> Rejected:
    """Return the error for a log that is not there: logs are created on purpose, never by serving."""
    return Rejected(
        Reason.NOT_FOUND,
        f"{path}: there is no such log",
        hint="`exchange init` makes the directory, `exchange community create` a community",
    )
