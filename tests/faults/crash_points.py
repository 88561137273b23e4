"""Where a hub can be killed in the middle of a commit: named points, and what the next opening must find.

Everything here wraps the hub's own parts in the child process of a test; the product knows no crash points.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apsw

from exchange.ports import Group, TreeHead
from exchange.publish.sequencer import Sequencer
from exchange.stores.redis import RedisStore
from exchange.stores.sealed_mark import SealedMarkFile
from exchange.stores.sqlite import SqliteStore
from exchange.stores.sqlite_commits import Commits


@dataclass(frozen=True, slots=True)
class Found:
    """What the next opening must find of the group under way."""

    durable: bool
    marked: bool


NOTHING = Found(durable=False, marked=False)
DURABLE = Found(durable=True, marked=False)
MARKED = Found(durable=True, marked=True)

#: In the order of effects.
POINTS: dict[str, Found] = {
    "before-append": NOTHING,
    "after-begin": NOTHING,
    "after-inserts": NOTHING,
    "before-commit": NOTHING,
    # The commit's frames are in the file, not yet on the disk: the process is gone, the system's memory of them not.
    "before-wal-sync": DURABLE,
    "after-wal-sync": DURABLE,
    "after-commit": DURABLE,
    "after-append": DURABLE,
    "before-mark": DURABLE,
    "after-mark-write": MARKED,
    "after-mark-sync": MARKED,
    "after-mark": MARKED,
    "after-seal": MARKED,
    "after-answer": MARKED,
}
#: Those that an opening passes while it seals what a crash left.
RECOVERY_POINTS = ("before-mark", "after-mark-write", "after-mark-sync", "after-mark", "after-seal")

_STATEMENTS = {
    "SELECT durable_size": "after-begin",
    "UPDATE log SET durable_size": "after-inserts",
    "COMMIT": "before-commit",
}


@dataclass(frozen=True, slots=True)
class Obituary:
    """What was under way when the hub died."""

    point: str
    #: Size before the group, and with it; both 0 when the hub died while opening the log.
    before: int
    after: int

    @classmethod
    def read(cls, path: Path) -> Obituary:
        """Return what a hub left."""
        return cls(**json.loads(path.read_text()))


class Reaper:
    """Kills this process at the ``nth`` time that a point of one log's commit is reached."""

    def __init__(self, point: str, nth: int, log: str, obituary: Path) -> None:
        self._point = point
        self._left = nth
        self._log = log
        self._obituary = obituary
        self._group = (0, 0)

    def reach(self, point: str) -> None:
        """Die here, if it is time."""
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            self._obituary.write_text(json.dumps(asdict(Obituary(point, *self._group))))
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wrap the stores, the mark and the sequencer of this process."""
        for store in (SqliteStore, RedisStore):
            self._around(store, "append", before="before-append", after="after-append", start=self._note_group)
            self._around(store, "seal", after="after-seal")
        self._around(SealedMarkFile, "record", before="before-mark", after="after-mark")
        self._around(Commits, "append", after="after-commit")
        self._around(Sequencer, "_answer", after="after-answer")
        apsw.connection_hooks.append(self._trace)

    def _note_group(self, expected: TreeHead, group: Group) -> None:
        self._group = (expected.size, group.head.size)

    def _ours(self, owner: Any) -> bool:
        if isinstance(owner, Sequencer | RedisStore):
            origin = owner.origin if isinstance(owner, Sequencer) else owner._keys.origin
            return origin.endswith(f"/{self._log}")
        path: Path = owner._path
        return self._log in {path.name, path.parent.name}

    def _around(
        self,
        owner: type,
        name: str,
        *,
        before: str = "",
        after: str = "",
        start: Callable[..., None] = lambda *arguments: None,
    ) -> None:
        inner = getattr(owner, name)

        def plain(this: Any, *arguments: Any) -> Any:
            result = inner(this, *arguments)
            if self._ours(this):
                self.reach(after)
            return result

        async def waited(this: Any, *arguments: Any) -> Any:
            if not self._ours(this):
                return await inner(this, *arguments)
            start(*arguments)
            self.reach(before)
            result = await inner(this, *arguments)
            self.reach(after)
            return result

        setattr(owner, name, waited if issubclass(owner, SqliteStore | RedisStore | SealedMarkFile) else plain)

    def _trace(self, connection: apsw.Connection) -> None:
        if Path(connection.filename).parent.name != self._log:
            return

        def statement(cursor: Any, sql: str, bindings: Any) -> bool:
            for start, point in _STATEMENTS.items():
                if sql.startswith(start):
                    self.reach(point)
            return True

        connection.exec_trace = statement
