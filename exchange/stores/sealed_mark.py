"""This machine's own memory of the last checkpoint that it released: two slots in one small file.

A record goes to the slot that does not hold the newest one, is fdatasynced, and only then counts; a torn write
leaves the other slot whole. Each slot carries a sequence number and a checksum. One write and one fdatasync a
record, no rename: this is on the path of every commit.

This is format 1, which carries no number. A later one begins its file with `LATER`, its number and a line's end.
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

from exchange.errors import Fatal, OtherFormat
from exchange.ops.durable import make_folders, sync_folder
from exchange.stores.worker import Worker

SLOT_BYTES = 4096
_HEAD_BYTES = 4 + 8 + 4
MAX_NOTE_BYTES = SLOT_BYTES - _HEAD_BYTES
FORMAT = 1
LATER = b"signal-exchange mark "


def _pack(sequence: int, note: bytes) -> bytes:
    body = sequence.to_bytes(8, "big") + len(note).to_bytes(4, "big") + note
    return (zlib.crc32(body).to_bytes(4, "big") + body).ljust(SLOT_BYTES, b"\0")


def _offset(sequence: int) -> int:
    return (sequence % 2) * SLOT_BYTES


def _unpack(slot: bytes) -> tuple[int, bytes] | None:
    checksum, sequence = int.from_bytes(slot[:4], "big"), int.from_bytes(slot[4:12], "big")
    size = int.from_bytes(slot[12:16], "big")
    body = slot[4 : 16 + size]
    if not sequence or size > MAX_NOTE_BYTES or zlib.crc32(body) != checksum:
        return None
    return sequence, slot[16 : 16 + size]


def _slots(path: Path) -> tuple[list[tuple[int, bytes]], bool] | None:
    """Return the whole records, and whether another is damaged; None when there is no file.

    Raises `Fatal` when none is whole.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}") from error
    if data.startswith(LATER):
        number = data.removeprefix(LATER).partition(b"\n")[0]
        raise OtherFormat(path, int(number) if number.isdigit() else "?", FORMAT)
    slots = [data[at : at + SLOT_BYTES] for at in (0, SLOT_BYTES)]
    whole = [record for record in map(_unpack, slots) if record is not None]
    if not whole:
        raise Fatal(
            f"{path}: no whole record of the last sealed checkpoint",
            hint="compare the log with another copy; then move this file away and start once with --adopt",
        )
    # A slot that was never written is zeros.
    return whole, any(_unpack(slot) is None and slot != bytes(SLOT_BYTES) for slot in slots)


def _newest(path: Path) -> tuple[int, bytes] | None:
    slots = _slots(path)
    return None if slots is None else max(slots[0])


def read_mark(path: Path) -> bytes | None:
    """Return the newest record in a mark's file without opening it for writing; None when there is no file."""
    return read_slots(path)[0]


def read_slots(path: Path) -> tuple[bytes | None, bool]:
    """Return what `read_mark` does, and whether one of the two slots is damaged: torn, or a byte has changed."""
    slots = _slots(path)
    return (None, False) if slots is None else (max(slots[0])[1], slots[1])


class SealedMarkFile:
    """A `SealedMark` in a file. One process at a time; the log's lock sees to that."""

    def __init__(self, path: Path) -> None:
        """Use the file at this path; it is created by the first record."""
        self._path = path
        self._worker = Worker(f"sealed-mark {path.name}")
        self._file: int | None = None
        self._sequence = 0

    async def load(self) -> bytes | None:
        """Return the newest whole record; None when there is no file. Raises `Fatal` when both slots are damaged."""
        return await self._worker.call(self._load)

    async def record(self, checkpoint: bytes) -> None:
        """Record a note of at most `MAX_NOTE_BYTES` durably. Raises `Fatal` when it cannot be."""
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
        if len(note) > MAX_NOTE_BYTES:
            raise Fatal(f"a checkpoint of {len(note)} bytes is too long to be recorded")
        try:
            if self._file is None and self._load() is None:
                self._create(note)
            else:
                self._write(note)
        except OSError as error:
            raise Fatal(f"{self._path}: {error.strerror}") from error

    def _write(self, note: bytes) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR)
        # The number moves on only after success: a record that failed is tried again in its own slot, never in the
        # slot that holds the last good one.
        slot = _pack(self._sequence + 1, note)
        if os.pwrite(self._file, slot, _offset(self._sequence + 1)) != SLOT_BYTES:
            raise OSError(errno.EIO, "a record was cut short")
        os.fdatasync(self._file)
        self._sequence += 1

    def _create(self, note: bytes) -> None:
        """Make the file with its first record in it: one without any would look like one that was damaged."""
        make_folders(self._path.parent)
        aside = self._path.with_name(f".{self._path.name}.new")
        with aside.open("wb") as file:
            file.write(bytes(2 * SLOT_BYTES))
            file.seek(_offset(1))
            file.write(_pack(1, note))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(self._path)
        sync_folder(self._path.parent)
        self._sequence = 1
