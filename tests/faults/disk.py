"""The disk under one log of a hub, call by call: a VFS for SQLite, and the few calls that the mark's file makes.

Each call has a name, "wal.sync-commit" say. Before and after it, whoever listens is told; a listener may raise (the call
then fails before or after it took effect) or kill the process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import apsw

from exchange.stores import sealed_mark
from tests.faults.file_bytes import FRAME_HEADER_BYTES, WAL_HEADER_BYTES
from tests.faults.power import Journal

_BASE = "unix"


class Listener(Protocol):
    """Hears of each call of the disk."""

    def before(self, call: str) -> None:
        """Hear of a call that is about to happen. Raising makes it fail without effect."""
        ...

    def after(self, call: str) -> None:
        """Hear of a call that has happened. Raising makes it look as if it had failed."""
        ...


class Disk:
    """Wraps the files of one log. Install before any of them is opened."""

    def __init__(self, log: str, *listeners: Listener, journal: Journal | None = None) -> None:
        self._log = log
        self._listeners = listeners
        self._journal = journal

    def write(self, name: str, path: str, length: int, offset: int, do: Callable[[], Any]) -> Any:
        """Do one write between its listeners, and in the journal."""

        def noted() -> Any:
            if self._journal is not None:
                self._journal.writing(path, offset, length)
            return do()

        return self.call(name, noted)

    def sync(self, name: str, path: str, do: Callable[[], Any]) -> None:
        """Do one sync between its listeners, and in the journal."""

        def noted() -> None:
            do()
            if self._journal is not None:
                self._journal.synced(path)

        self.call(name, noted)

    def call(self, name: str, do: Callable[[], Any]) -> Any:
        """Do one call between its listeners."""
        for listener in self._listeners:
            listener.before(name)
        result = do()
        for listener in self._listeners:
            listener.after(name)
        return result

    def file(self, path: str) -> str:
        """Return what a file is called: "db", "wal", "mark"; empty for one of no interest."""
        parent, name = Path(path).parent.name, Path(path).name
        if parent == self._log:
            return {"ledger.sqlite": "db", "ledger.sqlite-wal": "wal"}.get(name, "")
        return "mark" if (parent, name) == ("marks", self._log) else ""

    def install(self) -> None:
        """Put the VFS and the mark's calls in place."""
        self._vfs = _Vfs(self)
        vars(sealed_mark)["os"] = _MarkCalls(self)

    def uninstall(self) -> None:
        """Take them away again, once everything is closed."""
        self._vfs.unregister()
        vars(sealed_mark)["os"] = os


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("watched", _BASE, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        kind = self._disk.file(str(path)) if path else ""
        return _File(self._disk, kind, str(path), name, flags) if kind else apsw.VFSFile(_BASE, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, kind: str, path: str, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._kind = kind
        self._path = path
        #: What the last write to the log was, until it is synced.
        self._written = ""
        super().__init__(_BASE, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._disk.call(f"{self._kind}.read", lambda: super(_File, self).xRead(amount, offset)))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        name = self._write_name(data, offset)
        self._disk.write(name, self._path, len(data), offset, lambda: super(_File, self).xWrite(data, offset))

    def _write_name(self, data: bytes, offset: int) -> str:
        """Tell the writes to the log apart: its header, and frames; the last frame of a commit carries a size."""
        if self._kind != "wal":
            return f"{self._kind}.write"
        if offset == 0 and len(data) == WAL_HEADER_BYTES:
            self._written = "header"
        elif len(data) == FRAME_HEADER_BYTES:
            self._written = "commit-frame" if any(data[4:8]) else "frame"
        else:
            self._written = self._written.replace("frame", "page")
        return f"wal.write-{self._written}"

    def xSync(self, flags: int) -> None:  # noqa: N802
        name = f"{self._kind}.sync"
        if self._kind == "wal":
            of = {"header": "header", "commit-page": "commit"}.get(self._written, "checkpoint")
            name, self._written = f"{name}-{of}", ""
        self._disk.sync(name, self._path, lambda: super(_File, self).xSync(flags))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.call(f"{self._kind}.truncate", lambda: super(_File, self).xTruncate(size))


class _MarkCalls:
    """`os` for the mark's file: everything as it is, but for two calls."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, file: int, data: bytes, offset: int) -> int:
        path = self._path(file)
        if not path:
            return os.pwrite(file, data, offset)
        return int(self._disk.write("mark.write", path, len(data), offset, lambda: os.pwrite(file, data, offset)))

    def fdatasync(self, file: int) -> None:
        path = self._path(file)
        if not path:
            os.fdatasync(file)
        else:
            self._disk.sync("mark.sync", path, lambda: os.fdatasync(file))

    def _path(self, file: int) -> str:
        path = str(Path(f"/proc/self/fd/{file}").readlink())
        return path if self._disk.file(path) == "mark" else ""
