"""A state that was made of a log's leaves, kept as bytes: so that whoever starts need not read the log from leaf 0.

Three parts, each ending its line: a signature, a head, and the state's rows. The head names what the state is of (a
fold, its format, the release that wrote it, the log) and the size and root of the tree that it was made of; it carries
the hash of the rows. The signature is over the head, by a key that its reader has already: the log's own in the hub,
the member's in the SDK. A snapshot is never the only copy of anything. One that is not as it should be is ignored,
and the state is made from leaf 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from exchange.errors import Reason, Rejected
from exchange.ledger import ed25519

#: Nothing else that these keys sign begins like this: a checkpoint holds no NUL, and a statement begins with DSSEv1.
_TAG = b"signal-exchange/v1/fold-snapshot\0"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot says of itself, and its rows as lines of JSON."""

    fold: str
    format: int
    release: str
    origin: str
    size: int
    root: bytes
    rows: bytes

    def _head(self) -> bytes:
        state = sha256(self.rows).hexdigest()
        named = [self.fold, self.format, self.release, self.origin, self.size, self.root.hex(), state]
        return _encode(named).encode()

    def sealed(self, key: ed25519.SigningKey) -> bytes:
        """Return the snapshot as it is kept, signed."""
        head = self._head()
        return b"\n".join((key.sign(_TAG + head).hex().encode(), head, self.rows))

    @classmethod
    def opened(cls, data: bytes, public_key: bytes) -> Snapshot:
        """Return the snapshot in these bytes. Raises `Rejected` when they are not as this key's owner wrote them."""
        try:
            signature, head, rows = data.split(b"\n", 2)
            signed = bytes.fromhex(signature.decode())
            ed25519.verify(public_key, signed, _TAG + head)
            fold, format_, release, origin, size, root, _ = json.loads(head)
            opened = cls(fold, format_, release, origin, size, bytes.fromhex(root), rows)
        except (ValueError, TypeError) as error:
            raise Rejected(Reason.MALFORMED, "a snapshot is not in the form that this release knows") from error
        if (signed.hex().encode(), opened._head()) != (signature, head):
            raise Rejected(Reason.MALFORMED, "a snapshot is not, byte for byte, what was signed")
        return opened

    @property
    def about(self) -> tuple[str, int, str, str]:
        """What it is of: fold, format, release, log."""
        return self.fold, self.format, self.release, self.origin

    def lines(self) -> Iterator[list[Any]]:
        """Yield the rows. Raises `Rejected` (MALFORMED) at one that is none."""
        try:
            yield from map(json.loads, self.rows.split(b"\n"))
        except (ValueError, RecursionError) as error:
            raise Rejected(Reason.MALFORMED, "a snapshot's row is not JSON") from error


def row_line(row: list[Any]) -> str:
    """Return a row as it stands in a snapshot."""
    return _encode(row)


def joined(lines: Iterable[str]) -> bytes:
    """Return lines as the rows of a snapshot."""
    return "\n".join(lines).encode()
