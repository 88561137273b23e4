"""C2SP tlog checkpoints and offline receipts (tlog-proof).

A checkpoint has no time in it and Ed25519 is deterministic, so signing the same head again gives the same bytes:
there is never a second checkpoint for a size unless there is a second tree.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from exchange.ledger import note
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import EMPTY_ROOT, HASH_BYTES
from exchange.ledger.note import Verifier, bad_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_PROOF_HEADER = "c2sp.org/tlog-proof@v1\n"
_MAX_PROOF_HASHES = 63
_MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of one log: ``size`` leaves with this RFC 6962 root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def _parse_size(text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise bad_note("the size is not a plain decimal")
    size = int(text)
    if size > _MAX_SIZE:
        raise bad_note("the size is above 2^63 - 1")
    return size


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint a note's text states. Extension lines are refused. Raises `VerificationFailed`."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not note.is_key_name(lines[0]):
        raise bad_note("a checkpoint has exactly three lines")
    root = note.decode_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise bad_note(f"the root must be {HASH_BYTES} bytes")
    size = _parse_size(lines[1])
    if size == 0 and root != EMPTY_ROOT:
        raise bad_note("an empty tree has another root")
    return Checkpoint(lines[0], size, root)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Return the signed note; the key's name is the origin. Deterministic.

    Raises `VerificationFailed` for a checkpoint that `parse_checkpoint` would refuse: what no one reads, no one signs.
    """
    text = checkpoint.text()
    parse_checkpoint(text)
    return note.sign(text, checkpoint.origin, key)


def open_checkpoint(signed: bytes, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint in a note signed by the log's key. Raises `VerificationFailed`.

    The origin must be the key's name: a checkpoint of another log is refused even where keys are shared.
    """
    checkpoint = parse_checkpoint(note.open_note(signed, verifier))
    if checkpoint.origin != verifier.name:
        raise bad_note("the checkpoint is of another log")
    return checkpoint


def log_verifier(origin: str, public_key: bytes) -> Verifier:
    """Return the verifier of a log with an Ed25519 key."""
    return Verifier(origin, note.ED25519, public_key)


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An offline receipt: a leaf's index and path, and the checkpoint it leads to."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    #: Unauthenticated.
    extra: bytes = b""


def format_tlog_proof(index: int, proof: Sequence[bytes], checkpoint: bytes, extra: bytes = b"") -> bytes:
    """Return the ``.tlog-proof`` file for a leaf (C2SP tlog-proof v1)."""
    parts = [_PROOF_HEADER]
    if extra:
        parts.append(f"extra {base64.b64encode(extra).decode()}\n")
    parts.append(f"index {index}\n")
    parts.extend(f"{base64.b64encode(hash_).decode()}\n" for hash_ in proof)
    return "".join(parts).encode() + b"\n" + checkpoint


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Return what a ``.tlog-proof`` file states, unverified. Raises `VerificationFailed`."""
    try:
        head, empty, checkpoint = data.partition(b"\n\n")
        text = head.decode("ascii") + "\n"
    except UnicodeDecodeError as error:
        raise bad_note("not a tlog-proof") from error
    if not text.startswith(_PROOF_HEADER) or not empty:
        raise bad_note("not a tlog-proof")
    lines = text.removeprefix(_PROOF_HEADER).removesuffix("\n").split("\n")
    extra = note.decode_base64(lines.pop(0).removeprefix("extra ")) if lines[0].startswith("extra ") else None
    if extra == b"":
        raise bad_note("the tlog-proof has an empty extra line")
    if not lines or not lines[0].startswith("index "):
        raise bad_note("the tlog-proof has no index")
    index = _parse_size(lines[0].removeprefix("index "))
    proof = tuple(note.decode_base64(line) for line in lines[1:])
    if len(proof) > _MAX_PROOF_HASHES or any(len(hash_) != HASH_BYTES for hash_ in proof):
        raise bad_note("the tlog-proof holds something not a hash")
    return TlogProof(index, proof, checkpoint, extra or b"")
