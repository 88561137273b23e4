"""The logs of a hub, read without it: wherever its file says that they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exchange.config import Config
from exchange.domain.identifiers import Origin
from exchange.errors import Reason, Rejected
from exchange.stores.reading import Reading
from exchange.stores.redis_place import RedisPlace
from exchange.stores.redis_reader import RedisLog
from exchange.stores.sqlite_reader import LogFiles


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
    folders, place = settings.folders, settings.place
    if place is None:
        return in_files(settings.data, settings.marks_folder)
    reads = {name: partial(shared_log, settings, place, name) for name in shared_names(settings)}
    return _sorted([LogHere(name, folders.mark(name), read) for name, read in reads.items()])


def shared_names(settings: Config) -> list[str]:
    """Return the logs of a shared store that a hub serves: those that it has the keys of."""
    return [key.stem for key in settings.folders.keys.glob("*.seed")]


def shared_log(settings: Config, place: RedisPlace, name: str) -> RedisLog:
    """Open a log of a shared store. Raises as `RedisLog`."""
    return RedisLog(place, settings.folders.bundle_files(name), str(Origin(settings.exchange, name)))


def _sorted(logs: list[LogHere]) -> list[LogHere]:
    return sorted(logs, key=lambda each: (each.name != Origin.DIRECTORY_LOG, each.name))
