"""PseudonymService: key epochs for all members, evaluations for the pipelines of platforms, within their budgets."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc

from exchange.api.guard import Guard, caller
from exchange.api.server import Connections, options
from exchange.domain.policy import Workload
from exchange.errors import Reason, Rejected
from exchange.ops.metrics import Metrics
from exchange.privacy.p256 import decode_point
from exchange.privacy.voprf import MAX_BATCH, Evaluation
from exchange.pseudonyms.epochs import Epoch
from exchange.v1 import pseudonyms_pb2 as pb
from exchange.v1 import pseudonyms_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
#: Elements looked at in one turn of the loop: about a millisecond.
_PIECE = 32


class Evaluates(Protocol):
    """What makes evaluations."""

    async def evaluate(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        """Evaluate a batch under an epoch's key."""
        ...


class Charges(Protocol):
    """What counts evaluations."""

    async def take(self, epoch: int, member: str, count: int) -> int:
        """Charge a member with so many, or raise `OverQuota`; return how many are left."""
        ...


class PseudonymServicer(pseudonyms_pb2_grpc.PseudonymServiceServicer):
    """Evaluates what is well formed, for whoever has budget left. Its refusals say nothing of keys or inputs."""

    def __init__(
        self,
        admit: Callable[[Workload, int], Epoch],
        epochs: Callable[[], Mapping[int, Epoch]],
        budgets: Charges,
        evaluator: Evaluates,
        metrics: Metrics,
        now_ms: Callable[[], int],
        *,
        at_once: int = 1,
    ) -> None:
        """``admit`` returns the live epoch of a number, or raises whatever is against it; ``epochs`` are all there are.

        So many batches of one member are evaluated ``at_once``: one that sends many waits behind itself.
        """
        self._admit = admit
        self._epochs = epochs
        self._budgets = budgets
        self._evaluator = evaluator
        self._metrics = metrics
        self._now_ms = now_ms
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_once))

    async def ListKeyEpochs(  # noqa: D102 - as in the proto
        self,
        request: pb.ListKeyEpochsRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> pb.ListKeyEpochsResponse:
        epochs = self._epochs()
        return pb.ListKeyEpochsResponse(
            epochs=[_summary(epochs[number]) for number in sorted(epochs)], service_time_ms=self._now_ms()
        )

    async def Evaluate(self, request: pb.EvaluateRequest, context: _Context) -> pb.EvaluateResponse:  # noqa: ARG002, D102
        workload = caller()
        epoch = self._admit(workload, request.epoch)
        if not 0 < len(request.elements) <= MAX_BATCH:
            raise Rejected(Reason.TOO_LARGE, f"a batch has from 1 to {MAX_BATCH:,} elements")
        async with self._turns[workload.member]:
            await _check(request.elements)  # before anything is charged
            found = await self._evaluated(workload.member, epoch.number, request.elements)
        return pb.EvaluateResponse(elements=found.elements, proof=found.proof)

    async def _evaluated(self, member: str, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        """Charge, then evaluate: what is lost in between is not given back."""
        outcome = "over_budget"
        try:
            left = await self._budgets.take(epoch, member, len(elements))
            outcome = "lost"
            self._metrics.evaluations_left.labels(member, epoch).set(left)
            found = await self._evaluator.evaluate(epoch, elements)
            outcome = "evaluated"
        finally:
            self._metrics.evaluations.labels(member, outcome).inc(len(elements))
        return found


async def _check(elements: Sequence[bytes]) -> None:
    """Return if these are all points, letting others go on in between. Raises `Rejected` (MALFORMED)."""
    for number, element in enumerate(elements):
        if number % _PIECE == _PIECE - 1:
            await asyncio.sleep(0)
        decode_point(element)


def build(servicer: PseudonymServicer, guard: Guard, connections: Connections) -> grpc.aio.Server:
    """Return the service's server, not yet listening: nothing else is on its port."""
    server = grpc.aio.server(interceptors=(guard,), options=options(connections))
    pseudonyms_pb2_grpc.add_PseudonymServiceServicer_to_server(servicer, server)
    return server


def _summary(epoch: Epoch) -> pb.KeyEpochSummary:
    return pb.KeyEpochSummary(
        number=epoch.number,
        public_key=epoch.public_key,
        begins_ms=epoch.begins_ms,
        ends_ms=epoch.ends_ms,
        destroyed=epoch.destroyed,
        data_versions=dict(epoch.data_versions),
    )
