"""``exchange backup``: a copy of a hub's logs, made while it runs, whose records can be destroyed day by day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from exchange import codec, config
from exchange.cli.logs_here import LogHere, in_store
from exchange.cli.output import config_option, emit, json_option, with_progress
from exchange.config import Config
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin
from exchange.errors import Reason, Rejected
from exchange.ledger.checkpoint import log_verifier
from exchange.ops.clocks import wall_ms
from exchange.stores.backup.layout import FORMAT, LogBackup, Manifest, read_manifest, write_manifest
from exchange.stores.backup.record_keys import RecordKeys, day_of
from exchange.stores.backup.writing import Task, back_up, sweep
from exchange.stores.folders import read_key
from exchange.stores.sealed_mark import read_mark
from exchange.stores.sqlite_reader import RawEntry


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--record-keys",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the keys of records, one for each log and day. Keep it apart from FOLDER and its copies.",
)
@config_option
@json_option
def backup(folder: Path, record_keys: Path, config_path: Path, *, as_json: bool) -> None:
    """Add what is new in every log of a hub to the backup in FOLDER. The hub may be running.

    Leaves are kept as they are, in the form of a static log. Records are encrypted, under one key for each day that
    they end with; each run destroys the keys of days that are over, and with them those records in every copy of the
    backup. So run it at least once a day. Keys of logs, certificates and hub.toml are no part of it: keep them apart.

    \b
    Examples:
      exchange backup /backups/hub --record-keys /keys/hub --config hub/hub.toml
      exchange restore /backups/hub --record-keys /keys/hub --config new/hub.toml
    """
    settings = config.load(config_path)
    check_apart(folder, record_keys)
    before = read_manifest(folder)
    if before is not None and before.exchange != settings.exchange:
        raise Rejected(Reason.CONFIG, f"{folder}: is the backup of {before.exchange}, not of {settings.exchange}")
    made = _Run(settings, folder, RecordKeys(record_keys), before, quiet=as_json)
    logs = [made.add(here) for here in in_store(settings)]
    gone = [each for each in (before.logs if before is not None else ()) if each.log not in {log.log for log in logs}]
    write_manifest(folder, Manifest(FORMAT, settings.exchange, wall_ms(), (*logs, *gone)))
    destroyed = made.destroy(logs)
    write_manifest(folder, Manifest(FORMAT, settings.exchange, wall_ms(), (*made.swept, *gone)))
    emit(
        {"logs": {each.origin: each.size for each in logs}, "keys_destroyed": destroyed},
        as_json=as_json,
        lines=[
            f" {sum(each.size for each in logs)} entries of {len(logs)} logs in {folder}",
            *([f"        {destroyed} keys of days that are over are destroyed"] if destroyed else []),
        ],
        mark=("backed up", "green"),
    )


def check_apart(folder: Path, record_keys: Path) -> None:
    """Raise `Rejected` where the keys of records would lie in the backup that they are to be kept apart from."""
    if record_keys.resolve().is_relative_to(folder.resolve()):
        raise Rejected(
            Reason.CONFIG,
            f"{record_keys}: lies inside the backup",
            hint="whoever copies the backup would copy its keys, and destroying them would reach no copy",
        )


class _Run:
    """One run over all logs."""

    def __init__(
        self, settings: Config, folder: Path, keys: RecordKeys, before: Manifest | None, *, quiet: bool
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._keys = keys
        self._before = before
        self._quiet = quiet
        self._directory = Directory()
        self._today = day_of(wall_ms())
        self.swept: list[LogBackup] = []

    def add(self, here: LogHere) -> LogBackup:
        """Add one log; the directory must come first, for it says how long others keep their entries."""
        origin, mark = str(Origin(self._settings.exchange, here.name)), read_mark(here.mark)
        with closing(here.read()) as log:
            community = self._directory.communities.get(origin)
            task = Task(
                here.name,
                log_verifier(origin, read_key(self._settings.folders.key(here.name)).public_key),
                mark,
                self._folder / "logs" / here.name,
                None if self._before is None else self._before.log(here.name),
                self._keys,
                0 if community is None else community.retention_days,
                self._today,
            )
            watch = partial(with_progress, label=origin, quiet=self._quiet)
            if here.name != Origin.DIRECTORY_LOG:
                return back_up(task, log, watch)
            return back_up(task, log, lambda entries, size: self._followed(watch(entries, size)))

    def _followed(self, entries: Iterator[RawEntry]) -> Iterator[RawEntry]:
        """Yield the directory's entries, and take what they say."""
        for entry in entries:
            said = codec.decode_sequenced(entry.leaf or codec.frame_leaf(entry.frame))
            self._directory.apply(said.header, said.received_at_ms)
            yield entry

    def destroy(self, logs: list[LogBackup]) -> int:
        """Destroy the keys of days that are over, and what they encrypted; return how many keys."""
        count = self._keys.destroy_over(self._today)
        self.swept = [sweep(self._folder / "logs" / each.log, each, self._today) for each in logs]
        return count
