"""LedgerService: the sealed log and its proofs, for auditors.

Whoever reads takes turns with whoever publishes: a page in small pieces, a proof in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import grpc

from exchange.api.guard import caller
from exchange.api.logs import Hub, Log
from exchange.domain.policy import Sight, Workload, visible_to
from exchange.errors import Reason, Rejected, Unavailable
from exchange.fanout.item import item_of
from exchange.ports import StoredEntry
from exchange.proving import consistency_proof, inclusion_proof, proven_leaf
from exchange.publish.turns import PROOF_WORK
from exchange.v1 import ledger_pb2 as pb
from exchange.v1 import ledger_pb2_grpc
from exchange.views.replay import Leaves

MAX_PAGE_BYTES = 1_000_000
MAX_PAGE = 1_000
#: Entries without records that are looked at in one go.
MAX_LOST = 10_000
#: What an entry of a page costs, in the measure of a turn's work, which is records checked.
_ENTRY_WORK = 5
#: Entries of a page made in one turn.
_PIECE = 24

E = TypeVar("E")

_Context = grpc.aio.ServicerContext[Any, Any]


class LedgerServicer(ledger_pb2_grpc.LedgerServiceServicer):
    """Reads only."""

    def __init__(self, hub: Hub, now_ms: Callable[[], int]) -> None:
        """Read this hub's logs."""
        self._hub = hub
        self._now_ms = now_ms
        #: One for each member that reads; they go with the calls that hold them.
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def _one_at_a_time(self, member: str) -> AsyncIterator[None]:
        """Answer a member's calls one after the other: many half made at once would wait for each other."""
        reading = self._reading.setdefault(member, asyncio.Lock())
        async with reading:
            yield

    def _log(self, origin: str) -> tuple[Log, Sight]:
        return self._hub.log_to_read(caller(), origin, self._now_ms())

    async def GetCheckpoint(  # noqa: D102 - as in the proto
        self,
        request: pb.GetCheckpointRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetCheckpointResponse:
        log, _ = self._log(request.origin)
        return pb.GetCheckpointResponse(checkpoint=(await log.store.head()).checkpoint)

    async def ListEntries(  # noqa: D102
        self,
        request: pb.ListEntriesRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListEntriesResponse:
        log, sight = self._log(request.origin)
        workload = caller()
        size = (await log.store.head()).sealed.size
        async with self._one_at_a_time(workload.member):
            erasures = log.tail.erasures
            frames = await self._frames(workload, log, sight, request)
        if log.tail.erasures != erasures:
            raise Unavailable("something was erased meanwhile", retry_after_ms=100)
        if self._log(request.origin)[1] is not sight:
            raise Unavailable("what this member may see has changed meanwhile", retry_after_ms=100)
        response = pb.ListEntriesResponse.FromString(b"".join(frames))
        response.sealed_size = size
        return response

    async def _frames(self, workload: Workload, log: Log, sight: Sight, request: pb.ListEntriesRequest) -> list[bytes]:
        def seen(entry: StoredEntry) -> bytes:
            item = item_of(entry)
            open_ = sight is Sight.RECORDS and visible_to(workload, item.kind, item.publisher, item.audience)
            return item.full if open_ else item.bare

        return await self._fitting(await log.store.read(request.start, _limit(request.limit)), seen)

    async def _fitting(self, page: Sequence[E], part_of: Callable[[E], bytes]) -> list[bytes]:
        """Return the parts of a page that one answer holds, at least one where there is one; others go between."""
        parts, total, member = list[bytes](), 0, caller().member
        for number, each in enumerate(page):
            if number % _PIECE == 0:
                await self._hub.turns.take(member, _PIECE * _ENTRY_WORK)
            part = part_of(each)
            total += len(part)
            if parts and total > MAX_PAGE_BYTES:
                break
            parts.append(part)
        return parts

    async def ListLeaves(  # noqa: D102
        self,
        request: pb.ListLeavesRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListLeavesResponse:
        log, _ = self._log(request.origin)
        size = (await log.store.head()).sealed.size
        async with self._one_at_a_time(caller().member):
            page = await Leaves(log.store, log.history).read(request.start, _limit(request.limit))
            leaves = await self._fitting(page, bytes)
        return pb.ListLeavesResponse(leaves=leaves, sealed_size=size)

    async def GetInclusionProof(  # noqa: D102
        self,
        request: pb.GetInclusionProofRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetInclusionProofResponse:
        log, _ = self._log(request.origin)
        head = await log.store.head()
        size = _size(request.size, head.sealed.size)
        if request.index >= size:
            raise Rejected(Reason.NOT_FOUND, "no such leaf in a tree of that size")
        async with self._one_at_a_time(caller().member):
            await self._hub.turns.take(caller().member, PROOF_WORK)
            leaf_hash, proof = await proven_leaf(log.history, request.index, size)
        return pb.GetInclusionProofResponse(
            leaf_hash=leaf_hash,
            proof=proof,
            size=size,
            checkpoint=head.checkpoint if size == head.sealed.size else b"",
        )

    async def GetConsistencyProof(  # noqa: D102
        self,
        request: pb.GetConsistencyProofRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetConsistencyProofResponse:
        log, _ = self._log(request.origin)
        head = await log.store.head()
        size = _size(request.new_size, head.sealed.size)
        async with self._one_at_a_time(caller().member):
            await self._hub.turns.take(caller().member, PROOF_WORK)
            proof = await consistency_proof(log.history, request.old_size, size)
        return pb.GetConsistencyProofResponse(
            proof=proof,
            new_size=size,
            checkpoint=head.checkpoint if size == head.sealed.size else b"",
        )

    async def ListKeyEpochLeaves(  # noqa: D102
        self,
        request: pb.ListKeyEpochLeavesRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListKeyEpochLeavesResponse:
        log, _ = self._log(request.origin)
        indexes = sorted((await log.up_to_date()).life.folds().key_epochs.told_at())
        head = await log.store.head()
        async with self._one_at_a_time(caller().member):
            leaves = [await self._proven(log, index, head.sealed.size) for index in indexes]
        return pb.ListKeyEpochLeavesResponse(leaves=leaves, checkpoint=head.checkpoint)

    async def ListLostRecords(  # noqa: D102
        self,
        request: pb.ListLostRecordsRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.ListLostRecordsResponse:
        workload = caller()
        log, _ = self._log(request.origin)
        async with self._one_at_a_time(workload.member):
            folds = await log.up_to_date()
            following = min(request.start, folds.life.current().size)  # no table holds larger numbers
            found: Sequence[int] = ()
            while not found:
                await self._hub.turns.take(workload.member, PROOF_WORK)
                found, following = await folds.lost(workload.member, following, MAX_LOST)
                if not following:
                    break
        return pb.ListLostRecordsResponse(indices=found, next=following)

    async def _proven(self, log: Log, index: int, size: int) -> pb.ProvenLeaf:
        await self._hub.turns.take(caller().member, PROOF_WORK)
        (leaf,) = await Leaves(log.store, log.history).read(index, 1)
        return pb.ProvenLeaf(leaf=leaf, inclusion_proof=await inclusion_proof(log.history, index, size))


def _limit(asked: int) -> int:
    return min(asked or MAX_PAGE, MAX_PAGE)


def _size(asked: int, sealed: int) -> int:
    if asked > sealed:
        raise Rejected(Reason.NOT_FOUND, f"the sealed size is {sealed}")
    return asked or sealed
