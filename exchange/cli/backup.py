"""``exchange backup``: a copy of a hub's logs, made while it runs, whose records can be destroyed day by day."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path

import click

from exchange import codec, config
from exchange.cli.logs_here import LogHere, in_store
from exchange.cli.output import config_option, emit, json_option, say, tell, with_progress
from exchange.config import Config
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin
from exchange.errors import ExchangeError, Fatal, Reason, Rejected
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
    they end with; each run begins by destroying the keys of days that are over, and with them those records in every
    copy of the backup. So run it at least once a day. Keys of logs, certificates and hub.toml are no part of it: keep
    them apart.

    A log that cannot be read stops no other: of it the backup keeps what it had, and the run does not end with 0. Only
    without the directory nothing is added, for it says how long the others keep their entries.

    \b
    Examples:
      exchange backup /backups/hub --record-keys /keys/hub --config hub/hub.toml
      exchange restore /backups/hub --record-keys /keys/hub --config new/hub.toml
    """
    settings = config.load(config_path)
    check_apart(folder, record_keys)
    keys, today = RecordKeys(record_keys), day_of(wall_ms())
    # Before anything that may fail: what is over is over, whatever becomes of this run.
    destroyed = keys.destroy_over(today)
    before = read_manifest(folder)
    if before is not None and before.exchange != settings.exchange:
        raise Rejected(Reason.CONFIG, f"{folder}: is the backup of {before.exchange}, not of {settings.exchange}")
    made = _Run(settings, folder, keys, before, today, quiet=as_json)
    made.add_all()
    made.write()
    emit(
        {
            "logs": {each.origin: each.size for each in made.added},
            "keys_destroyed": destroyed,
            "failed": {origin: error.message for origin, error in made.failed.items()},
        },
        as_json=as_json,
        lines=[
            f" {sum(each.size for each in made.added)} entries of {len(made.added)} logs in {folder}",
            *([f"        {destroyed} keys of days that are over are destroyed"] if destroyed else []),
        ],
        mark=("backed up", "green") if made.added else ("nothing is backed up:", "red"),
    )
    if made.failed:
        sys.exit(made.tell_failed())


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
        self, settings: Config, folder: Path, keys: RecordKeys, before: Manifest | None, today: date, *, quiet: bool
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._keys = keys
        self._before = before
        self._today = today
        self._quiet = quiet
        self._directory = Directory()
        self.added: list[LogBackup] = []
        #: Logs that could not be added, by origin, and why.
        self.failed: dict[str, ExchangeError] = {}

    def add_all(self) -> None:
        """Add every log that can be; the directory must come first, for it says how long others keep their entries."""
        for here in in_store(self._settings):
            origin = str(Origin(self._settings.exchange, here.name))
            try:
                self.added.append(self._add(here, origin))
            except (ExchangeError, OSError) as error:
                self.failed[origin] = error if isinstance(error, ExchangeError) else Fatal(str(error))
                if here.name == Origin.DIRECTORY_LOG:
                    return

    def _add(self, here: LogHere, origin: str) -> LogBackup:
        mark = read_mark(here.mark)
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

    def write(self) -> None:
        """Make the backup what it holds now, and remove what it no longer needs; where nothing is added it stays.

        What is not added, for it failed or is no log of the hub any more, is in it as it was.
        """
        if not self.added:
            return
        names = {each.log for each in self.added}
        before = () if self._before is None else self._before.logs
        held = (*self.added, *(each for each in before if each.log not in names))
        self._say(held)
        self._say(tuple(sweep(self._folder / "logs" / each.log, each, self._today) for each in held))

    def _say(self, logs: tuple[LogBackup, ...]) -> None:
        write_manifest(self._folder, Manifest(FORMAT, self._settings.exchange, wall_ms(), logs))

    def tell_failed(self) -> int:
        """Print of each log that failed why; return the exit code that the worst asks for."""
        codes = []
        for origin, error in self.failed.items():
            say(f" {origin}", mark=("not backed up", "red"), err=True)
            codes.append(tell(error))
        return max(codes)
