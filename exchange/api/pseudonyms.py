"""PseudonymService: key epochs for all members, evaluations for the pipelines of platforms, within their budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc

from exchange.api.guard import caller
from exchange.domain.kinds import Role
from exchange.errors import Denied, Reason, Rejected
from exchange.privacy.p256 import decode_point
from exchange.privacy.voprf import MAX_BATCH, Evaluation
from exchange.pseudonyms.budget import Budgets
from exchange.pseudonyms.epochs import Epoch, live_epoch
from exchange.v1 import pseudonyms_pb2 as pb
from exchange.v1 import pseudonyms_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]


class Evaluates(Protocol):
    """What makes evaluations."""

    async def evaluate(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        """Evaluate a batch under an epoch's key."""
        ...


class PseudonymServicer(pseudonyms_pb2_grpc.PseudonymServiceServicer):
    """Evaluates what is well formed, for whoever has budget left. Its refusals say nothing of keys or inputs."""

    def __init__(
        self,
        epochs: Callable[[], Mapping[int, Epoch]],
        budgets: Budgets,
        evaluator: Evaluates,
        now_ms: Callable[[], int],
    ) -> None:
        """``epochs`` returns those that the service has at present."""
        self._epochs = epochs
        self._budgets = budgets
        self._evaluator = evaluator
        self._now_ms = now_ms

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
        if workload.role is not Role.PIPELINE:
            raise Denied("only pipelines have identifiers evaluated")
        epoch = live_epoch(self._epochs(), request.epoch, self._now_ms())
        if not 0 < len(request.elements) <= MAX_BATCH:
            raise Rejected(Reason.TOO_LARGE, f"a batch has from 1 to {MAX_BATCH:,} elements")
        for element in request.elements:
            decode_point(element)  # before anything is charged
        await self._budgets.take(epoch.number, workload.member, len(request.elements))
        found = await self._evaluator.evaluate(epoch.number, request.elements)
        return pb.EvaluateResponse(elements=found.elements, proof=found.proof)


def _summary(epoch: Epoch) -> pb.KeyEpochSummary:
    return pb.KeyEpochSummary(
        number=epoch.number,
        public_key=epoch.public_key,
        begins_ms=epoch.begins_ms,
        ends_ms=epoch.ends_ms,
        destroyed=epoch.destroyed,
        data_versions=dict(epoch.data_versions),
    )
