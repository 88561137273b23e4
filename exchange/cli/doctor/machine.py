"""The machine under a hub: its disk and how long an fsync takes, memory, open files, cores, and its clock."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from exchange.cli.doctor.finding import BAD, GOOD, WARN, Finding, guarded
from exchange.cli.doctor.limits import Limits, limits
from exchange.config import Config
from exchange.opening import LEAST_BYTES, LIFE
from exchange.stores.facts import FOLD_CACHES
from exchange.stores.folders import Folders
from exchange.stores.sqlite import FILE_NAME, LOG_CACHES

_LOW_DISK = 0.1
_FSYNCS = 50
_FSYNC_BYTES = 4_096
_SLOW_FSYNC_MS = 20.0
#: What a hub has open besides its members' connections: by itself, and of each log.
_OWN_FILES = 128
_LOG_FILES = 16
_FEW_CONNECTIONS = 3_000
_OWN_BYTES = 256 * 2**20
#: What a log has for itself: its least of newest entries, twice; its newest signals by id; threads and connections.
_LOG_BYTES = 2 * LEAST_BYTES + 2 * 2**20 + 2**20
_TIME_ERROR = 5
_MEMINFO = Path("/proc/meminfo")


def look_at_machine(settings: Config, logs: Sequence[str]) -> Iterator[Finding]:
    """Look at what a hub with these logs needs."""
    marks = settings.marks or settings.data / "marks"
    for what, folder in (("data", settings.data), ("marks", marks)):
        yield guarded(f"disk of {what}", lambda what=what, folder=folder: _disk(what, folder))  # type: ignore[misc]
        yield guarded(f"fsync of {what}", lambda what=what, folder=folder: _fsync(what, folder))  # type: ignore[misc]
    found = limits(settings.folders.log(name) / "lock" for name in logs)
    yield open_files(found, settings.quotas.streams, len(logs))
    yield _memory(settings, len(logs))
    yield _cores()
    yield _clock()
    yield core_dumps(found)


def _disk(what: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    free = usage.free / usage.total
    detail = f"{usage.free / 2**30:.1f} GiB free ({free:.0%})"
    hint = "a full disk stops publishing; nothing is lost, and feeds go on" if free < _LOW_DISK else ""
    return Finding(f"disk of {what}", WARN if free < _LOW_DISK else GOOD, detail, hint)


def _fsync(what: str, folder: Path) -> Finding:
    """Time appends with fdatasync, as the store and the mark make them."""
    took: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(_FSYNCS):
            file.write(os.urandom(_FSYNC_BYTES))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    took.sort()
    middle, worst = took[len(took) // 2], took[-1]
    detail = f"{_FSYNCS} of {_FSYNC_BYTES} bytes: median {middle:.2f} ms, worst {worst:.1f} ms"
    if middle > _SLOW_FSYNC_MS:
        return Finding(
            f"fsync of {what}", WARN, detail, "every receipt waits for the disk: this shows as publish latency"
        )
    return Finding(f"fsync of {what}", GOOD, detail)


def open_files(found: Limits, streams: int, logs: int) -> Finding:
    """Hold how many files may be open against so many logs, and so many streams of one member."""
    room = found.files - _OWN_FILES - _LOG_FILES * logs
    detail = (
        f"{found.files} may be open at once {found.where}: besides {logs} logs about {max(room, 0)} connections "
        "(a member has one for each workload)"
    )
    if room < streams:
        hint = f"raise the limit (ulimit -n, LimitNOFILE=): {found.most_files} is allowed here"
        return Finding("open files", BAD, detail, hint)
    if room < _FEW_CONNECTIONS:
        hint = f"raise it with many members: up to {found.most_files} is allowed here"
        return Finding("open files", WARN, detail, hint)
    return Finding("open files", GOOD, detail)


def _memory(settings: Config, logs: int) -> Finding:
    pages = _most_pages(settings.folders)
    needed = _OWN_BYTES + settings.feed.ring_bytes + settings.feed.recent_bytes + _LOG_BYTES * logs + pages
    may_take = f"may take {needed / 2**20:.0f} MiB, {pages / 2**20:.0f} of it SQLite's pages as files are now"
    try:
        fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return Finding("memory", GOOD, f"this system does not tell; the process {may_take}")
    detail = f"{free / 2**20:.0f} MiB available; the process with {logs} logs {may_take}"
    if free < needed:
        hint = "give it more, lower `feed.ring_bytes` and `feed.recent_bytes`, or deal out communities to several hubs"
        return Finding("memory", WARN, detail, hint)
    return Finding("memory", GOOD, detail)


def _most_pages(folders: Folders) -> int:
    """Return what SQLite may hold of the files of all logs here: a connection no more than its cache, or its file."""
    files: list[tuple[Path, tuple[int, ...]]] = []
    for folder in folders.data.glob("logs/*"):
        files.append((folder / FILE_NAME, LOG_CACHES))
        files.append((folders.fold(folder.name, LIFE), FOLD_CACHES))
    return sum(min(cache, _bytes(path)) for path, caches in files for cache in caches)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a directory has no fold, and a log on a server no file
        return 0


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    hint = "the hub's loop uses one, its disks' threads and the kernel want another" if count == 1 else ""
    return Finding("cores", WARN if count == 1 else GOOD, f"{count}", hint)


def _clock() -> Finding:
    """Ask the kernel whether somebody keeps its clock: it forgets after a while without corrections."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1_024))
    except (OSError, AttributeError):
        state = -1
    if state == _TIME_ERROR:
        return Finding(
            "clock",
            WARN,
            "the kernel says that nobody keeps it",
            "run an NTP client: a clock that jumps stops publishing",
        )
    if state < 0:
        return Finding("clock", GOOD, "this system does not tell whether it is kept; see that it is (NTP)")
    return Finding("clock", GOOD, "kept in time, says the kernel")


def core_dumps(found: Limits) -> Finding:
    """Tell whether a process that crashes leaves its memory on a disk."""
    if found.core:
        detail = f"are written {found.where}: they would hold signals in clear"
        return Finding("core dumps", WARN, detail, "ulimit -c 0, LimitCORE=0")
    return Finding("core dumps", GOOD, f"none {found.where}")
