"""What a hub's own machine can tell: TLS files, keys, the machine, every log, and the hub itself if it runs."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
from cryptography.x509.oid import ExtendedKeyUsageOID

from exchange.cli.doctor.files import look_at_files
from exchange.cli.doctor.finding import BAD, GOOD, WARN, Finding, guarded
from exchange.cli.doctor.machine import look_at_machine
from exchange.cli.logs_here import shared_log, shared_names
from exchange.config import Config, split_address
from exchange.domain.identifiers import Origin
from exchange.errors import Fatal
from exchange.ledger.checkpoint import log_verifier, open_checkpoint
from exchange.ops.clocks import wall_ms
from exchange.ops.tls_files import TLSFiles
from exchange.stores.folders import read_key
from exchange.stores.opened import stores_in
from exchange.stores.proposals_file import read_proposals
from exchange.stores.reading import Reading
from exchange.stores.redis_reader import RedisLog
from exchange.stores.sealed_mark import read_mark
from exchange.stores.sqlite_reader import LogFiles, LogState
from exchange.stores.withheld import refusal

_SKEW_MS = 2_000
_ASK_S = 3.0
_MOST_READ = 64 * 1024
_RESTORE = "stop the hub, keep the file, and restore a copy"
_LARGE_WAL = 256 * 2**20
#: A file up to this size is read whole to check it; larger ones take minutes.
CHECKED_BYTES = 2**30


def look_at_hub(settings: Config) -> Iterator[Finding]:
    """Look at everything; nothing is changed, and the hub may be running."""
    yield Finding("SQLite", GOOD, f"{apsw.sqlite_lib_version()} (bundled)")
    tls = settings.tls
    yield from look_at_files(
        "hub", TLSFiles(tls.certificate, tls.key, tls.client_authority), ExtendedKeyUsageOID.SERVER_AUTH
    )
    found = _names(settings)
    yield from look_at_machine(settings, found)
    for name in found:
        yield from _log(settings, Origin(settings.exchange, name))
    yield guarded("proposals", lambda: _proposals(settings), hint="let the hub's user read this file")
    if settings.ops.listen:
        yield guarded("running hub", lambda: ask(settings.ops.listen))


def _proposals(settings: Config) -> Finding:
    held = read_proposals(settings.folders.proposals)
    return Finding("proposals", GOOD, f"{len(held)} wait for operators' signatures" if held else "none waits")


def _names(settings: Config) -> list[str]:
    """Return the logs that lie here; of a shared store, those that the hub has the keys of."""
    if settings.place is not None:
        return sorted(shared_names(settings))
    logs = settings.folders.data / "logs"
    return sorted(folder.name for folder in logs.iterdir()) if logs.is_dir() else []


def _log(settings: Config, origin: Origin) -> Iterator[Finding]:
    what, folders, place = str(origin), settings.folders, settings.place
    store = f"{what}: store"
    if place is None:
        yield guarded(what, lambda: _place(settings, origin, LogFiles(folders.log(origin.log))), hint=_RESTORE)
        yield guarded(store, lambda: _store(store, folders.log(origin.log)), hint=_RESTORE)
        return
    read = partial(shared_log, settings, place, origin.log)
    yield guarded(what, lambda: _place(settings, origin, read()))
    yield guarded(store, lambda: _servers(store, read()))


def _servers(what: str, log: RedisLog) -> Finding:
    with closing(log) as files:
        servers, trouble = files.servers()
    if trouble:
        return Finding(
            what, BAD, f"{servers}; publishing waits: {trouble}", "bring the replica back, or see docs/redis.md"
        )
    return Finding(what, GOOD, servers)


def _place(settings: Config, origin: Origin, log: Reading) -> Finding:
    """Where a log stands, by its store and by this machine's mark."""
    what, folders = str(origin), settings.folders
    with closing(log) as files:
        key = read_key(folders.key(origin.log))
        state = files.state()
    withheld = asyncio.run(stores_in(folders, settings.place).withheld(origin))
    if withheld:
        why = refusal(what, withheld)
        return Finding(what, BAD, why.message, why.hint)
    note = read_mark(folders.mark(origin.log))
    if note is None:
        return Finding(what, WARN, "this machine has no record of its last checkpoint", "serve it with --adopt once")
    seen = open_checkpoint(note, log_verifier(what, key.public_key))
    if seen.size > state.durable_size:
        return Finding(
            what,
            BAD,
            f"the store ends at {state.durable_size}, but {seen.size} was released: an old copy",
            "`exchange recover` brings the missing entries back; where nobody has them, docs/backup.md says what to do",
        )
    ahead = state.last_received_at_ms - wall_ms()
    if ahead > _SKEW_MS:
        return Finding(what, BAD, f"its newest entry lies {ahead} ms in the clock's future", "set the clock right")
    return Finding(what, GOOD, f"{_sizes(state)}, mark at {seen.size}")


def _sizes(state: LogState) -> str:
    unsealed = state.durable_size - state.sealed_size
    tail = f", the last {unsealed} not sealed in the file (the next group or start does it)" if unsealed else ""
    return f"{state.durable_size} entries, floor {state.floor}{tail}"


def _store(what: str, folder: Path) -> Finding:
    with closing(LogFiles(folder)) as files:
        size, wal = files.sizes()
        detail = f"{size / 2**20:.1f} MiB, write-ahead log {wal / 2**20:.1f} MiB"
        if size > CHECKED_BYTES:
            return Finding(
                what, GOOD, f"{detail}; too large to be read whole here", "`exchange verify` reads everything"
            )
        try:
            trouble = files.damage()
        except Fatal as error:
            trouble = error.message
    if trouble:
        return Finding(what, BAD, f"{detail}; damaged: {trouble}", _RESTORE)
    if wal > _LARGE_WAL:
        return Finding(
            what, WARN, f"{detail}; sound", "something keeps the write-ahead log from being cut: a reader that hangs?"
        )
    return Finding(what, GOOD, f"{detail}; sound")


def ask(address: str) -> Finding:
    """Ask the hub itself whether it is ready, where it runs: directly, whatever proxy the environment names."""
    what = "running hub"
    host, port = split_address(address)
    with closing(http.client.HTTPConnection(host, port, timeout=_ASK_S)) as connection:
        try:
            connection.connect()
        except OSError:
            hint = "it is not running, or its ops port is elsewhere"
            return Finding(what, WARN, f"nobody answers at {address}", hint)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            body = answer.read(_MOST_READ)
        except (OSError, http.client.HTTPException) as error:
            detail = f"what listens at {address} does not answer as a hub does ({str(error).strip() or 'hung up'})"
            return Finding(what, BAD, detail, "another program has the port of `ops.listen`, or the hub hangs")
    if answer.status == http.HTTPStatus.OK:
        return Finding(what, GOOD, "ready")
    return Finding(what, BAD, f"not ready: {_reasons(body)}")


def _reasons(body: bytes) -> str:
    try:
        answer = json.loads(body)
        waiting = answer.get("waiting", {})
        return "; ".join(f"{name}: {why}" for name, why in waiting.items()) or str(answer.get("status", ""))
    except (ValueError, AttributeError):
        return "it does not say why"
