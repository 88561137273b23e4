"""What is said on the wire, as bytes: every call of a hub, asked once by one who may, with what came back.

`recorded` writes it down; `asked` says one of them again, to a hub of a later release.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from exchange import codec
from exchange.domain.bodies import Opinion, OpinionCategory, OpinionReason
from exchange.v1 import admin_pb2, directory_pb2, feed_pb2, ledger_pb2, publish_pb2, referral_pb2, report_pb2
from exchange_client import ClientConfig, ExchangeClient
from tests.e2e.command_line import Place

TIMEOUT_S = 20.0
#: Calls that are streams of answers, and which of them of questions too.
STREAMS = {"/exchange.v1.FeedService/Subscribe": False, "/exchange.v1.PublishService/PublishStream": True}


def channel_of(config: ClientConfig) -> grpc.aio.Channel:
    """Return a workload's connection to its hub."""
    files = (config.authority, config.key, config.certificate)
    credentials = grpc.ssl_channel_credentials(*(path.read_bytes() for path in files))
    return grpc.aio.secure_channel(config.addresses[0], credentials)


async def asked(channel: grpc.aio.Channel, rpc: str, request: bytes, *, until: int = 0) -> list[bytes]:
    """Say these bytes; return the bytes of each answer. Of a feed, until it has brought so many entries."""
    # Without serialisers: what travels is bytes as they are.
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(rpc)
    both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(rpc)
    feed: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(rpc)
    if rpc not in STREAMS:
        return [await unary(request, timeout=TIMEOUT_S)]
    if STREAMS[rpc]:
        return [each async for each in both(iter([request]), timeout=TIMEOUT_S)]
    answers: list[bytes] = []
    entries = 0
    call = feed(request, timeout=TIMEOUT_S)
    async for each in call:
        answers.append(each)
        entries += len(feed_pb2.SubscribeResponse.FromString(each).entries)
        if entries >= until:
            call.cancel()
            break
    return answers


def _requests(origin: str, facts: dict[str, Any]) -> list[tuple[str, str, Message]]:
    """Return who asks, which call, and with what."""
    pipeline, liaison, operator = "alpha/pipeline", "alpha/liaison", "hub/operator"
    signal_id, referral = bytes.fromhex(facts["said"]["signals"][1]), bytes.fromhex(facts["said"]["referral"])
    directory, ledger, report, referrals = (
        f"/exchange.v1.{name}Service/" for name in ("Directory", "Ledger", "Report", "Referral")
    )
    return [
        (pipeline, f"{directory}WhoAmI", directory_pb2.WhoAmIRequest()),
        (pipeline, f"{directory}ListMembers", directory_pb2.ListMembersRequest(community=origin)),
        (pipeline, f"{directory}ListCommunities", directory_pb2.ListCommunitiesRequest()),
        (pipeline, f"{directory}ListElections", directory_pb2.ListElectionsRequest(origin=origin)),
        (pipeline, f"{directory}GetSignal", directory_pb2.GetSignalRequest(origin=origin, signal_id=signal_id)),
        (pipeline, f"{directory}GetGuidance", directory_pb2.GetGuidanceRequest(origin=origin)),
        (pipeline, f"{ledger}GetCheckpoint", ledger_pb2.GetCheckpointRequest(origin=origin)),
        (pipeline, f"{ledger}ListEntries", ledger_pb2.ListEntriesRequest(origin=origin, start=1, limit=9)),
        (pipeline, f"{ledger}ListLeaves", ledger_pb2.ListLeavesRequest(origin=origin, start=250, limit=9)),
        (pipeline, f"{ledger}GetInclusionProof", ledger_pb2.GetInclusionProofRequest(origin=origin, index=7, size=270)),
        (
            pipeline,
            f"{ledger}GetConsistencyProof",
            ledger_pb2.GetConsistencyProofRequest(origin=origin, old_size=7, new_size=270),
        ),
        (pipeline, f"{ledger}ListKeyEpochLeaves", ledger_pb2.ListKeyEpochLeavesRequest(origin=origin)),
        (pipeline, f"{ledger}ListLostRecords", ledger_pb2.ListLostRecordsRequest(origin=origin)),
        (pipeline, "/exchange.v1.FeedService/Probe", feed_pb2.ProbeRequest(origin=origin, state=b"probe")),
        (pipeline, "/exchange.v1.FeedService/Subscribe", feed_pb2.SubscribeRequest(origin=origin, cursor=275)),
        (liaison, f"{report}GetLagReport", report_pb2.GetLagReportRequest(origin=origin)),
        (liaison, f"{report}GetActivity", report_pb2.GetActivityRequest(origin=origin)),
        (operator, f"{report}ListDebts", report_pb2.ListDebtsRequest(origin=origin)),
        (operator, "/exchange.v1.AdminService/ListProposals", admin_pb2.ListProposalsRequest()),
        (liaison, f"{referrals}ListReferrals", referral_pb2.ListReferralsRequest(origin=origin)),
        (liaison, f"{referrals}GetReferral", referral_pb2.GetReferralRequest(origin=origin, referral=referral)),
        (liaison, f"{referrals}ListNotes", referral_pb2.ListNotesRequest(origin=origin, signal_id=signal_id)),
        (liaison, f"{referrals}ListContacts", referral_pb2.ListContactsRequest(origin=origin)),
    ]


async def recorded(place: Place, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Publish an opinion by both calls, then ask everything; return what was said and answered, as hexadecimal."""
    origin = f"{facts['exchange']}/uk"
    about = bytes.fromhex(facts["said"]["signals"][5])
    async with ExchangeClient(ClientConfig.load(place.client("beta"))) as client:
        body = Opinion((about,), OpinionCategory.POSITIVE_CLASS, OpinionReason.REVIEWED)
        statement = codec.statement_to_wire(await client.draft(origin, body))
    publishing = [
        ("beta/pipeline", "/exchange.v1.PublishService/Publish", publish_pb2.PublishRequest(statement=statement)),
        (
            "beta/pipeline",
            "/exchange.v1.PublishService/PublishStream",
            publish_pb2.PublishStreamRequest(statements=[statement]),
        ),
    ]
    # A repeat is answered alike each time, now and in a later release; the first time is another matter.
    await _one(place, *publishing[0][:2], publishing[0][2].SerializeToString())
    rows = []
    for who, rpc, request in [*publishing, *_requests(origin, facts)]:
        row = await _one(place, who, rpc, request.SerializeToString())
        rows.append(row)
    return rows


async def _one(place: Place, who: str, rpc: str, request: bytes) -> dict[str, Any]:
    channel = channel_of(ClientConfig.load(place.folder / who / "client.toml"))
    try:
        answers: Sequence[bytes] = await asked(channel, rpc, request, until=5)
    finally:
        await channel.close()
    return {"who": who, "rpc": rpc, "request": request.hex(), "answers": [each.hex() for each in answers]}
