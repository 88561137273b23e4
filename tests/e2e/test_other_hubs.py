"""The SDK of this release with hubs of others: one that lacks calls, and one that says more than is known here."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from exchange.domain.kinds import Role
from exchange.errors import Reason, Rejected
from exchange_client import ExchangeClient
from tests.compat.earlier import HERE, RELEASES
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


#: What a hub may not know of the oldest protocol that is kept, so that the SDK can do without it: fields of messages.
_LACKING = {
    "GetLagReportRequest": {"election", "page"},
    "GetLagReportResponse": {"clocks", "next_page"},
    "GetSignalResponse": {"dispositions", "opinions"},
    "MemberSummary": {"display_name", "keys"},
    "ProbeResponse": {"hub_time_ms"},
    "Receipt": {"repeated_statement"},
    "WhoAmIResponse": {"hub_time_ms"},
}

Retelling = Callable[[Descriptor, bytes], bytes]


def more(kind: Descriptor, data: bytes) -> bytes:
    """Return a message as a later hub would have it."""
    return say_more(GetMessageClass(kind).FromString(data)).SerializeToString()


def oldest() -> FileDescriptorSet:
    return FileDescriptorSet.FromString((HERE / RELEASES[0] / "protos.binpb").read_bytes())


def known_then() -> set[str]:
    """Return the calls of the oldest release."""
    services = [(file.package, service) for file in oldest().file for service in file.service]
    return {f"{package}.{service.name}/{each.name}" for package, service in services for each in service.method}


def older() -> Retelling:
    """Return what makes of a message what a hub of less than the oldest release would read, or write."""
    pool = DescriptorPool()
    for file in oldest().file:
        for message in file.message_type:
            kept = [each for each in message.field if each.name not in _LACKING.get(message.name, ())]
            assert len(message.field) - len(kept) == len(_LACKING.get(message.name, ()))
            del message.field[:]
            message.field.extend(kept)
        pool.Add(file)

    def less(kind: Descriptor, data: bytes) -> bytes:
        message = GetMessageClass(pool.FindMessageTypeByName(kind.full_name)).FromString(data)
        message.DiscardUnknownFields()
        return message.SerializeToString()

    return less


class Retold(grpc.aio.ServerInterceptor):
    """Makes of what goes in and out of a hub what it would be with another hub; remembers which calls it did so for."""

    def __init__(self, retell: Retelling, *, questions: bool, knows: set[str] | None = None) -> None:
        self.calls: set[str] = set()
        self._knows = knows
        self._retell = retell
        self._questions = questions

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        name = str(handler_call_details.method).lstrip("/")
        if self._knows is not None and name not in self._knows:
            return None
        method = descriptor_pool.Default().FindMethodByName(name.replace("/", "."))

        def ask(data: bytes) -> bytes:
            return self._retell(method.input_type, data) if self._questions else data

        def answer(said: Any) -> bytes:
            self.calls.add(name.rpartition("/")[2])
            data = said if handler.response_serializer is None else handler.response_serializer(said)
            return self._retell(method.output_type, data)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(handler.stream_stream, ask, answer)
        return grpc.stream_unary_rpc_method_handler(handler.stream_unary, ask, answer)


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


@asynccontextmanager
async def hub_of_another_release(folder: Path, between: Retold) -> AsyncIterator[World]:
    """Run a hub that is heard through what is between."""
    plain = grpc.aio.server

    @functools.wraps(plain)
    def server(*, interceptors: Any, **options: Any) -> grpc.aio.Server:
        return plain(interceptors=(between, *interceptors), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exchange.api.server.grpc.aio.server", server)
        world = await open_world(folder)
    try:
        yield world
    finally:
        await world.aclose()


@pytest.mark.parametrize("what", ["more", "less"])
async def test_what_another_hub_says_besides_or_leaves_out_stops_nothing(tmp_path: Path, what: str) -> None:
    between = Retold(more, questions=False) if what == "more" else Retold(older(), questions=True, knows=known_then())
    async with hub_of_another_release(tmp_path / "world", between) as world:
        signal_id = await exchanged(world, tmp_path)
        async with client(world, "alpha", tmp_path, Role.LIAISON) as liaison:
            assert {each.id for each in await liaison.members(UK)} >= {"alpha", "beta"}
            assert (await liaison.who_am_i()).member == "alpha"
            assert UK in {each.origin for each in await liaison.communities()}
            assert await liaison.elections(UK) == ()
            assert await liaison.guidance(UK) == ()
            assert (await liaison.signal(UK, signal_id)).publisher == "alpha"
            assert (await liaison.lag(UK)).size > 0
            assert sum(row.signals for row in await liaison.activity(UK)) >= 1
            assert not (await liaison.key_epochs(UK)).entries
    asked = {"PublishStream", "Subscribe", "Probe", "ListEntries", "ListMembers", "GetSignal", "GetLagReport", "WhoAmI"}
    assert between.calls >= asked
