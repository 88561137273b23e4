"""AdminService: what several operators sign, prepared and kept until they have. For operators alone.

A change is a statement that operators signed, published like any other: nothing here publishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from exchange import codec
from exchange.api.guard import caller
from exchange.api.logs import Hub
from exchange.domain.changes import changes
from exchange.domain.directory import Directory
from exchange.domain.policy import Workload, may_administer
from exchange.domain.proposals import MAX_STATEMENTS, Proposal, counting, expires_at_ms, missing, needed
from exchange.domain.statement import NONCE_BYTES, Signature
from exchange.errors import Reason, Rejected
from exchange.ops.metrics import Metrics
from exchange.publish.proposals import Proposals
from exchange.v1 import admin_pb2 as pb
from exchange.v1 import admin_pb2_grpc, statement_pb2

_Context = grpc.aio.ServicerContext[Any, Any]


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Thin: who may ask, what is asked, what to answer. The rules are those of `Proposals`."""

    def __init__(self, hub: Hub, metrics: Metrics, random_bytes: Callable[[int], bytes]) -> None:
        """Keep what is prepared in the hub's book."""
        self._hub = hub
        self._metrics = metrics
        self._random = random_bytes
        self._proposals = Proposals(hub.proposals, hub.intake, hub.view.fresh, _Logs(hub), hub.turns, count=self._count)

    def _count(self, outcome: str) -> None:
        self._metrics.proposals.labels(outcome).inc()

    def _operator(self) -> Workload:
        workload = caller()
        may_administer(self._hub.view.fresh(), workload)
        return workload

    async def PrepareProposal(  # noqa: D102 - as in the proto
        self,
        request: pb.PrepareProposalRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.PrepareProposalResponse:
        workload, now_ms = self._operator(), self._hub.intake.now_ms()
        if len(request.drafts) > MAX_STATEMENTS:
            raise Rejected(Reason.TOO_LARGE, f"{len(request.drafts)} statements; at most {MAX_STATEMENTS} are allowed")
        payloads = [completed(draft, workload.member, now_ms, self._random(NONCE_BYTES)) for draft in request.drafts]
        made = await self._proposals.prepare(workload, payloads)
        return pb.PrepareProposalResponse(proposal=_proposal(self._hub.view.directory, made))

    async def SignProposal(  # noqa: D102
        self,
        request: pb.SignProposalRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.SignProposalResponse:
        workload = self._operator()
        signatures = [Signature(each.key_id, each.signature) for each in request.signatures]
        signed = await self._proposals.sign(workload, request.proposal, signatures)
        return pb.SignProposalResponse(proposal=_proposal(self._hub.view.directory, signed))

    async def ListProposals(  # noqa: D102
        self,
        request: pb.ListProposalsRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> pb.ListProposalsResponse:
        self._operator()
        found, directory = await self._proposals.all(), self._hub.view.directory
        return pb.ListProposalsResponse(
            proposals=[_summary(directory, each) for each in found], directory_size=directory.size
        )

    async def GetProposal(  # noqa: D102
        self,
        request: pb.GetProposalRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.GetProposalResponse:
        self._operator()
        found = await self._proposals.get(request.proposal)
        return pb.GetProposalResponse(proposal=_proposal(self._hub.view.directory, found))

    async def WithdrawProposal(  # noqa: D102
        self,
        request: pb.WithdrawProposalRequest,
        context: _Context,  # noqa: ARG002
    ) -> pb.WithdrawProposalResponse:
        await self._proposals.withdraw(self._operator(), request.proposal)
        return pb.WithdrawProposalResponse()


class _Logs:
    """This hub's logs, as proposals ask them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def up_to_date(self, origin: str) -> None:
        log = self._hub.logs.get(origin)
        if log is not None and log.folds is not None:
            await log.up_to_date()

    async def holds(self, origin: str, statement_id: bytes) -> bool:
        log = self._hub.logs.get(origin)
        index = None if log is None else await log.store.find(statement_id)
        return log is not None and index is not None and index < (await log.store.head()).sealed.size


def completed(draft: statement_pb2.Header, publisher: str, now_ms: int, nonce: bytes) -> bytes:
    """Return the bytes to sign. Raises `Rejected` where the draft says what is for the hub to say."""
    if draft.publisher or draft.created_at_ms or draft.nonce:
        raise Rejected(Reason.INVALID, "drafts: publisher, time and nonce are left out: the hub puts them in")
    made = statement_pb2.Header()
    made.CopyFrom(draft)
    made.publisher, made.created_at_ms, made.nonce = publisher, now_ms, nonce
    payload = made.SerializeToString(deterministic=True)
    codec.decode_header(payload, strict=True)
    return payload


def _summary(directory: Directory, proposal: Proposal) -> pb.ProposalSummary:
    live = {key.key_id for _, key in counting(directory, proposal)}
    signers = [(each.key_id, directory.key(each.key_id)) for each in proposal.signers]
    return pb.ProposalSummary(
        id=proposal.id,
        publisher=proposal.publisher,
        created_at_ms=proposal.created_at_ms,
        expires_at_ms=expires_at_ms(directory, proposal),
        kinds=[header.kind for header in proposal.headers],  # type: ignore[misc]
        needed=needed(directory, proposal),
        signers=[
            pb.ProposalSigner(key_id=key_id, member=key.member if key else "", counts=key_id in live)
            for key_id, key in signers
        ],
        complete=not missing(directory, proposal),
    )


def _proposal(directory: Directory, proposal: Proposal) -> pb.Proposal:
    return pb.Proposal(summary=_summary(directory, proposal), statements=_statements(directory, proposal))


def _statements(directory: Directory, proposal: Proposal) -> Iterator[pb.ProposedStatement]:
    for place, (payload, header) in enumerate(zip(proposal.payloads, proposal.headers, strict=True)):
        signatures = [
            statement_pb2.Signature(key_id=each.key_id, signature=each.signature) for each in proposal.signatures(place)
        ]
        changed = [
            pb.DirectoryChange(what=each.what, before=each.before, after=each.after)
            for each in changes(directory, header)
        ]
        yield pb.ProposedStatement(payload=payload, signatures=signatures, changes=changed)
        if header.origin == directory.origin:
            directory = directory.foreseen(header, header.created_at_ms)
