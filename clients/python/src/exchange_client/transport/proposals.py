"""The calls about what waits at a hub for operators' signatures."""

from __future__ import annotations

from collections.abc import Sequence

from exchange import codec
from exchange.domain.proposals import Proposal
from exchange.domain.statement import Header, Signature
from exchange.v1 import admin_pb2, admin_pb2_grpc, statement_pb2
from exchange_client.connections import Connections
from exchange_client.proposals import ProposalReport, Written, read_proposal
from exchange_client.transport.answers import CALL_S, asking, told


class ProposalCalls:
    """Asks one hub: what waits at one does not wait at another. For operators alone."""

    def __init__(self, connections: Connections) -> None:
        """Use `ExchangeClient.proposals`."""
        self._connections = connections

    async def prepare(self, said: Sequence[Written]) -> Proposal:
        """Let the hub complete what is to be said, and keep it. Hold it against `require_ours` before signing it."""
        drafts = [_draft(each) for each in said]
        async with self._connections.using() as connection:
            stub = admin_pb2_grpc.AdminServiceStub(connection.channel)
            request = asking(admin_pb2.PrepareProposalRequest, drafts=drafts)
            answer = told(await stub.PrepareProposal(request, timeout=CALL_S))
        return _proposal(answer.proposal, b"")

    async def sign(self, id_: bytes, signatures: Sequence[Signature]) -> Proposal:
        """Add one key's signatures, one for each statement; return it with all that it has now."""
        made = [statement_pb2.Signature(key_id=each.key_id, signature=each.signature) for each in signatures]
        async with self._connections.using() as connection:
            stub = admin_pb2_grpc.AdminServiceStub(connection.channel)
            request = asking(admin_pb2.SignProposalRequest, proposal=id_, signatures=made)
            answer = told(await stub.SignProposal(request, timeout=CALL_S))
        return _proposal(answer.proposal, id_)

    async def list(self) -> tuple[ProposalReport, ...]:
        """Return what waits, the oldest first, as the hub tells it."""
        async with self._connections.using() as connection:
            stub = admin_pb2_grpc.AdminServiceStub(connection.channel)
            answer = told(await stub.ListProposals(admin_pb2.ListProposalsRequest(), timeout=CALL_S))
        return tuple(map(_report, answer.proposals))

    async def get(self, id_: bytes) -> Proposal:
        """Return one, its bytes as the id binds them, and who is said to have signed. Raises `Rejected` (NOT_FOUND)."""
        async with self._connections.using() as connection:
            stub = admin_pb2_grpc.AdminServiceStub(connection.channel)
            answer = told(await stub.GetProposal(asking(admin_pb2.GetProposalRequest, proposal=id_), timeout=CALL_S))
        return _proposal(answer.proposal, id_)

    async def withdraw(self, id_: bytes) -> None:
        """Take back one that is in our name."""
        async with self._connections.using() as connection:
            stub = admin_pb2_grpc.AdminServiceStub(connection.channel)
            told(await stub.WithdrawProposal(asking(admin_pb2.WithdrawProposalRequest, proposal=id_), timeout=CALL_S))


def _draft(said: Written) -> statement_pb2.Header:
    header = Header(said.origin, codec.kind_of(said.body), "", 0, b"", (), said.body)
    return statement_pb2.Header.FromString(codec.encode_header(header))


def _proposal(message: admin_pb2.Proposal, wanted: bytes) -> Proposal:
    signatures = [[Signature(each.key_id, each.signature) for each in one.signatures] for one in message.statements]
    return read_proposal([one.payload for one in message.statements], signatures, wanted)


def _report(message: admin_pb2.ProposalSummary) -> ProposalReport:
    return ProposalReport(
        message.id,
        message.publisher,
        message.created_at_ms,
        message.expires_at_ms,
        tuple(message.kinds),
        message.needed,
        tuple([each.key_id for each in message.signers if each.counts]),
        message.complete,
    )
