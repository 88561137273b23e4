"""A store that fails on demand: one hook says of each call whether it fails, and whether it took effect first.

"Failed" and "failed but applied" look the same to the caller; both must leave a correct one correct.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from exchange.ledger.tiles import HashTile, TileRef
from exchange.ports import Group, Head, StoredEntry, TreeHead
from tests.contract.builders import Store

T = TypeVar("T")
#: Called with the name of the method: (does it take effect?, what is raised). (True, None) lets the call through.
Before = Callable[[str], tuple[bool, Exception | None]]


class FaultyStore:
    """`LogStore` and `History` around another store."""

    def __init__(self, store: Store, before: Before) -> None:
        """Ask ``before`` ahead of each call to ``store``. `aclose` never fails."""
        self._store = store
        self._before = before

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        applied, error = self._before(name)
        if error is None:
            return await call()
        if applied:
            await call()
        raise error

    async def head(self) -> Head:
        """See `LogStore.head`."""
        return await self._call("head", self._store.head)

    async def append(self, expected: TreeHead, group: Group) -> None:
        """See `LogStore.append`."""
        await self._call("append", lambda: self._store.append(expected, group))

    async def seal(self, head: TreeHead, checkpoint: bytes) -> None:
        """See `LogStore.seal`."""
        await self._call("seal", lambda: self._store.seal(head, checkpoint))

    async def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `LogStore.read`."""
        return await self._call("read", lambda: self._store.read(start, limit))

    async def wait(self, after: int) -> int:
        """See `LogStore.wait`."""
        return await self._call("wait", lambda: self._store.wait(after))

    async def find(self, statement_id: bytes) -> int | None:
        """See `LogStore.find`."""
        return await self._call("find", lambda: self._store.find(statement_id))

    async def erase(self, frames: Mapping[int, bytes]) -> None:
        """See `LogStore.erase`."""
        await self._call("erase", lambda: self._store.erase(frames))

    async def put_back(self, index: int, was: bytes, frame: bytes) -> None:
        """See `Recovering.put_back`."""
        await self._call("put_back", lambda: self._store.put_back(index, was, frame))

    async def tiles(self, refs: Sequence[TileRef]) -> Sequence[HashTile]:
        """See `History.tiles`."""
        return await self._call("tiles", lambda: self._store.tiles(refs))

    async def bundle(self, index: int) -> bytes:
        """See `History.bundle`."""
        return await self._call("bundle", lambda: self._store.bundle(index))

    async def durable_entries(self, start: int, end: int) -> Sequence[StoredEntry]:
        """See `History.durable_entries`."""
        return await self._call("durable_entries", lambda: self._store.durable_entries(start, end))

    async def archive(self, floor: int) -> int:
        """See `History.archive`."""
        return await self._call("archive", lambda: self._store.archive(floor))

    async def aclose(self) -> None:
        """See `LogStore.aclose`."""
        await self._store.aclose()
