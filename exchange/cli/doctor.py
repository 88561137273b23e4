"""``exchange doctor``: looks at everything that commonly goes wrong, and says what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw
import click

from exchange import config
from exchange.app import wall_ms
from exchange.cli.connect import with_client
from exchange.cli.output import REFUSED, emit, json_option
from exchange.domain.identifiers import Origin
from exchange.errors import ExchangeError
from exchange.ledger.checkpoint import log_verifier, open_checkpoint
from exchange.ops.certificates import read_certificate
from exchange.stores.folders import Folders, read_key
from exchange.stores.sealed_mark import read_mark
from exchange.stores.sqlite_reader import LogFiles
from exchange_client import ClientConfig, ExchangeClient

_LOW_DISK = 0.1
_SLOW_FSYNC_MS = 20.0
_SOON_DAYS = 7
_SKEW_MS = 2_000
_GOOD, _WARN, _BAD = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: str
    detail: str
    hint: str = ""


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path, dir_okay=False), help="Look at a hub's machine."
)
@click.option("--client", "client_path", type=click.Path(path_type=Path, dir_okay=False), help="Look from a client.")
@json_option
def doctor(config_path: Path | None, client_path: Path | None, *, as_json: bool) -> None:
    """Check a hub's machine, a client's way to the hub, or both. Changes nothing.

    \b
    Examples:
      exchange doctor --config hub/hub.toml
      exchange doctor --client alpha/pipeline/client.toml
    """
    if config_path is None and client_path is None:
        raise click.UsageError("say what to look at: --config, --client, or both")
    findings: list[Finding] = []
    if config_path is not None:
        findings += _hub(config_path)
    if client_path is not None:
        findings += _client(client_path)
    for finding in findings:
        _print(finding, as_json=as_json)
    if any(finding.state == _BAD for finding in findings):
        sys.exit(REFUSED)


def _print(finding: Finding, *, as_json: bool) -> None:
    colour = {_GOOD: "green", _WARN: "yellow", _BAD: "red"}[finding.state]
    line = f"{click.style(finding.state, fg=colour):<18} {finding.what}: {finding.detail}"
    if finding.hint:
        line += f"\n          {finding.hint}"
    data = {"what": finding.what, "state": finding.state, "detail": finding.detail, "hint": finding.hint}
    emit(data, as_json=as_json, line=line)


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except ExchangeError as error:
        return Finding(what, _BAD, error.message, error.hint)
    except (OSError, ValueError) as error:
        return Finding(what, _BAD, str(error))


def _hub(path: Path) -> Iterator[Finding]:
    try:
        settings = config.load(path)
    except ExchangeError as error:
        yield Finding("configuration", _BAD, error.message, error.hint)
        return
    yield Finding("configuration", _GOOD, str(path))
    yield _sqlite()
    yield _guarded("hub certificate", lambda: _certificate("hub certificate", settings.tls.certificate))
    yield _guarded("client authority", lambda: _certificate("client authority", settings.tls.client_authority))
    yield _guarded("disk", lambda: _disk(settings.data))
    yield _guarded("fsync", lambda: _fsync(settings.data))
    folders = settings.folders
    logs = folders.data / "logs"
    for folder in sorted(logs.iterdir()) if logs.is_dir() else []:
        origin = Origin(settings.exchange, folder.name)
        yield _guarded(str(origin), lambda origin=origin: _log(folders, origin))  # type: ignore[misc]


def _sqlite() -> Finding:
    return Finding("SQLite", _GOOD, f"{apsw.sqlite_lib_version()} (bundled)")


def _certificate(what: str, path: Path) -> Finding:
    summary = read_certificate(path)
    left = (summary.not_after - datetime.now(UTC)).days
    detail = f"{', '.join(summary.hosts) or summary.uri or summary.subject}, {left} days left"
    if left < 0:
        return Finding(what, _BAD, detail, "it has expired: issue a new one; the hub takes it up by itself")
    return Finding(what, _WARN if left < _SOON_DAYS else _GOOD, detail)


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    free = usage.free / usage.total
    detail = f"{usage.free / 2**30:.1f} GiB free ({free:.0%})"
    return Finding("disk", _WARN if free < _LOW_DISK else _GOOD, detail)


def _fsync(folder: Path) -> Finding:
    worst = 0.0
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(20):
            file.write(b"x" * 512)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            worst = max(worst, time.perf_counter() - started)
    slow = worst * 1000 > _SLOW_FSYNC_MS
    hint = "every receipt waits for the disk; a slow one shows as publish latency" if slow else ""
    return Finding("fsync", _WARN if slow else _GOOD, f"worst of 20: {worst * 1000:.1f} ms", hint)


def _log(folders: Folders, origin: Origin) -> Finding:
    what = str(origin)
    key = read_key(folders.key(origin.log))
    state = LogFiles(folders.log(origin.log)).state()
    verifier = log_verifier(what, key.public_key)
    note = read_mark(folders.mark(origin.log))
    if note is None:
        return Finding(what, _WARN, "this machine has no record of its last checkpoint", "serve it with --adopt once")
    seen = open_checkpoint(note, verifier)
    if seen.size > state.durable_size:
        return Finding(
            what,
            _BAD,
            f"the store ends at {state.durable_size}, but {seen.size} was released: an old copy",
            "bring the missing entries back before serving",
        )
    ahead = state.last_received_at_ms - wall_ms()
    if ahead > _SKEW_MS:
        return Finding(what, _BAD, f"its newest entry lies {ahead} ms in the clock's future", "set the clock right")
    return Finding(what, _GOOD, f"{state.durable_size} entries, floor {state.floor}, mark at {seen.size}")


def _client(path: Path) -> Iterator[Finding]:
    try:
        settings = ClientConfig.load(path)
    except ExchangeError as error:
        yield Finding("client file", _BAD, error.message, error.hint)
        return
    yield Finding("client file", _GOOD, str(path))
    yield _guarded("client certificate", lambda: _certificate("client certificate", settings.certificate))
    yield _guarded("hub", lambda: _hello(path))
    yield _guarded("directory", lambda: _directory(path))


def _hello(path: Path) -> Finding:
    async def job(client: ExchangeClient, _: ClientConfig) -> Finding:
        before = wall_ms()
        me = await client.who_am_i()
        after = wall_ms()
        skew = me.hub_time_ms - (before + after) // 2
        detail = f"reached as {me.member}/{me.role} in {after - before} ms, clock differs by {skew} ms"
        if me.suspended:
            return Finding("hub", _BAD, f"{detail}; this member is suspended")
        return Finding("hub", _WARN if abs(skew) > _SKEW_MS else _GOOD, detail)

    return with_client(path, job)


def _directory(path: Path) -> Finding:
    async def job(client: ExchangeClient, _: ClientConfig) -> Finding:
        directory = await client.directory()
        return Finding("directory", _GOOD, f"verified from the pinned genesis, {directory.size} entries")

    return with_client(path, job)
