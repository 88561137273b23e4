"""Adding one log's newest entries to its backup, while a hub may be running.

All leaves are read again, from entry 0, and must make the signed checkpoint: a log that is damaged, rolled back or
another is never backed up over a good copy. What is written is what came since the last run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from exchange import codec
from exchange.errors import Fatal, Reason, VerificationFailed
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.tiles import TILE_WIDTH, encode_bundle
from exchange.ops.durable import replace, write_once
from exchange.stores.backup.frames import kept_frames
from exchange.stores.backup.layout import CHECKPOINT, LogBackup, Part, bundle_file
from exchange.stores.backup.record_keys import RecordKeys, encrypt
from exchange.stores.reading import Reading
from exchange.stores.sqlite_reader import LogState, RawEntry

#: Records that are held in memory until they are written.
_PART_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Task:
    """What to add to a backup."""

    log: str
    #: Who signs the log's checkpoints.
    verifier: Verifier
    #: What this machine released last, read before the log is: a log's file may learn of its last seal a group later.
    mark: bytes | None
    #: The log's folder in the backup, and what lies there.
    folder: Path
    before: LogBackup | None
    keys: RecordKeys
    retention_days: int
    #: Of keys: what ended before this day is not kept.
    today: date


class _Writing:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._start = 0 if task.before is None else task.before.size
        self._leaves: list[bytes] = []
        self._range = CompactRange()
        self._first = self._start
        self._bytes = 0
        self._frames: dict[str, list[bytes]] = {}
        self._bundles: list[Path] = []
        self.parts: list[Part] = []

    def take(self, entry: RawEntry) -> None:
        """Take the next entry."""
        leaf = entry.leaf or codec.frame_leaf(entry.frame)
        self._leaves.append(leaf)
        self._range = self._range.extend((leaf_hash(leaf),))
        if self._range.size == self._start:
            self._require_continued()
        if entry.frame and entry.index >= self._start:
            for day, frame in kept_frames(entry.frame, self._task.retention_days):
                if day > self._task.today:
                    self._frames.setdefault(day.isoformat(), []).append(frame)
                    self._bytes += len(frame)
            if self._bytes > _PART_BYTES:
                self._write_part()
        if len(self._leaves) == TILE_WIDTH:
            self._write_bundle()

    def _require_continued(self) -> None:
        before = self._task.before
        if before is None:
            return
        old = open_checkpoint(before.checkpoint.encode(), self._task.verifier)
        if (old.size, old.root) != (self._range.size, self._range.root()):
            raise VerificationFailed(
                Reason.BAD_PROOF, f"{before.origin}: the backup holds another tree than the log's first {old.size}"
            )

    def _write_bundle(self) -> None:
        index = (self._range.size - 1) // TILE_WIDTH
        path = bundle_file(self._task.folder, index, len(self._leaves))
        if self._range.size > self._start:
            try:
                if write_once(path, encode_bundle(self._leaves)):
                    self._bundles.append(path)
            except FileExistsError as error:
                raise Fatal(f"{path}: holds other entries", hint="this folder is the backup of another log") from error
        self._leaves = []

    def _write_part(self) -> None:
        task, end = self._task, self._range.size
        part = Part(self._first, end, tuple(sorted(self._frames)))
        for day in part.days:
            about = about_part(task.verifier.name, part, day)
            data = encrypt(task.keys.of(task.log, day), b"".join(self._frames[day]), about)
            replace(task.folder / part.folder / day, data)
        if part.days:
            self.parts.append(part)
        self._first, self._bytes, self._frames = end, 0, {}

    def finish(self, size: int, root: bytes) -> None:
        """Write what is left. Raises `VerificationFailed` when the entries are not those of the tree."""
        if (self._range.size, self._range.root()) != (size, root):
            raise VerificationFailed(
                Reason.BAD_PROOF, f"{self._task.verifier.name}: its entries do not make its signed checkpoint"
            )
        if self._leaves:
            self._write_bundle()
        self._write_part()

    def undo(self) -> None:
        """Remove the bundles that were written: those of a damaged log would stand in the way of the good one's."""
        for path in self._bundles:
            path.unlink()


def about_part(origin: str, part: Part, day: str) -> bytes:
    """Return what encrypted records are bound to."""
    return f"{origin}\n{part.first}-{part.end}\n{day}\n".encode()


def back_up(
    task: Task, log: Reading, watch: Callable[[Iterator[RawEntry], int], Iterator[RawEntry]] = lambda each, _: each
) -> LogBackup:
    """Add a log's newest entries; return what the backup then holds of it, for its manifest.

    ``watch`` passes the entries on, of which there are so many. Raises `VerificationFailed` and `Fatal`.
    """
    state = log.state()
    note = _newest(task, state)
    checkpoint = open_checkpoint(note, task.verifier)
    held = 0 if task.before is None else task.before.size
    if checkpoint.size < held or checkpoint.size > state.durable_size:
        raise Fatal(
            f"{state.origin}: ends at {state.durable_size}, and more than that was released",
            reason=Reason.ROLLED_BACK,
            hint="this log is an old copy: `exchange recover` brings back what is missing",
        )
    writing = _Writing(task)
    try:
        for entry in watch(log.entries(checkpoint.size), checkpoint.size):
            writing.take(entry)
        writing.finish(checkpoint.size, checkpoint.root)
    except BaseException:
        writing.undo()
        raise
    replace(task.folder / CHECKPOINT, note)
    kept = () if task.before is None else task.before.parts
    return LogBackup(task.log, state.origin, checkpoint.size, state.floor, note.decode(), (*kept, *writing.parts))


def _newest(task: Task, state: LogState) -> bytes:
    """Return the newest note of the log. Raises `Fatal` where there is none."""
    notes = [note for note in (state.checkpoint, task.mark) if note]
    if not notes:
        raise Fatal(f"{state.origin}: has no checkpoint yet", hint="start the hub once: it seals what a crash left")
    return max(notes, key=lambda note: open_checkpoint(note, task.verifier).size)


def sweep(folder: Path, held: LogBackup, today: date) -> LogBackup:
    """Remove from a log's folder what its backup no longer needs; return what it then holds.

    That are files of days that are over, of runs that were cut off, and of bundles that have grown since.
    """
    parts = tuple(
        msgspec.structs.replace(part, days=days)
        for part in held.parts
        if (days := tuple(day for day in part.days if day > today.isoformat()))
    )
    wanted = {folder / part.folder / day for part in parts for day in part.days}
    for path in list(folder.glob("records/*/*")):
        if path not in wanted:
            path.unlink()
    for path in list(folder.glob("records/*")):
        if not any(path.iterdir()):
            path.rmdir()
    width = held.size % TILE_WIDTH
    last = bundle_file(folder, held.size // TILE_WIDTH, width) if width else None
    for path in list(folder.glob("tile/entries/**/*.p/*")):
        if path != last:
            path.unlink()
    return msgspec.structs.replace(held, parts=parts)
