"""Bytes that are no message of the method they are sent to: refused as bad input, and only once their sender is known."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest

from exchange.errors import Reason
from exchange.ops.certificates import issue
from exchange.v1 import publish_pb2
from tests.e2e.answers import refusal
from tests.e2e.bad_statements import ALPHA
from tests.e2e.drafts import signal
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, World

pytestmark = pytest.mark.e2e

#: A field's tag and length, and nothing behind it.
NO_MESSAGE = b"\x0a\xff\x01"
UNARY = (
    "PublishService/Publish",
    "FeedService/Probe",
    "LedgerService/GetCheckpoint",
    "LedgerService/ListEntries",
    "LedgerService/GetInclusionProof",
    "LedgerService/GetConsistencyProof",
    "DirectoryService/WhoAmI",
    "DirectoryService/ListMembers",
    "DirectoryService/ListCommunities",
)


@pytest.mark.parametrize("method", UNARY)
async def test_a_call_with_no_message_is_refused(world: World, method: str, caplog: pytest.LogCaptureFixture) -> None:
    channel: Any = world.party(*ALPHA).channel
    async with world.unchanged():
        refused = await refusal(channel.unary_unary(f"/exchange.v1.{method}")(NO_MESSAGE, timeout=TIMEOUT_S))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED.value)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_subscription_with_no_message_is_refused(world: World) -> None:
    channel: Any = world.party(*ALPHA).channel
    call = channel.unary_stream("/exchange.v1.FeedService/Subscribe")
    refused = await refusal(call(NO_MESSAGE, timeout=TIMEOUT_S).read())
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED.value)


async def test_what_came_before_it_on_a_stream_is_answered(world: World) -> None:
    party = world.party(*ALPHA)
    statement = signal("alpha", UK).sign(party.key)
    good = publish_pb2.PublishStreamRequest(statements=[statement]).SerializeToString()
    channel: Any = party.channel
    call = channel.stream_stream("/exchange.v1.PublishService/PublishStream")(timeout=TIMEOUT_S)
    await call.write(good)
    answer = publish_pb2.PublishStreamResponse.FromString(await call.read())
    assert answer.results[0].HasField("receipt")
    await call.write(NO_MESSAGE)
    refused = await refusal(call.read())
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.MALFORMED.value)
    again = await party.publish(statement)
    assert again.repeated_statement


async def test_nothing_of_a_stranger_is_parsed(world: World) -> None:
    files = issue(world.exchange.pki, "nobody", "pipeline")
    channel: Any = world.exchange.channel(world.app.port, files)
    try:
        refused = await refusal(channel.unary_unary("/exchange.v1.PublishService/Publish")(NO_MESSAGE))
    finally:
        await channel.close()
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.NOT_PERMITTED.value)
