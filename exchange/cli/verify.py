"""``exchange verify``: the whole ledger of a hub, from its files alone, trusting nothing but the genesis pin."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from exchange import codec
from exchange.cli.audit import Audit
from exchange.cli.logs_here import LogHere, in_files, in_store
from exchange.cli.output import REFUSED, emit, json_option, with_progress
from exchange.codec import Delivered
from exchange.config import load
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin
from exchange.domain.statement import statement_id
from exchange.errors import ExchangeError, Reason, VerificationFailed
from exchange.ledger.checkpoint import log_verifier
from exchange.stores.sealed_mark import read_slots
from exchange.stores.sqlite_reader import RawEntry
from exchange_client import ClientConfig, FeedVerifier
from exchange_client.directory import DirectoryChecker
from exchange_client.json_words import bytes32

_NOT_FOR_YOU = 2


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False, exists=True), required=False)
@click.option("--genesis", help="Leaf hash of the directory's entry 0, which members pin.")
@click.option(
    "--genesis-of",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A client's file to take the pin from.",
)
@click.option(
    "--marks",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the machine's marks, where it is not `marks` inside DATA.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="In place of DATA: the hub's file, which names the store that its logs lie in, and everything else.",
)
@json_option
def verify(
    data: Path | None,
    genesis: str | None,
    genesis_of: Path | None,
    marks: Path | None,
    config_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Check every log in a hub's DATA folder, or in its store: offline, from entry 0 to the last checkpoint.

    Checks each leaf's place and format, each member's signature by keys that were in force, each record against its
    signal id, and the recomputed root against the signed checkpoint; then that everything else in the files follows
    from the leaves, and that nothing is missing that this machine has released. Needs no hub; one may be running.

    \b
    Examples:
      exchange verify hub/data --genesis 3f1c...
      exchange verify hub/data --genesis-of alpha/pipeline/client.toml
      exchange verify --config hub/hub.toml --genesis-of alpha/pipeline/client.toml
    """
    pin = _pin(genesis, genesis_of)
    if (data is None) == (config_path is None):
        raise click.UsageError("say what to check: the hub's DATA folder, or --config with the hub's file")
    found = in_files(data, marks or data / "marks") if data is not None else in_store(load(config_path or Path()))
    failed = False
    directory = Directory()
    for here in found:
        origin = here.name
        try:
            with closing(_Log(here)) as log:
                origin = log.state.origin
                if here.name == Origin.DIRECTORY_LOG:
                    directory = _check_directory(log, pin)
                else:
                    _check_community(directory, log, quiet=as_json)
        except ExchangeError as error:
            failed = True
            emit(
                {"origin": origin, "ok": False, "problem": error.message},
                as_json=as_json,
                lines=[f"  {origin}: {error.message}"],
                mark=("FAILED", "red"),
            )
        else:
            _say_holds(log, as_json=as_json)
    if failed:
        sys.exit(REFUSED)


class _Log:
    """A log, its mark, and what they say: the mark first, for a hub may be running."""

    def __init__(self, here: LogHere) -> None:
        self.mark, self.torn = read_slots(here.mark)
        self.files = here.read()
        try:
            self.state = self.files.state()
        except BaseException:
            self.files.close()
            raise

    def close(self) -> None:
        """Close the files."""
        self.files.close()


def _say_holds(log: _Log, *, as_json: bool) -> None:
    state = log.state
    torn = "one of the mark's two slots is damaged: cut short, or a byte has changed; the next record mends it"
    emit(
        {"origin": state.origin, "ok": True, "size": state.durable_size, "root": state.durable_root.hex()}
        | ({"note": torn} if log.torn else {}),
        as_json=as_json,
        lines=[f"   {state.origin}: {state.durable_size} entries, root {state.durable_root.hex()[:16]}…"]
        + ([f"        note: {torn}"] if log.torn else []),
        mark=("holds", "green"),
    )


def _pin(genesis: str | None, genesis_of: Path | None) -> bytes:
    if genesis_of is not None:
        return ClientConfig.load(genesis_of).genesis
    if genesis is None:
        raise click.UsageError("say what to trust: --genesis, or --genesis-of a client's file")
    pin = bytes32(genesis)
    if not pin:
        raise click.UsageError("--genesis must be 64 hexadecimal characters")
    return pin


def _delivered(entry: RawEntry) -> Delivered:
    if entry.leaf:
        return Delivered(entry.leaf, _NOT_FOR_YOU, (), b"")
    return codec.decode_frame(entry.frame)


def _check_directory(log: _Log, pin: bytes) -> Directory:
    files, state = log.files, log.state
    checker = DirectoryChecker(state.origin, pin)
    for entry in files.entries(state.durable_size):
        checker.take(_delivered(entry))
    genesis = checker.directory.genesis
    if genesis is None:
        raise VerificationFailed(Reason.BAD_PROOF, "there is no genesis")
    # The key that the mark is held against comes from the entries: they are read a second time.
    audit = Audit(files, state, log_verifier(state.origin, genesis.log_public_key), log.mark)
    for entry in files.entries(state.durable_size):
        audit.take(entry)
    audit.finish()
    return checker.directory


def _check_community(directory: Directory, log: _Log, *, quiet: bool) -> None:
    files, state = log.files, log.state
    community = directory.communities.get(state.origin)
    if community is None:
        raise VerificationFailed(Reason.BAD_PROOF, "the directory does not know this log")
    key = log_verifier(state.origin, community.log_public_key)
    verifier = FeedVerifier.from_start(state.origin, key)
    audit = Audit(files, state, key, log.mark)
    seen: set[bytes] = set()
    for entry in with_progress(files.entries(state.durable_size), state.durable_size, state.origin, quiet=quiet):
        audit.take(entry)
        verified = verifier.entry(directory, _delivered(entry))
        if verified is None:
            continue
        id_ = statement_id(verified.leaf.payload)
        if id_ in seen:
            raise VerificationFailed(Reason.BAD_PROOF, f"entry {verified.leaf.index} repeats an earlier statement")
        seen.add(id_)
    audit.finish()
