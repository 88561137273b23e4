"""The logs of a hub, read without it: wherever its file says that they lie."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exchange.config import Config
from exchange.domain.identifiers import Origin
from exchange.errors import Fatal, Reason, Rejected
from exchange.stores.reading import Reading
from exchange.stores.redis_place import RedisPlace
from exchange.stores.redis_reader import RedisLog
from exchange.stores.sqlite_reader import LogFiles
from exchange.stores.sqlite_schema import lock

#: A server may learn a moment later that a hub has gone.
_LOOKS, _LOOK_EVERY_S = 10, 0.1


@dataclass(frozen=True, slots=True)
class LogHere:
    """One log: its name, the file of its mark, and what opens it."""

    name: str
    mark: Path
    read: Callable[[], Reading]


def in_files(data: Path, marks: Path) -> list[LogHere]:
    """Return the logs in a hub's folder, the directory first. Raises `Rejected` (CONFIG) where there are none."""
    if not (data / "logs").is_dir():
        raise Rejected(Reason.CONFIG, f"{data}: there are no logs", hint="name the hub's `data` folder, not its parent")
    return _sorted(
        [LogHere(each.name, marks / each.name, partial(LogFiles, each)) for each in (data / "logs").iterdir()]
    )


def in_store(settings: Config) -> list[LogHere]:
    """Return the logs that a hub serves, the directory first."""
    if settings.place is None:
        return in_files(settings.data, settings.marks_folder)
    return _sorted([log_here(settings, name) for name in shared_names(settings)])


def log_here(settings: Config, name: str) -> LogHere:
    """Return one log of a hub, which need not be there yet."""
    folders, place = settings.folders, settings.place
    if place is None:
        return LogHere(name, folders.mark(name), partial(LogFiles, folders.log(name)))
    return LogHere(name, folders.mark(name), partial(shared_log, settings, place, name))


@contextmanager
def alone(settings: Config, name: str) -> Iterator[None]:
    """Have a log that is there to oneself. Raises `Fatal` (CONFLICT) where a hub has it open.

    Files stay locked for as long as this lasts. Nothing locks a shared store: there it is only looked.
    """
    if settings.place is not None:
        with closing(shared_log(settings, settings.place, name)) as log:
            looks = 0
            while log.listeners():
                looks += 1
                if looks == _LOOKS:
                    raise _in_use(settings, name)
                time.sleep(_LOOK_EVERY_S)
        yield
        return
    try:
        held = lock(settings.folders.log(name) / "lock")
    except Fatal as error:
        raise _in_use(settings, name) if error.reason is Reason.CONFLICT else error from error
    try:
        yield
    finally:
        os.close(held)


def _in_use(settings: Config, name: str) -> Fatal:
    return Fatal(
        f"{Origin(settings.exchange, name)}: a hub has this log open, in {where(settings)}",
        reason=Reason.CONFLICT,
        hint="stop every hub that serves it first: with SIGTERM, or by its service manager",
    )


def where(settings: Config) -> str:
    """Return how a hub's store is called in messages, and where a log says that it has moved to."""
    if settings.place is None:
        return f"files in {settings.folders.log('').resolve()}"
    return settings.store.partition("?")[0]


def shared_names(settings: Config) -> list[str]:
    """Return the logs of a shared store that a hub serves: those that it has the keys of."""
    return [key.stem for key in settings.folders.keys.glob("*.seed")]


def shared_log(settings: Config, place: RedisPlace, name: str) -> RedisLog:
    """Open a log of a shared store. Raises as `RedisLog`."""
    return RedisLog(place, settings.folders.bundle_files(name), str(Origin(settings.exchange, name)))


def _sorted(logs: list[LogHere]) -> list[LogHere]:
    return sorted(logs, key=lambda each: (each.name != Origin.DIRECTORY_LOG, each.name))
