"""A fold's state at one size of its log, as bytes: so that a start need not read the log from leaf 0.

Three parts, each ending its line: a signature, a head, and the fold's rows. The head names the fold, its format, the
release that wrote it, the log, and the size and root of the tree that the state was made of; it carries the hash of
the rows. The signature is the log's own key's over the head, so a snapshot says no more and no less than a checkpoint
does: whoever could forge one could forge the log. A snapshot is never the only copy of anything. One that is missing,
stale, of another release or not as it should be is ignored, and the fold is made from leaf 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from exchange import __version__
from exchange.domain.directory_rows import Row
from exchange.errors import Reason, Rejected
from exchange.ledger import ed25519
from exchange.ports import TreeHead
from exchange.views.replay import F, Pace, Recipe

#: No checkpoint and no statement can be these bytes: neither holds a NUL.
_TAG = b"signal-exchange/v1/fold-snapshot\0"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot says of itself, and its rows as lines of JSON."""

    fold: str
    format: int
    release: str
    origin: str
    head: TreeHead
    rows: bytes

    def _head(self) -> bytes:
        state = sha256(self.rows).hexdigest()
        named = [self.fold, self.format, self.release, self.origin, self.head.size, self.head.root.hex(), state]
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
            opened = cls(fold, format_, release, origin, TreeHead(size, bytes.fromhex(root)), rows)
        except (ValueError, TypeError) as error:
            raise Rejected(Reason.MALFORMED, "a snapshot is not in the form that this release knows") from error
        if (signed.hex().encode(), opened._head()) != (signature, head):
            raise Rejected(Reason.MALFORMED, "a snapshot is not, byte for byte, what was signed")
        return opened

    def is_of(self, recipe: Recipe[Any], origin: str) -> bool:
        """Whether this is that fold of that log, written by this very release."""
        mine = (recipe.name, recipe.format, __version__, origin)
        return (self.fold, self.format, self.release, self.origin) == mine

    def lines(self) -> Iterator[Row]:
        """Yield the rows. Raises `Rejected` (MALFORMED) at one that is none."""
        try:
            yield from map(json.loads, self.rows.split(b"\n"))
        except (ValueError, RecursionError) as error:
            raise Rejected(Reason.MALFORMED, "a snapshot's row is not JSON") from error


async def take(recipe: Recipe[F], origin: str, fold: F, head: TreeHead, pace: Pace) -> Snapshot:
    """Return the snapshot of a fold that stays as it is meanwhile."""
    lines: list[str] = []
    for row in recipe.rows(fold):
        lines.append(_encode(row))
        await pace.breathe()
    rows = "\n".join(lines).encode()
    return Snapshot(recipe.name, recipe.format, __version__, origin, head, rows)


async def restore(recipe: Recipe[F], snapshot: Snapshot, pace: Pace | None = None) -> F:
    """Return the fold in a snapshot. Raises `Rejected` when its rows do not make one."""
    making = recipe.restore()
    for row in snapshot.lines():
        making.put(row)
        if pace is not None:
            await pace.breathe()
    fold = making.done()
    if fold.size != snapshot.head.size:
        raise Rejected(Reason.MALFORMED, "a snapshot's fold has another size than its tree")
    return fold
