"""A proxy on the way to the hub: the doctor goes where gRPC goes, and tells where the proxy does not lead there."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest

from exchange.cli.doctor import connection
from exchange.cli.doctor.connection import look_at_address
from exchange.cli.doctor.finding import BAD, GOOD
from exchange.cli.doctor.proxy import proxy_to
from exchange_client import ClientConfig
from tests.unit.cli.test_doctor_connections import Act, answering, client, listening, shut, silent, tls, unreadable

__all__ = ("client", "tls")

#: What must not be set by whoever runs this.
NAMES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")
#: Environments, each with the host that is asked for, and the variable whose proxy is taken.
WAYS = [
    ({}, "hub.example", ""),
    ({"https_proxy": "http://PROXY"}, "hub.example", "https_proxy"),
    ({"https_proxy": "http://PROXY"}, "localhost", "https_proxy"),
    ({"http_proxy": "http://PROXY/"}, "hub.example", "http_proxy"),
    ({"HTTPS_PROXY": "http://PROXY"}, "hub.example", ""),
    ({"http_proxy": "http://PROXY", "https_proxy": "http://localhost:9"}, "hub.example", "https_proxy"),
    ({"http_proxy": "http://PROXY", "grpc_proxy": ""}, "hub.example", ""),
    ({"https_proxy": "https://PROXY"}, "hub.example", ""),
    ({"https_proxy": "PROXY"}, "hub.example", ""),
    ({"https_proxy": "http://[PROXY"}, "hub.example", ""),
    ({"https_proxy": "http://us%40er:pass@PROXY"}, "hub.example", "https_proxy"),
    ({"https_proxy": "http://PROXY", "no_proxy": "other, Hub.Example"}, "hub.example", ""),
    ({"https_proxy": "http://PROXY", "no_proxy": "example"}, "hub.example", ""),
    ({"https_proxy": "http://PROXY", "no_proxy": "*.example"}, "hub.example", "https_proxy"),
    ({"https_proxy": "http://PROXY", "no_proxy": "10.1.0.0/16"}, "10.1.2.3", ""),
    ({"https_proxy": "http://PROXY", "no_proxy": "10.1.0.0/16"}, "10.2.2.3", "https_proxy"),
    ({"https_proxy": "http://PROXY", "no_proxy": "10.1.2.3/16"}, "10.1.9.9", ""),
    ({"https_proxy": "http://PROXY", "no_proxy": "hub.example", "no_grpc_proxy": ""}, "hub.example", "https_proxy"),
]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("environment", "host", "variable"), WAYS)
def test_the_proxy_of_an_environment(environment: dict[str, str], host: str, variable: str) -> None:
    found = proxy_to(host, {name: value.replace("PROXY", "127.0.0.1:3128") for name, value in environment.items()})
    assert (found.variable if found else "") == variable


def test_a_proxy_without_a_port_is_asked_where_grpc_asks_it() -> None:
    """Its resolver's default, whatever the scheme: seen of gRPC 1.85, which says the port where it fails to connect."""
    found = proxy_to("hub.example", {"https_proxy": "http://127.0.0.1"})
    assert found is not None
    assert found.port == 443


def test_a_proxy_whose_name_can_be_no_hosts_is_told(client: ClientConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://our proxy:3128")
    (found,) = look_at_address(client, "localhost:7443")
    assert (found.what, found.state) == ("address localhost:7443", BAD)


@pytest.mark.parametrize(("environment", "host", "variable"), WAYS)
async def test_grpc_takes_the_same(
    environment: dict[str, str], host: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules are gRPC's own, so they are held against it: it connects to the proxy, or it does not."""
    asked = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).startswith(b"CONNECT " + host.encode()):
            asked.set()
        writer.close()

    proxy = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("PROXY", f"127.0.0.1:{port}"))
    taken = bool(variable) and "PROXY" in environment[variable]
    async with proxy, grpc.aio.secure_channel(f"{host}:7443", grpc.ssl_channel_credentials()) as channel:
        channel.get_state(try_to_connect=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), 10 if taken else 0.3)
    assert asked.is_set() == taken


@contextmanager
def proxying(port: int, heard: list[bytes]) -> Iterator[int]:
    """Lead whoever asks to this port, wherever it asks for."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def act(accepted: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (more := accepted.recv(4096)):
                return
            request += more
        heard.append(request)
        with socket.create_connection(("127.0.0.1", port)) as hub:
            accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pump, args=(hub, accepted))
            back.start()
            pump(accepted, hub)
            back.join()

    with listening(act) as own:
        yield own


def test_the_way_through_a_proxy_is_walked_whole(
    client: ClientConfig, tls: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    with listening(tls) as port, proxying(port, heard) as proxy:
        monkeypatch.setenv("https_proxy", f"http://own:word@127.0.0.1:{proxy}")
        found = list(look_at_address(client, "localhost:7443"))
    assert {each.state for each in found} == {GOOD}
    assert found[0].detail == f"reached through the proxy 127.0.0.1:{proxy} (`https_proxy`)"
    assert {request.split()[1] for request in heard} == {b"localhost:7443"}
    assert all(b"Proxy-Authorization: Basic b3duOndvcmQ=\r\n" in request for request in heard)


def test_a_proxy_is_asked_for_an_ipv6_address_in_brackets(
    client: ClientConfig, tls: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    with listening(tls) as port, proxying(port, heard) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy}")
        found = list(look_at_address(client, "[::1]:7443"))
    assert (found[0].state, len(heard) > 0) == (GOOD, True)
    assert {request.split()[1] for request in heard} == {b"[::1]:7443"}
    assert all(b"\r\nHost: [::1]:7443\r\n" in request for request in heard)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (answering(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "403"),
        (unreadable, "as no proxy does"),
        (shut, ""),
        (silent, "timed out"),
    ],
)
def test_a_proxy_that_does_not_lead_there_is_told(
    client: ClientConfig, act: Act, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.2)
    with listening(act) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy}")
        (found,) = look_at_address(client, "localhost:7443")
    assert (found.what, found.state) == ("address localhost:7443", BAD)
    assert f"the proxy 127.0.0.1:{proxy} (`https_proxy`) does not lead there" in found.detail
    assert words in found.detail
    assert "name localhost in `no_proxy`" in found.hint
