"""The directory as it was last verified, kept so that a start reads what is new and not everything.

What is kept is signed with the member's own key, and bound to the pin, the release, and the size and root of what was
read; the next checkpoint is held against the range that it ends with. Whoever can write the state folder but does not
hold the member's key cannot put a key into the directory that way; whoever holds it can sign in the member's name
anyway. What is not as it should be is ignored, and the directory is read from the pin.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import apsw

from exchange import __version__
from exchange.domain.directory import Directory
from exchange.domain.directory_rows import FORMAT, DirectoryRestore, directory_rows
from exchange.errors import Reason, Rejected
from exchange.ledger.merkle import CompactRange
from exchange.ledger.snapshot import Snapshot, joined, row_line
from exchange.ops.transactions import first_row
from exchange_client.signing import SigningKeys
from exchange_client.state import StateFile


@dataclass(frozen=True, slots=True)
class Remembered:
    """A directory, the tree of what it was read from, and when the last of that was received."""

    directory: Directory
    range: CompactRange
    received_at_ms: int


class RememberedDirectory:
    """What one client keeps of one directory."""

    def __init__(self, state: StateFile, keys: SigningKeys, origin: str, pin: bytes) -> None:
        """Keep it in this file, signed with the key in use; a start may still be about to take up the next one."""
        self._state = state
        self._keys = keys
        self._origin = origin
        self._about = (f"directory from {pin.hex()}", FORMAT, __version__, origin)

    async def load(self) -> Remembered | None:
        """Return what was kept; None when there is nothing that can be used."""

        def job(connection: apsw.Connection) -> bytes | None:
            row = first_row(connection, "SELECT snapshot FROM folds WHERE origin = ?", (self._origin,))
            return None if row is None or not isinstance(row[0], bytes) else row[0]

        data = await self._state.run(job)
        if data is not None:
            for key in self._keys.held:
                with suppress(Rejected):
                    return self._opened(Snapshot.opened(data, key.public_key))
        return None

    def _opened(self, snapshot: Snapshot) -> Remembered:
        rows = snapshot.lines()
        making = DirectoryRestore()
        try:
            received_at_ms, *hashes = next(rows)
            range_ = CompactRange.of(snapshot.size, map(bytes.fromhex, hashes))
        except (ValueError, TypeError) as error:
            raise Rejected(Reason.MALFORMED, "the first row does not say where it ends") from error
        for row in rows:
            making.put(row)
        directory = making.done()
        sizes = {directory.size, snapshot.size}
        if snapshot.about != self._about or range_.root() != snapshot.root or len(sizes) > 1:
            raise Rejected(Reason.INVALID, "it is of something else")
        return Remembered(directory, range_, received_at_ms)

    async def store(self, seen: Remembered) -> None:
        """Keep this in the place of what was kept."""
        end = [seen.received_at_ms, *(hash_.hex() for hash_ in seen.range.hashes)]
        rows = joined(map(row_line, [end, *directory_rows(seen.directory)]))
        data = Snapshot(*self._about, seen.range.size, seen.range.root(), rows).sealed(self._keys.present)
        await self._state.run(lambda c: c.execute("INSERT OR REPLACE INTO folds VALUES (?, ?)", (self._origin, data)))
