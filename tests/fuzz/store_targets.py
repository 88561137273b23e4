"""The databases of hub and client, damaged: their files byte by byte, and their rows value by value."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, cast

import apsw

from exchange.domain.statement import Signature, Statement
from exchange.errors import ExchangeError
from exchange.ledger.merkle import CompactRange
from exchange.ledger.tiles import TILE_WIDTH
from exchange.stores.sqlite import FILE_NAME, SqliteStore
from exchange.stores.sqlite_reader import LogFiles
from exchange_client.cursors import Cursors, Position
from exchange_client.outbox import Outbox
from exchange_client.remembered import Remembered, RememberedDirectory
from exchange_client.state import StateFile
from tests.contract.builders import KEY, ORIGIN, Chain, commit, tile
from tests.fuzz.target import Target
from tests.unit.builders import make_directory

_TEMPORARY = TemporaryDirectory(prefix="fuzz-")
FOLDER = Path(_TEMPORARY.name)
#: Every value that somebody could change.
HUB_CELLS = tuple(
    (table, column)
    for table, columns in {
        "log": "origin durable_size durable_root sealed_size sealed_root checkpoint floor last_received_at_ms "
        "last_directory_size",
        "entries": "idx statement_id leaf_hash received_at_ms frame checksum",
        "tiles": "level idx hashes root",
    }.items()
    for column in columns.split()
)
CLIENT_CELLS = tuple(
    (table, column)
    for table, columns in {
        "cursors": "origin size hashes checkpoint received_at_ms directory_size",
        "outbox": "statement_id origin statement kept_at_ms receipt_index receipt_at_ms",
        "cases": "origin case_ref signal_id",
        "folds": "origin snapshot",
    }.items()
    for column in columns.split()
)


def _run(job: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner() as runner:
        return runner.run(job)


def _patched(base: bytes, data: bytes) -> bytes:
    """Return a file with patches in it: place (3 bytes), length (1 byte), bytes; what is left over cuts its end off."""
    out = bytearray(base)
    at = 0
    while at + 4 < len(data):
        place = int.from_bytes(data[at : at + 3], "big") % len(out)
        new = data[at + 4 : at + 4 + data[at + 3]]
        out[place : place + len(new)] = new
        at += 4 + len(new)
    return bytes(out[: -int.from_bytes(data[at:], "big") or None]) if at < len(data) else bytes(out)


async def _made_store() -> bytes:
    """Return the file of a log with a full tile and a few entries more."""
    store = await SqliteStore.open(FOLDER / "log", origin=ORIGIN, create=True)
    chain = await commit(store, Chain(), TILE_WIDTH, record_bytes=32)
    await commit(store, chain, 40, record_bytes=32)
    await store.aclose()
    return (FOLDER / "log" / FILE_NAME).read_bytes()


async def _use_store(folder: Path) -> object:
    """Open, read everything, and close. The lock and the threads are gone afterwards, whatever happened."""
    store = await SqliteStore.open(folder, origin=ORIGIN)
    try:
        head = await store.head()
        assert 0 <= head.floor <= head.sealed.size <= head.durable.size
        found: list[object] = []
        jobs: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store.read(head.floor, 1_000),
            lambda: tile(store, 0, 0, 17),
            lambda: tile(store, 0, 1, 17),
            lambda: tile(store, 1, 0, 1),
            lambda: store.bundle(0),
            lambda: store.find(bytes(32)),
            lambda: store.archive(TILE_WIDTH),
        )
        for job in jobs:
            with suppress(ExchangeError):
                found.append(await job())
        return found
    finally:
        await store.aclose()


def _use_hub_file(data: bytes) -> object:
    folder = FOLDER / "damaged"
    rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(data)
    _read_files(folder)
    return _run(_use_store(folder))


def open_store(data: bytes) -> object:
    """A damaged file is told as such, by the store and by the reader of its files."""
    return _use_hub_file(_patched(STORE, data))


def open_store_with_values(data: bytes) -> object:
    """So is a file that is whole, with values in it that no hub wrote."""
    return _use_hub_file(_replaced(STORE, HUB_CELLS, data))


def _read_files(folder: Path) -> None:
    with suppress(ExchangeError):
        files = LogFiles(folder)
        try:
            state = files.state()
            assert isinstance(state.durable_root, bytes)
            for entry in files.entries(state.durable_size):
                assert isinstance(entry.frame + entry.leaf, bytes)
            files.tile(0, 0)
            files.damage()
        finally:
            files.close()


class Keys:
    """A client's signing keys, without the files."""

    present = KEY
    held = (KEY,)


def _remembered(state: StateFile) -> RememberedDirectory:
    return RememberedDirectory(state, cast("Any", Keys()), ORIGIN, bytes(32))


async def _made_state() -> bytes:
    """Return the file of a client with a position and a statement."""
    path = FOLDER / "client.sqlite"
    state = StateFile(path)
    chain, _ = Chain().grow(5)
    await Cursors(state).store(ORIGIN, Position(chain.tree.compact_range(), b"note"))
    said = Statement(b"payload", (Signature(bytes(32), bytes(64)),))
    await Outbox(state, ORIGIN).add([said], [("case", bytes(32))], now_ms=1)
    directory = make_directory()
    leaves = CompactRange().extend([bytes(32)] * directory.size)
    await _remembered(state).store(Remembered(directory, leaves, 7))
    await state.aclose()
    return path.read_bytes()


def _use_client_file(data: bytes) -> object:
    path = FOLDER / "state" / "client.sqlite"
    rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    path.write_bytes(data)
    return _run(_use_state(path))


def open_state(data: bytes) -> object:
    """The client's own file, damaged: refused in opening or in use."""
    return _use_client_file(_patched(STATE, data))


def open_state_with_values(data: bytes) -> object:
    """The same, with values in it that no client wrote."""
    return _use_client_file(_replaced(STATE, CLIENT_CELLS, data))


async def _use_state(path: Path) -> object:
    state = StateFile(path)
    try:
        found: list[object] = []
        outbox = Outbox(state, ORIGIN)
        jobs: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: Cursors(state).load(ORIGIN),
            lambda: _remembered(state).load(),
            outbox.pending,
            lambda: outbox.signal_ids("case"),
            lambda: outbox.prune(now_ms=0),
        )
        for job in jobs:
            with suppress(ExchangeError):
                found.append(await job())
        return found
    finally:
        await state.aclose()


def _replaced(base: bytes, cells: tuple[tuple[str, str], ...], data: bytes) -> bytes:
    """Return a database with values replaced: which one (1 byte), of what type (1 byte), length (1 byte), bytes."""
    path = FOLDER / "values.sqlite"
    path.write_bytes(base)
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("journal_mode", "delete")
        connection.pragma("writable_schema", "ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, ' STRICT', ' '), ' ,', ' ')")
        connection.pragma("writable_schema", "RESET")
        at = 0
        while at + 3 <= len(data):
            table, column = cells[data[at] % len(cells)]
            raw = data[at + 3 : at + 3 + data[at + 2]]
            with suppress(apsw.Error):
                connection.execute(f"UPDATE {table} SET {column} = {_SQL[data[at + 1] % len(_SQL)]}", (raw,))
            at += 3 + len(raw)
    finally:
        connection.close()
    return path.read_bytes()


#: A value of each type that SQLite has, out of bytes; a text may be no UTF-8.
_SQL = (
    "?1",
    "CAST(?1 AS TEXT)",
    "CAST(CAST(?1 AS TEXT) AS INTEGER)",
    "CAST(CAST(?1 AS TEXT) AS REAL)",
    "iif(?1 IS NULL, 0, NULL)",
    "zeroblob(min(abs(CAST(CAST(?1 AS TEXT) AS INTEGER)), 100000))",
)
STORE = _run(_made_store())
STATE = _run(_made_state())


def _value(cells: tuple[tuple[str, str], ...], cell: tuple[str, str], type_: int, raw: bytes) -> bytes:
    return bytes((cells.index(cell), type_, len(raw))) + raw


_HUB_VALUES = tuple(
    _value(HUB_CELLS, ("log", column), 2, b"1") for column in ("last_received_at_ms", "last_directory_size")
)
_CLIENT_VALUES = (_value(CLIENT_CELLS, ("cursors", "received_at_ms"), 2, b"7"),)

TARGETS = (
    Target("store-file", open_store, (b"", b"\x00\x80\x00\x01\x00"), (ExchangeError,), examples=12, counted=False),
    Target("store-values", open_store_with_values, _HUB_VALUES, (ExchangeError,), examples=20, counted=False),
    Target("client-file", open_state, (b"", b"\x00\x80\x00\x01\x00"), (ExchangeError,), examples=12, counted=False),
    Target("client-values", open_state_with_values, _CLIENT_VALUES, (ExchangeError,), examples=20, counted=False),
)
