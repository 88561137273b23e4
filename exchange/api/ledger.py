"""LedgerService: the sealed log and its proofs, for auditors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from exchange.api.guard import caller
from exchange.api.logs import Hub, Log
from exchange.domain.policy import Sight, visible_to
from exchange.errors import Reason, Rejected
from exchange.fanout.item import item_of
from exchange.proving import consistency_proof, inclusion_proof
from exchange.v1 import ledger_pb2 as pb
from exchange.v1 import ledger_pb2_grpc

MAX_PAGE_BYTES = 1_000_000
MAX_PAGE = 1_000

_Context = grpc.aio.ServicerContext[Any, Any]


class LedgerServicer(ledger_pb2_grpc.LedgerServiceServicer):
    """Reads only."""

    def __init__(self, hub: Hub, now_ms: Callable[[], int]) -> None:
        """Read this hub's logs."""
        self._hub = hub
        self._now_ms = now_ms

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
        frames: list[bytes] = []
        total = 0
        for entry in await log.store.read(request.start, min(request.limit or MAX_PAGE, MAX_PAGE)):
            item = item_of(entry)
            seen = sight is Sight.RECORDS and visible_to(workload, item.kind, item.publisher, item.audience)
            frame = item.full if seen else item.bare
            total += len(frame)
            if frames and total > MAX_PAGE_BYTES:
                break
            frames.append(frame)
        response = pb.ListEntriesResponse.FromString(b"".join(frames))
        response.sealed_size = size
        return response

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
        proof = await inclusion_proof(log.history, request.index, size)
        row = await log.history.tile(0, request.index // 256, request.index % 256 + 1)
        return pb.GetInclusionProofResponse(
            leaf_hash=row[-32:],
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
        return pb.GetConsistencyProofResponse(
            proof=await consistency_proof(log.history, request.old_size, size),
            new_size=size,
            checkpoint=head.checkpoint if size == head.sealed.size else b"",
        )


def _size(asked: int, sealed: int) -> int:
    if asked > sealed:
        raise Rejected(Reason.NOT_FOUND, f"the sealed size is {sealed}")
    return asked or sealed
