"""The SDK of this release with hubs of others: one that lacks calls, and one that says more than is known here."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange_client import ExchangeClient
from tests.e2e.exchange_fixture import UK, World, open_world
from tests.e2e.sdk_clients import a_signal, client_config

pytestmark = pytest.mark.e2e

#: A field with a number that no message has, and a text in it.
ADDED = b"\xba\x3e\x05later"


def say_more(message: Message) -> Message:
    """Put a field that nobody knows into a message and those in it."""
    for part, value in message.ListFields():
        if part.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                say_more(each)
    message.MergeFromString(ADDED)
    return message


class SaysMore(grpc.aio.ServerInterceptor):
    """Makes of a hub's answers those of a later hub, and remembers which calls it did so for."""

    def __init__(self) -> None:
        self.calls: set[str] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        name = str(handler_call_details.method).lstrip("/")
        method = descriptor_pool.Default().FindMethodByName(name.replace("/", "."))
        kind = GetMessageClass(method.output_type)

        def more(answer: Any) -> bytes:
            data = answer if handler.response_serializer is None else handler.response_serializer(answer)
            self.calls.add(name.rpartition("/")[2])
            return say_more(kind.FromString(data)).SerializeToString()

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(handler.stream_stream, None, more)
        return grpc.stream_unary_rpc_method_handler(handler.stream_unary, None, more)


def client(world: World, member: str, folder: Path, role: Role = Role.PIPELINE) -> ExchangeClient:
    return ExchangeClient(client_config(world.exchange, world.app.port, member, folder / member / role.word, role))


async def exchanged(world: World, folder: Path) -> bytes:
    """Publish and receive a signal; return its id."""
    async with client(world, "alpha", folder) as alpha, client(world, "beta", folder) as beta:
        async with alpha.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal()])
        assert outcome.receipt is not None
        deliveries = beta.subscribe(UK, acknowledges=True)
        async with aclosing(deliveries):
            async for delivery in deliveries:
                if delivery.index == outcome.receipt.index:
                    beta.acknowledge(delivery)
                    (signal,) = delivery.signals
                    assert signal.signal_id == outcome.signal_id
                    return signal.signal_id
    raise AssertionError


async def test_a_hub_that_lacks_calls_serves_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("Report", "Referral"):
        name = f"exchange.api.server.{service.lower()}_pb2_grpc.add_{service}ServiceServicer_to_server"
        monkeypatch.setattr(name, lambda servicer, server: None)
    world = await open_world(tmp_path / "world")
    try:
        await exchanged(world, tmp_path)
        async with client(world, "alpha", tmp_path, Role.LIAISON) as liaison:
            for ask in (liaison.lag(UK), liaison.activity(UK)):
                with pytest.raises(Rejected, match="unimplemented") as caught:
                    await ask
                assert caught.value.reason is Reason.UNIMPLEMENTED
                assert "docs/upgrade.md" in caught.value.hint
            assert (await liaison.who_am_i()).member == "alpha"
    finally:
        await world.aclose()


@pytest.fixture
async def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, SaysMore]]:
    """A hub whose every answer says more, in every message of it."""
    plain, more = grpc.aio.server, SaysMore()

    @functools.wraps(plain)
    def server(*, interceptors: Any, **options: Any) -> grpc.aio.Server:
        return plain(interceptors=(more, *interceptors), **options)

    monkeypatch.setattr("exchange.api.server.grpc.aio.server", server)
    world = await open_world(tmp_path / "world")
    yield world, more
    await world.aclose()


async def test_what_a_later_hub_says_besides_changes_nothing(later: tuple[World, SaysMore], tmp_path: Path) -> None:
    world, more = later
    signal_id = await exchanged(world, tmp_path)
    async with client(world, "alpha", tmp_path, Role.LIAISON) as liaison:
        assert {each.id for each in await liaison.members(UK)} >= {"alpha", "beta"}
        assert UK in {each.origin for each in await liaison.communities()}
        assert await liaison.elections(UK) == ()
        assert await liaison.guidance(UK) == ()
        assert (await liaison.signal(UK, signal_id)).publisher == "alpha"
        assert (await liaison.lag(UK)).size > 0
        assert sum(row.signals for row in await liaison.activity(UK)) >= 1
        assert not (await liaison.key_epochs(UK)).entries
    asked = {"PublishStream", "Subscribe", "Probe", "ListEntries", "ListMembers", "GetSignal", "GetLagReport"}
    assert more.calls >= asked
