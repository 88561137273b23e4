"""What is known to have been released of a log, and writing it down for a hub that is yet to serve it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from exchange.ledger.checkpoint import Checkpoint, log_verifier, open_checkpoint, sign_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.stores.sealed_mark import SealedMarkFile, read_mark


def opened(note: bytes, origin: str, key: SigningKey) -> Checkpoint:
    """Return the checkpoint in a note that a log's own key has signed. Raises `VerificationFailed`."""
    return open_checkpoint(note, log_verifier(origin, key.public_key))


def released(notes: Iterable[bytes], marks: Iterable[Path], origin: str, key: SigningKey) -> list[Checkpoint]:
    """Return what notes and machines' marks say was released of a log; notes of other logs are passed over."""
    ours = [note for note in notes if note.partition(b"\n")[0] == origin.encode()]
    return [opened(note, origin, key) for note in (*ours, *filter(None, map(read_mark, marks)))]


async def remember(path: Path, highest: Checkpoint, key: SigningKey) -> None:
    """Write down what was released: last of all, for without it no hub serves the log."""
    mark = SealedMarkFile(path)
    try:
        await mark.record(sign_checkpoint(highest, key))
    finally:
        await mark.aclose()
