"""The wire: channels, stubs and messages. The only module of the SDK that knows the generated code.

Everything above it works on values and on errors of `exchange.errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from itertools import pairwise
from typing import Any

import grpc

from exchange import codec
from exchange.codec import Delivered
from exchange.domain.statement import Statement
from exchange.errors import Reason, Rejected, Unavailable, Violation
from exchange.privacy.voprf import Evaluation
from exchange.v1 import (
    directory_pb2,
    directory_pb2_grpc,
    feed_pb2,
    feed_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    pseudonyms_pb2,
    pseudonyms_pb2_grpc,
    publish_pb2,
    publish_pb2_grpc,
    statement_pb2,
)
from exchange_client.config import ClientConfig
from exchange_client.connections import Connections, translated
from exchange_client.identity import Identity
from exchange_client.status import error_of
from exchange_client.transport.answers import CALL_S, role_of, told, word
from exchange_client.transport.proposals import ProposalCalls
from exchange_client.transport.referrals import ReferralCalls
from exchange_client.transport.reports import ReportCalls
from exchange_client.wire import (
    CommunitySummary,
    FeedMessage,
    Filter,
    GuidanceAnswer,
    GuidanceSummary,
    Hello,
    MemberSummary,
    Probed,
    ProvenLeaf,
    WhoAmI,
    WireReceipt,
    WireResult,
)

#: A live feed says something every five seconds.
SILENCE_S = 15.0


class PublishStream:
    """One bidirectional stream of statements and results."""

    def __init__(self, call: Any, wake: Callable[[], None]) -> None:  # noqa: ANN401 - grpc's untyped call object
        """Use `Transport.publish_stream`."""
        self._call = call
        self._wake = wake
        #: Whether nothing more is to be sent on it: the next stream uses a newer certificate.
        self.leaving = False

    def leave(self) -> None:
        """Ask whoever sends to finish."""
        self.leaving = True
        self._wake()

    async def finish(self) -> None:
        """Say that nothing more comes: the hub answers what it has, and ends the stream."""
        with translated():
            await self._call.done_writing()

    async def send(self, statements: Sequence[Statement]) -> None:
        """Send statements as one message. Raises `ExchangeError` when the stream has ended."""
        wire = [codec.statement_to_wire(statement) for statement in statements]
        with translated():
            await self._call.write(publish_pb2.PublishStreamRequest(statements=wire))

    async def results(self) -> AsyncIterator[tuple[WireResult, ...]]:
        """Yield results, message by message, until the stream ends. Raises `ExchangeError`."""
        with translated():
            async for message in self._call:
                yield tuple(_result(result) for result in told(message).results)

    def cancel(self) -> None:
        """End the stream."""
        self._call.cancel()


class Transport:
    """Calls one hub of several, as one workload."""

    def __init__(self, config: ClientConfig, identity: Identity) -> None:
        """Nothing is connected yet."""
        self._connections = Connections(config, identity)
        self.reports = ReportCalls(self._connections)
        self.referrals = ReferralCalls(self._connections)
        self.proposals = ProposalCalls(self._connections)

    async def renew(self) -> None:
        """Go on over new connections, with the certificate that is now in use; long calls are moved there."""
        await self._connections.renew()

    async def aclose(self) -> None:
        """Close every connection; calls under way end with `Unavailable`. Idempotent."""
        await self._connections.aclose()

    async def who_am_i(self) -> WhoAmI:
        """Ask how the hub knows us."""
        async with self._connections.using() as connection:
            stub = directory_pb2_grpc.DirectoryServiceStub(connection.channel)
            answer = told(await stub.WhoAmI(directory_pb2.WhoAmIRequest(), timeout=CALL_S))
        return WhoAmI(
            answer.member,
            role_of(answer.role),
            answer.suspended,
            tuple(answer.communities),
            answer.directory_size,
            answer.hub_time_ms,
        )

    async def members(self, community: str) -> tuple[MemberSummary, ...]:
        """Return the members of a community, or of the exchange, as the hub tells them."""
        async with self._connections.using() as connection:
            stub = directory_pb2_grpc.DirectoryServiceStub(connection.channel)
            answer = told(await stub.ListMembers(directory_pb2.ListMembersRequest(community=community), timeout=CALL_S))
        return tuple(
            MemberSummary(
                member.id,
                member.display_name,
                word(statement_pb2.MemberClass, member.member_class, "MEMBER_CLASS_"),
                tuple(map(role_of, member.roles)),
                member.suspended,
                tuple(member.communities),
            )
            for member in answer.members
        )

    async def communities(self) -> tuple[CommunitySummary, ...]:
        """Return the communities of the exchange, as the hub tells them."""
        async with self._connections.using() as connection:
            stub = directory_pb2_grpc.DirectoryServiceStub(connection.channel)
            answer = told(await stub.ListCommunities(directory_pb2.ListCommunitiesRequest(), timeout=CALL_S))
        return tuple(
            CommunitySummary(
                community.origin,
                community.title,
                community.verifier_key,
                community.retention_days,
                community.max_expiry_days,
                community.replay_window_days,
                community.public_entries,
                community.members,
            )
            for community in answer.communities
        )

    async def entries(self, origin: str, start: int) -> tuple[tuple[Delivered, ...], int]:
        """Return a page of entries from ``start``, and the sealed size."""
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            request = ledger_pb2.ListEntriesRequest(origin=origin, start=start)
            answer = told(await stub.ListEntries(request, timeout=CALL_S))
        return tuple(map(codec.delivered, answer.entries)), answer.sealed_size

    async def leaves(self, origin: str, start: int) -> tuple[tuple[bytes, ...], int]:
        """Return a page of leaves from ``start``, below the floor too, and the sealed size."""
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            request = ledger_pb2.ListLeavesRequest(origin=origin, start=start)
            answer = told(await stub.ListLeaves(request, timeout=CALL_S))
        return tuple(answer.leaves), answer.sealed_size

    async def consistency_proof(self, origin: str, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return what proves that one tree of a log extends another, not verified."""
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            request = ledger_pb2.GetConsistencyProofRequest(origin=origin, old_size=old_size, new_size=new_size)
            answer = told(await stub.GetConsistencyProof(request, timeout=CALL_S))
        return tuple(answer.proof)

    async def checkpoint(self, origin: str) -> bytes:
        """Return the signed checkpoint of a log, not verified."""
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            answer = told(await stub.GetCheckpoint(ledger_pb2.GetCheckpointRequest(origin=origin), timeout=CALL_S))
        return bytes(answer.checkpoint)

    async def inclusion_proof(self, origin: str, index: int, size: int) -> tuple[bytes, tuple[bytes, ...]]:
        """Return leaf hash and path of a leaf, not verified."""
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            request = ledger_pb2.GetInclusionProofRequest(origin=origin, index=index, size=size)
            answer = told(await stub.GetInclusionProof(request, timeout=CALL_S))
        return answer.leaf_hash, tuple(answer.proof)

    async def key_epoch_leaves(self, origin: str) -> tuple[tuple[ProvenLeaf, ...], bytes]:
        """Return the leaves about a community's key epochs and the checkpoint that proves them, not verified."""
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            request = ledger_pb2.ListKeyEpochLeavesRequest(origin=origin)
            answer = told(await stub.ListKeyEpochLeaves(request, timeout=CALL_S))
        found = [
            ProvenLeaf(each.leaf, codec.decode_leaf(each.leaf).index, tuple(each.inclusion_proof))
            for each in answer.leaves
        ]
        return tuple(found), bytes(answer.checkpoint)

    async def guidance(self, origin: str, platform: str, language: str) -> GuidanceAnswer:
        """Return what the hub says of platforms' profiles, not verified."""
        async with self._connections.using() as connection:
            stub = directory_pb2_grpc.DirectoryServiceStub(connection.channel)
            request = directory_pb2.GetGuidanceRequest(origin=origin, platform=platform, language=language)
            answer = told(await stub.GetGuidance(request, timeout=CALL_S))
        found = [
            GuidanceSummary(
                each.platform,
                each.version,
                each.member,
                each.publisher,
                each.confirmed,
                tuple(each.languages),
                each.profile_sha256,
                each.published_at_ms,
                each.index,
            )
            for each in answer.profiles
        ]
        leaf = None
        if answer.leaf:
            index = codec.decode_leaf(answer.leaf).index
            leaf = ProvenLeaf(answer.leaf, index, tuple(answer.inclusion_proof))
        return GuidanceAnswer(tuple(found), leaf, answer.checkpoint)

    async def evaluate(self, epoch: int, elements: Sequence[bytes]) -> Evaluation:
        """Have blinded elements evaluated: only the pseudonym service does. Not verified."""
        async with self._connections.using() as connection:
            stub = pseudonyms_pb2_grpc.PseudonymServiceStub(connection.channel)
            request = pseudonyms_pb2.EvaluateRequest(epoch=epoch, elements=elements)
            answer = told(await stub.Evaluate(request, timeout=CALL_S))
        return Evaluation(tuple(answer.elements), answer.proof)

    async def lost_records(self, origin: str) -> tuple[int, ...]:
        """Return where our own entries lie that the hub has without their records, though nothing took these."""
        found: list[int] = []
        start = 0
        async with self._connections.using() as connection:
            stub = ledger_pb2_grpc.LedgerServiceStub(connection.channel)
            while True:
                request = ledger_pb2.ListLostRecordsRequest(origin=origin, start=start)
                answer = told(await stub.ListLostRecords(request, timeout=CALL_S))
                found += answer.indices
                if not _moves_on(start, answer):
                    return tuple(found)
                start = answer.next

    async def publish(self, statement: Statement) -> WireReceipt:
        """Publish one statement."""
        async with self._connections.using() as connection:
            stub = publish_pb2_grpc.PublishServiceStub(connection.channel)
            request = publish_pb2.PublishRequest(statement=codec.statement_to_wire(statement))
            answer = told(await stub.Publish(request, timeout=CALL_S))
        return _receipt(answer.receipt)

    @contextlib.asynccontextmanager
    async def publish_stream(self, wake: Callable[[], None]) -> AsyncIterator[PublishStream]:
        """Open a stream of statements for as long as the context lasts; ``wake`` is called when it is to be left."""
        async with self._connections.using() as connection:
            call = publish_pb2_grpc.PublishServiceStub(connection.channel).PublishStream()
            stream = PublishStream(call, wake)
            leave = stream.leave
            connection.leaving.add(leave)
            try:
                yield stream
            finally:
                connection.leaving.discard(leave)
                stream.cancel()

    async def subscribe(
        self, origin: str, cursor: int, last_checkpoint: bytes, wanted: Filter
    ) -> AsyncGenerator[FeedMessage, None]:
        """Yield a feed's messages until it ends. Raises `ExchangeError`; a feed that simply ends is `Unavailable`."""
        request = feed_pb2.SubscribeRequest(
            origin=origin,
            cursor=cursor,
            last_checkpoint=last_checkpoint,
            filter=feed_pb2.Filter(
                labels=sorted(wanted.labels),  # type: ignore[arg-type]
                indicator_types=sorted(wanted.indicator_types),  # type: ignore[arg-type]
                elections=sorted(wanted.elections),
            ),
        )
        async with self._connections.using() as connection:
            call = feed_pb2_grpc.FeedServiceStub(connection.channel).Subscribe(request)
            leave = call.cancel
            connection.leaving.add(leave)
            try:
                while (message := await _read(call)) is not grpc.aio.EOF:
                    part = _feed_message(told(message))
                    yield part
                    if part.draining:
                        raise Unavailable("the hub is going away", retry_after_ms=0, reason=Reason.DRAINING)
            finally:
                connection.leaving.discard(leave)
                call.cancel()
            raise Unavailable("the hub ended the feed", retry_after_ms=0)

    async def probe(self, origin: str, state: bytes) -> Probed:
        """Ask for an echo of ``state`` on our live streams."""
        async with self._connections.using() as connection:
            stub = feed_pb2_grpc.FeedServiceStub(connection.channel)
            answer = told(await stub.Probe(feed_pb2.ProbeRequest(origin=origin, state=state), timeout=CALL_S))
        return Probed(answer.streams, answer.sealed_size, answer.hub_time_ms)


async def _read(call: Any) -> Any:  # noqa: ANN401 - grpc's untyped call object
    """Return the next message of a feed. Raises `Unavailable` after the silence of three heartbeats."""
    try:
        async with asyncio.timeout(SILENCE_S):
            return await call.read()
    except TimeoutError as error:
        raise Unavailable("the feed has gone silent", retry_after_ms=0) from error


def _moves_on(start: int, answer: ledger_pb2.ListLostRecordsResponse) -> bool:
    """Whether there is to be asked on: not of a hub that answers out of order, or with nothing."""
    indices = [start - 1, *answer.indices, answer.next]
    return len(answer.indices) > 0 and all(before < after for before, after in pairwise(indices))


def _receipt(message: publish_pb2.Receipt) -> WireReceipt:
    return WireReceipt(
        message.index,
        message.leaf,
        tuple(message.inclusion_proof),
        message.checkpoint,
        message.repeated_statement,
    )


def _result(message: publish_pb2.PublishResult) -> WireResult:
    if message.HasField("receipt"):
        return WireResult(message.statement_id, _receipt(message.receipt), None)
    rejection = message.rejection
    error = error_of(
        rejection.reason,
        rejection.message,
        violations=tuple(Violation(v.field, v.description) for v in rejection.violations),
        total=rejection.violations_total,
        retry_after_ms=rejection.retry_after_ms,
        hint=rejection.hint,
    )
    unknown = Rejected(Reason.INVALID, f"{rejection.reason}: {rejection.message}", hint=rejection.hint)
    return WireResult(message.statement_id, None, error or unknown)


def _feed_message(message: feed_pb2.SubscribeResponse) -> FeedMessage:
    hello = None
    if message.HasField("hello"):
        part = message.hello
        hello = Hello(part.floor, part.checkpoint, tuple(part.compact_range), tuple(part.consistency_proof))
    return FeedMessage(
        hello,
        tuple(map(codec.delivered, message.entries)),
        message.checkpoint,
        message.heartbeat.sealed_size if message.HasField("heartbeat") else None,
        message.HasField("draining"),
        message.probe.state,
    )
