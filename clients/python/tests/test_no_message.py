"""A hub that says what is no message: each call ends with an error of ours, never with grpc's None."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from clients.python.tests.speech import statement
from exchange.errors import Reason, Rejected
from exchange_client.transport import Transport
from exchange_client.wire import Filter

#: A field's tag and length, and nothing behind it.
NO_MESSAGE = b"\x0a\xff\x01"


class Garbling(grpc.GenericRpcHandler):
    """Answers every call with the same bytes."""

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.rpartition("/")[2]

        async def unary(request: bytes, context: Any) -> bytes:
            return NO_MESSAGE

        async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
            yield NO_MESSAGE

        if name == "Subscribe":
            return grpc.unary_stream_rpc_method_handler(stream)
        if name == "PublishStream":
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@pytest.fixture
async def transport(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Transport]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Garbling(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setattr(
        grpc.aio, "secure_channel", lambda *_, options: grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
    )
    client, _ = client_of(FakeHub(), tmp_path)
    made = Transport(client._config, client._identity)
    yield made
    await made.aclose()
    await server.stop(None)


async def _subscribe(transport: Transport) -> None:
    async for _ in transport.subscribe(UK, 0, b"", Filter()):
        pass


async def _stream(transport: Transport) -> None:
    async with transport.publish_stream(lambda: None) as stream:
        async for _ in stream.results():
            pass


CALLS: dict[str, Callable[[Transport], Awaitable[object]]] = {
    "who am I": lambda t: t.who_am_i(),
    "members": lambda t: t.members(UK),
    "communities": lambda t: t.communities(),
    "entries": lambda t: t.entries(UK, 0),
    "checkpoint": lambda t: t.checkpoint(UK),
    "inclusion proof": lambda t: t.inclusion_proof(UK, 0, 1),
    "publish": lambda t: t.publish(statement(FakeHub())),
    "publish stream": _stream,
    "subscribe": _subscribe,
    "probe": lambda t: t.probe(UK, b""),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_no_message_is_an_error_of_ours(
    transport: Transport, call: Callable[[Transport], Awaitable[object]]
) -> None:
    with pytest.raises(Rejected) as caught:
        await call(transport)
    assert caught.value.reason is Reason.MALFORMED
