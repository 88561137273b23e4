"""``exchange verify``: the whole ledger of a hub, from its files alone, trusting nothing but the genesis pin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from exchange import codec
from exchange.cli.output import REFUSED, emit, json_option
from exchange.codec import Delivered
from exchange.domain.directory import Directory
from exchange.domain.identifiers import Origin
from exchange.errors import ExchangeError, Reason, VerificationFailed
from exchange.ledger.checkpoint import log_verifier, open_checkpoint
from exchange.ledger.merkle import HASH_BYTES, leaf_hash
from exchange.ledger.note import Verifier
from exchange.stores.sqlite_reader import LogFiles, LogState, RawEntry
from exchange_client import ClientConfig, FeedVerifier
from exchange_client.directory import DirectoryChecker

_NOT_FOR_YOU = 2
_STEP = 500


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--genesis", help="Leaf hash of the directory's entry 0, which members pin.")
@click.option(
    "--genesis-of",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A client's file to take the pin from.",
)
@json_option
def verify(data: Path, genesis: str | None, genesis_of: Path | None, *, as_json: bool) -> None:
    """Check every log in a hub's DATA folder: offline, from entry 0 to the last checkpoint.

    Checks each leaf's place and format, each member's signature by keys that were in force, each record against its
    signal id, and the recomputed root against the signed checkpoint. Needs no hub; one may be running.

    \b
    Examples:
      exchange verify hub/data --genesis 3f1c...
      exchange verify hub/data --genesis-of alpha/pipeline/client.toml
    """
    pin = _pin(genesis, genesis_of)
    failed = False
    folders = sorted((data / "logs").iterdir(), key=lambda folder: (folder.name != Origin.DIRECTORY_LOG, folder.name))
    directory = Directory()
    for folder in folders:
        files = LogFiles(folder)
        state = files.state()
        try:
            if folder.name == Origin.DIRECTORY_LOG:
                checker = DirectoryChecker(state.origin, pin)
                _check_directory(checker, files, state)
                directory = checker.directory
            else:
                _check_community(directory, files, state, quiet=as_json)
        except ExchangeError as error:
            failed = True
            emit(
                {"origin": state.origin, "ok": False, "problem": error.message},
                as_json=as_json,
                line=f"{click.style('FAILED', fg='red')}  {state.origin}: {error.message}",
            )
        else:
            emit(
                {"origin": state.origin, "ok": True, "size": state.durable_size, "root": state.durable_root.hex()},
                as_json=as_json,
                line=f"{click.style('holds', fg='green')}   {state.origin}: {state.durable_size} entries, "
                f"root {state.durable_root.hex()[:16]}…",
            )
        finally:
            files.close()
    if failed:
        sys.exit(REFUSED)


def _pin(genesis: str | None, genesis_of: Path | None) -> bytes:
    if genesis_of is not None:
        return ClientConfig.load(genesis_of).genesis
    if genesis is None:
        raise click.UsageError("say what to trust: --genesis, or --genesis-of a client's file")
    try:
        pin = bytes.fromhex(genesis)
    except ValueError:
        pin = b""
    if len(pin) != HASH_BYTES:
        raise click.UsageError("--genesis must be 64 hexadecimal characters")
    return pin


def _delivered(entry: RawEntry) -> Delivered:
    if entry.leaf:
        return Delivered(entry.leaf, _NOT_FOR_YOU, (), b"")
    return codec.decode_frame(entry.frame)


def _check_directory(checker: DirectoryChecker, files: LogFiles, state: LogState) -> None:
    for entry in files.entries(state.durable_size):
        checker.take(_delivered(entry))
    genesis = checker.directory.genesis
    if genesis is None:
        raise VerificationFailed(Reason.BAD_PROOF, "there is no genesis")
    _check_head(log_verifier(state.origin, genesis.log_public_key), state, checker.range.size, checker.range.root())


def _check_community(directory: Directory, files: LogFiles, state: LogState, *, quiet: bool) -> None:
    community = directory.communities.get(state.origin)
    if community is None:
        raise VerificationFailed(Reason.BAD_PROOF, "the directory does not know this log")
    key = log_verifier(state.origin, community.log_public_key)
    verifier = FeedVerifier.from_start(state.origin, key)
    seen: set[bytes] = set()
    received_at_ms = directory_size = 0
    for entry in _with_progress(files.entries(state.durable_size), state, quiet=quiet):
        verified = verifier.entry(directory, _delivered(entry))
        if verified is None:
            continue
        leaf = verified.leaf
        id_ = leaf_hash(leaf.payload)
        if id_ in seen:
            raise VerificationFailed(Reason.BAD_PROOF, f"entry {leaf.index} repeats an earlier statement")
        seen.add(id_)
        if leaf.received_at_ms < received_at_ms or leaf.directory_size < directory_size:
            raise VerificationFailed(Reason.BAD_PROOF, f"entry {leaf.index} goes back in time")
        received_at_ms, directory_size = leaf.received_at_ms, leaf.directory_size
    position = verifier.position.range
    _check_head(key, state, position.size, position.root())


def _with_progress(entries: Iterator[RawEntry], state: LogState, *, quiet: bool) -> Iterator[RawEntry]:
    """Yield the entries, with a progress bar where somebody watches."""
    if quiet or not sys.stderr.isatty():
        yield from entries
        return
    with click.progressbar(
        length=state.durable_size, label=state.origin, file=sys.stderr, update_min_steps=_STEP
    ) as bar:
        for entry in entries:
            yield entry
            bar.update(1)


def _check_head(key: Verifier, state: LogState, size: int, root: bytes) -> None:
    if size != state.durable_size or root != state.durable_root:
        raise VerificationFailed(Reason.BAD_PROOF, "the recomputed root is not the one on record")
    if not state.checkpoint:
        if state.sealed_size:
            raise VerificationFailed(Reason.BAD_CHECKPOINT, "the sealed size has no checkpoint")
        return
    checkpoint = open_checkpoint(state.checkpoint, key)
    if checkpoint.size > size or (checkpoint.size == size and checkpoint.root != root):
        raise VerificationFailed(Reason.BAD_CHECKPOINT, "the signed checkpoint is not of this tree")
