"""The loss of power: a journal of what was written and not yet synced, and taking that back from the files.

SIGKILL alone never loses what a process has written: the system still has it. So each write notes first what it covers;
a sync of the file forgets the notes; and after the kill the notes that are left are undone, all of them, or any of
them: a disk keeps no order.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any


class Journal:
    """What has been written since the last sync, noted by the hub's process and by the next one after it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def writing(self, path: str, offset: int, length: int) -> None:
        """Note what a write is about to cover."""
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            old = os.pread(file, length, offset)
        finally:
            os.close(file)
        self._note(path=path, offset=offset, old=old.hex(), size=size)

    def synced(self, path: str) -> None:
        """Note that all of a file is on the disk."""
        self._note(path=path)

    def _note(self, **what: Any) -> None:
        self._file.write(json.dumps(what) + "\n")


def cut(journal: Path, chance: random.Random | None = None) -> int:
    """Take back what was not synced; with ``chance``, each write or not. Returns how many writes were taken back."""
    unsynced: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in journal.read_text().splitlines():
        note = json.loads(line)
        if "old" in note:
            unsynced[note["path"]].append(note)
        else:
            unsynced.pop(note["path"], None)
    lost = 0
    for path, notes in unsynced.items():
        for note in reversed(notes):
            if chance is None or chance.random() < 0.5:
                _take_back(Path(path), note, whole=chance is None)
                lost += 1
        # The index of the log is memory, and in no file that outlives a boot.
        Path(path.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
    return lost


def _take_back(path: Path, note: dict[str, Any], *, whole: bool) -> None:
    old = bytes.fromhex(note["old"])
    with path.open("r+b") as file:
        file.seek(note["offset"])
        file.write(old)
        if whole:
            file.truncate(note["size"])
