"""What a statement says, as values, and the ids that bind its parts.

A statement is a signed header and up to a thousand records beside it. The header is permanent; the records are
erasable. The only tie between them is the list of *signal ids* in the header: hashes over a tag, the community, the
publisher and the exact record bytes, which begin with a random salt. So a header reveals nothing about a record that
is gone, and a record cannot be moved to another community or publisher.

The bytes are authoritative. These values are what the bytes say; nothing is ever re-encoded from them on the way
through. Turning bytes into values is `exchange.codec`'s work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from exchange.domain.bodies import Body

#: DSSE payload type of a header.
HEADER_TYPE = "application/vnd.signal-exchange.header.v1"
LEAF_FORMAT = 1

SALT_BYTES = 16
NONCE_BYTES = 16
ID_BYTES = 32
#: Every record begins with its salt: field 1, sixteen bytes.
RECORD_PREFIX = b"\x0a\x10"

_SIGNAL_TAG = b"signal-exchange/v1/signal\0"
_AUDIENCE_TAG = b"signal-exchange/v1/audience\0"


@dataclass(frozen=True, slots=True)
class Header:
    """The permanent part of a statement. ``body`` is None for kinds this release does not read."""

    origin: str
    kind: int
    publisher: str
    created_at_ms: int
    nonce: bytes
    signal_ids: tuple[bytes, ...]
    body: Body | None


class VideoFrameView(Protocol):
    """One frame of a vpdq fingerprint: its time in milliseconds, quality 0..100, PDQ hash of 32 bytes."""

    @property
    def frame_ms(self) -> int:
        """Milliseconds from the start."""
        ...

    @property
    def quality(self) -> int:
        """0 to 100."""
        ...

    @property
    def pdq(self) -> bytes:
        """32 bytes."""
        ...


class IndicatorView(Protocol):
    """A typed, normalised, hashed identifier, as validation and matching read it."""

    @property
    def type(self) -> int:
        """Number of an `IndicatorType`."""
        ...

    @property
    def profile(self) -> int:
        """Version of the normal form."""
        ...

    @property
    def value(self) -> bytes:
        """Raw bytes; empty for a type made of frames."""
        ...

    @property
    def frames(self) -> Sequence[VideoFrameView]:
        """Only for a type made of frames."""
        ...


class RecordView(Protocol):
    """The erasable part of a signal, as validation and matching read it.

    The SDK's `Record` and the wire's own parsed form both satisfy it, so a thousand records are checked without a copy.
    """

    @property
    def salt(self) -> bytes:
        """16 random bytes."""
        ...

    @property
    def indicators(self) -> Sequence[IndicatorView]:
        """One to eight of them."""
        ...

    @property
    def case_ref(self) -> str:
        """The publisher's own reference."""
        ...

    @property
    def quality(self) -> int:
        """0 to 100."""
        ...


@dataclass(frozen=True, slots=True)
class Signature:
    """One Ed25519 signature (64 bytes); ``key_id`` = SHA-256 of the public key, a hint."""

    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it is sent: exact bytes."""

    payload: bytes
    signatures: tuple[Signature, ...]
    records: tuple[bytes, ...] = ()
    audience_record: bytes = b""
    resubmission: bool = False
    payload_type: str = HEADER_TYPE


@dataclass(frozen=True, slots=True)
class Leaf:
    """A sequenced statement without its records: what the tree hashes, as values."""

    index: int
    received_at_ms: int
    late: bool
    directory_size: int
    payload: bytes
    signatures: tuple[Signature, ...]
    payload_type: str = HEADER_TYPE
    format: int = LEAF_FORMAT


def statement_id(payload: bytes) -> bytes:
    """Return the idempotency key of a statement: SHA-256 of its serialised header."""
    return sha256(payload).digest()


def _bound(tag: bytes, origin: str, member: str) -> bytes:
    o, m = origin.encode(), member.encode()
    return b"".join((tag, len(o).to_bytes(2, "big"), o, len(m).to_bytes(2, "big"), m))


def signal_ids(origin: str, member: str, records: Iterable[bytes]) -> list[bytes]:
    """Return the signal id of each record: SHA-256(tag, community, publisher, record bytes), 32 bytes each.

    Hiding because the record starts with a random salt, binding because SHA-256 is; the same record bytes have
    another id in another community or from another publisher.
    """
    prefix = _bound(_SIGNAL_TAG, origin, member)
    return [sha256(prefix + record).digest() for record in records]


def audience_id(origin: str, member: str, audience_record: bytes) -> bytes:
    """Return the commitment to an audience record, 32 bytes."""
    return sha256(_bound(_AUDIENCE_TAG, origin, member) + audience_record).digest()
