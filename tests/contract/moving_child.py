"""`exchange migrate` in a process that kills itself at one of the changes that it makes to a disk or a server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from exchange.cli import main
from exchange.stores import moving, refilling
from exchange.stores.opened import Embedded, Shared
from exchange.stores.redis import RedisStore
from exchange.stores.sealed_mark import SealedMarkFile
from exchange.stores.sqlite import SqliteStore

#: The process dies when one of them is done, so before the next one.
CHANGES = (
    *((store, name) for store in (SqliteStore, RedisStore) for name in ("append", "seal", "erase", "archive")),
    *((stores, name) for stores in (Embedded, Shared) for name in ("make", "withhold")),
    (SealedMarkFile, "record"),
)


def migrated(source: Path, target: Path, kill_at: int) -> int:
    """Move logs in a process of its own that dies at the ``kill_at``-th change; return how it ended."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.contract.moving_child"])
    process = context.Process(target=run, args=(source, target, kill_at))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def run(source: Path, target: Path, kill_at: int) -> None:
    """Be that process."""
    left = kill_at

    def reach() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in CHANGES:
        setattr(owner, name, _watched(getattr(owner, name), reach))
    refilling._GROUP_ENTRIES = moving._PAGE_ENTRIES = 200
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of this process's life
    main(["migrate", "--config", str(source), "--to", str(target)])


def _watched(change: Callable[..., Any], reach: Callable[[], None]) -> Callable[..., Any]:
    @wraps(change)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        done = await change(*arguments, **named)
        reach()
        return done

    return wrapped
