"""C2SP signed notes: a text, an empty line, and signature lines.

Strict on what must be exact (base64, key names, line shapes, caps) and deaf to what is not ours: signatures of
unknown keys are ignored, so witnesses can be added without breaking anyone. The kinds of signature are one table.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from exchange.errors import Reason, VerificationFailed
from exchange.ledger import ed25519

ED25519 = 0x01
KEY_HASH_BYTES = 4
#: Room for more than 16 post-quantum signatures of nearly 5 kB each, as C2SP asks.
MAX_NOTE_BYTES = 131_072
MAX_SIGNATURES = 64

_MARK = "\u2014 "
_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")

#: Signature types that this release can verify: type byte -> verify(public key, signature, message).
ALGORITHMS: dict[int, Callable[[bytes, bytes, bytes], None]] = {ED25519: ed25519.verify}


def bad_note(what: str) -> VerificationFailed:
    """Return the error for a note or checkpoint that does not hold."""
    return VerificationFailed(Reason.BAD_CHECKPOINT, what)


def decode_base64(text: str) -> bytes:
    """Return the bytes of canonical standard base64. Raises `VerificationFailed`."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_note("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise bad_note("base64 is not canonical")
    return data


def is_key_name(name: str) -> bool:
    """Whether a text may name a key: not empty, no Unicode space, control character, lone surrogate or plus sign."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that notes can be checked against."""

    name: str
    algorithm: int
    public_key: bytes

    @property
    def key_hash(self) -> bytes:
        """First 4 bytes of SHA-256(name || LF || type || public key)."""
        material = b"".join((self.name.encode(), b"\n", bytes([self.algorithm]), self.public_key))
        return sha256(material).digest()[:KEY_HASH_BYTES]

    def vkey(self) -> str:
        """Return the verifier key text, ``name+hash+base64``, as Go's sumdb/note reads it."""
        key = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.key_hash.hex()}+{key}"

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Return the verifier a vkey describes. Raises `VerificationFailed`."""
        parts = vkey.split("+", 2)
        if len(parts) != 3 or not is_key_name(parts[0]):
            raise bad_note("not a verifier key")
        data = decode_base64(parts[2])
        if len(data) < 2:
            raise bad_note("not a verifier key")
        verifier = cls(parts[0], data[0], data[1:])
        if verifier.key_hash.hex() != parts[1]:
            raise bad_note("the verifier key's hash does not fit it")
        if verifier.algorithm == ED25519:
            ed25519.check_public_key(verifier.public_key)
        return verifier


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line."""

    name: str
    key_hash: bytes
    signature: bytes

    def line(self) -> str:
        """Return the line, newline included."""
        return f"{_MARK}{self.name} {base64.b64encode(self.key_hash + self.signature).decode()}\n"


def sign(text: str, name: str, key: ed25519.SigningKey) -> bytes:
    """Return the note for a text (which ends in a newline), signed with an Ed25519 key of this name."""
    verifier = Verifier(name, ED25519, key.public_key)
    signature = NoteSignature(name, verifier.key_hash, key.sign(text.encode()))
    return f"{text}\n{signature.line()}".encode()


def parse(note: bytes) -> tuple[str, tuple[NoteSignature, ...]]:
    """Return text and signatures of a note, unverified. Raises `VerificationFailed` for anything malformed."""
    if len(note) > MAX_NOTE_BYTES:
        raise bad_note("the note is too long")
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_note("the note is not UTF-8") from error
    if _CONTROL.search(whole):
        raise bad_note("the note holds control characters")
    split = whole.rfind("\n\n")
    if split < 0 or not whole.endswith("\n"):
        raise bad_note("the note has no signatures")
    text, lines = whole[: split + 1], whole[split + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise bad_note("the note has too many signatures")
    return text, tuple(_parse_line(line) for line in lines)


def _parse_line(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not space or not is_key_name(name):
        raise bad_note("malformed signature line")
    data = decode_base64(encoded)
    if len(data) <= KEY_HASH_BYTES:
        raise bad_note("malformed signature line")
    return NoteSignature(name, data[:KEY_HASH_BYTES], data[KEY_HASH_BYTES:])


def open_note(note: bytes, verifier: Verifier) -> str:
    """Return the text of a note signed by this verifier's key. Raises `VerificationFailed`.

    Every signature line of that key (same name, same hash) must verify, and there must be one. Others are ignored.
    """
    text, signatures = parse(note)
    check = ALGORITHMS.get(verifier.algorithm)
    if check is None:
        raise bad_note(f"signature type {verifier.algorithm:#04x} is not known to this release")
    message = text.encode()
    ours = [s for s in signatures if s.name == verifier.name and s.key_hash == verifier.key_hash]
    if not ours:
        raise bad_note(f"no signature by {verifier.name}")
    for signature in ours:
        check(verifier.public_key, signature.signature, message)
    return text


def add_signature(note: bytes, signature: NoteSignature) -> bytes:
    """Return the note with one more signature line, such as a witness's cosignature.

    Raises `VerificationFailed` unless both the note and the result are well formed and within the caps.
    """
    parse(note)
    longer = note + signature.line().encode()
    parse(longer)
    return longer
