"""This machine's own memory of the last checkpoint that it released: two slots in one small file.

A record goes to the slot that does not hold the newest one, is fdatasynced, and only then counts; a torn write
leaves the other slot whole. Each slot carries a sequence number and a checksum. One write and one fdatasync a
record, no rename: this is on the path of every commit.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from exchange.errors import Fatal
from exchange.stores.durable import make_folders, sync_folder
from exchange.stores.worker import Worker

SLOT_BYTES = 4096
_HEAD_BYTES = 8 + 4 + 4


def _pack(sequence: int, note: bytes) -> bytes:
    body = sequence.to_bytes(8, "big") + len(note).to_bytes(4, "big") + note
    return (zlib.crc32(body).to_bytes(4, "big") + body).ljust(SLOT_BYTES, b"\0")


def _unpack(slot: bytes) -> tuple[int, bytes] | None:
    checksum, sequence = int.from_bytes(slot[:4], "big"), int.from_bytes(slot[4:12], "big")
    size = int.from_bytes(slot[12:16], "big")
    body = slot[4 : 16 + size]
    if not sequence or size > SLOT_BYTES - _HEAD_BYTES or zlib.crc32(body) != checksum:
        return None
    return sequence, slot[16 : 16 + size]


def _newest(path: Path) -> tuple[int, bytes] | None:
    if not path.exists():
        return None
    data = path.read_bytes()
    slots = [_unpack(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
    whole = [slot for slot in slots if slot is not None]
    if not whole:
        raise Fatal(
            f"{path}: no whole record of the last sealed checkpoint",
            hint="compare the log with another copy; then move this file away and start once with --adopt",
        )
    return max(whole)


def read_mark(path: Path) -> bytes | None:
    """Return the newest record in a mark's file without opening it for writing; None when there is no file."""
    newest = _newest(path)
    return None if newest is None else newest[1]


class SealedMarkFile:
    """A `SealedMark` in a file. One process at a time; the log's lock sees to that."""

    def __init__(self, path: Path) -> None:
        """Use the file at this path; it is created by the first record."""
        self._path = path
        self._worker = Worker(f"sealed-mark {path.parent.name}")
        self._file: int | None = None
        self._sequence = 0

    async def load(self) -> bytes | None:
        """Return the newest whole record; None when there is no file. Raises `Fatal` when both slots are damaged."""
        return await self._worker.call(self._load)

    async def record(self, checkpoint: bytes) -> None:
        """Record a note of at most 4 kB durably."""
        await self._worker.call(lambda: self._record(checkpoint))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        await self._worker.aclose()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _load(self) -> bytes | None:
        newest = _newest(self._path)
        if newest is None:
            return None
        self._sequence, note = newest
        return note

    def _record(self, note: bytes) -> None:
        if len(note) > SLOT_BYTES - _HEAD_BYTES:
            raise Fatal("the checkpoint is too long to be recorded")
        if self._file is None:
            self._file = self._open()
        self._sequence += 1
        os.pwrite(self._file, _pack(self._sequence, note), (self._sequence % 2) * SLOT_BYTES)
        os.fdatasync(self._file)

    def _open(self) -> int:
        make_folders(self._path.parent)
        new = not self._path.exists()
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if new:
            os.pwrite(file, b"\0" * (2 * SLOT_BYTES), 0)
            os.fsync(file)
            sync_folder(self._path.parent)
        else:
            self._load()
        return file
