"""What breaks while the doctor looks is a finding: whoever hangs up does so at the connection that a test says."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import pytest

from exchange.cli.doctor import connection, hub
from exchange.cli.doctor.connection import look_at_address
from exchange.cli.doctor.finding import BAD, GOOD, WARN
from exchange.cli.doctor.hub import ask
from exchange.ops.certificates import authority_files, create_authority, issue
from exchange_client import ClientConfig

Act = Callable[[socket.socket], None]
#: The connections that a hub with nothing wrong gets, one after the other, each with what it is looked at for.
LOOKS = ("address", "TLS of", *["hub's certificate at"] * 3, "our certificate at")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def listening(*acts: Act) -> Iterator[int]:
    """Treat each connection as the next act does, the last one for ever; yields the port."""
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            for act in chain(acts, repeat(acts[-1])):
                accepted, _ = server.accept()
                with accepted, suppress(OSError):
                    if stopping.is_set():
                        return
                    accepted.settimeout(10)
                    act(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            stopping.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


def reset(accepted: socket.socket) -> None:
    """Hang up in the middle of what is said, with a reset."""
    accepted.recv(1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def shut(accepted: socket.socket) -> None:
    """Hang up at once."""


def answering(answer: bytes) -> Act:
    """Answer so, whatever is asked."""

    def act(accepted: socket.socket) -> None:
        accepted.recv(4096)
        accepted.sendall(answer)

    return act


def unreadable(accepted: socket.socket) -> None:
    """Say bytes of no protocol."""
    answering(bytes(range(0x80, 0x100)))(accepted)


def silent(accepted: socket.socket) -> None:
    """Say nothing until the other side gives up."""
    while accepted.recv(4096):
        pass


@pytest.fixture
def client(tmp_path: Path) -> ClientConfig:
    """A client of an authority of its own."""
    pki = tmp_path / "pki"
    create_authority(pki, "test.exchange")
    own = issue(pki, "alpha", "pipeline")
    return ClientConfig(
        addresses=(),
        exchange="test.exchange",
        member="alpha",
        role="pipeline",
        certificate=own.certificate,
        key=own.key,
        authority=authority_files(pki).certificate,
        signing_key=tmp_path / "signing.seed",
        genesis=bytes(32),
        state=tmp_path / "state",
    )


@pytest.fixture
def tls(tmp_path: Path, client: ClientConfig) -> Act:
    """Speaks TLS as a hub does."""
    files = issue(tmp_path / "pki", "hub", "server", kind="server", hosts=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])

    def act(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as connected:
            if connected.recv(1):
                connected.sendall(b"settings")

    return act


def test_a_hub_with_nothing_wrong_is_looked_at_over_so_many_connections(client: ClientConfig, tls: Act) -> None:
    with listening(tls) as port:
        found = list(look_at_address(client, f"localhost:{port}"))
    assert [(each.what, each.state) for each in found] == [
        (f"{what} localhost:{port}", GOOD) for what in dict.fromkeys(LOOKS)
    ]


@pytest.mark.parametrize("breaks", [reset, shut, unreadable])
@pytest.mark.parametrize("held", range(1, len(LOOKS)))
def test_whoever_hangs_up_between_two_handshakes_is_told(
    client: ClientConfig, tls: Act, held: int, breaks: Act
) -> None:
    with listening(*[tls] * held, breaks) as port:
        *good, last = look_at_address(client, f"localhost:{port}")
    assert {each.state for each in good} == {GOOD}
    assert (last.what, last.state) == (f"{LOOKS[held]} localhost:{port}", BAD)
    assert last.detail
    assert last.hint


def test_a_name_that_can_be_no_hosts_is_told(client: ClientConfig) -> None:
    (found,) = look_at_address(client, "hub..example:7443")
    assert (found.what, found.state) == ("address hub..example:7443", BAD)
    assert "names of hosts" in found.hint


def test_a_hub_that_serves_is_ready_whatever_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with listening(answering(OK)) as port:
        found = ask(f"127.0.0.1:{port}")
    assert (found.state, found.detail) == (GOOD, "ready")


def test_a_hub_that_waits_says_why() -> None:
    body = b'{"status": "waiting", "waiting": {"store": "no answer"}}'
    with listening(answering(b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))) as port:
        found = ask(f"127.0.0.1:{port}")
    assert (found.state, found.detail) == (BAD, "not ready: store: no answer")


@pytest.mark.parametrize("act", [reset, shut, unreadable, silent, answering(b"HTTP/1.1 twenty\r\n\r\n")])
def test_what_answers_and_is_no_hub_is_told(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_ASK_S", 0.2)
    with listening(act) as port:
        found = ask(f"127.0.0.1:{port}")
    assert found.state == BAD
    assert "does not answer as a hub does (" in found.detail
    assert found.hint


def test_half_an_answer_says_no_reason() -> None:
    with listening(answering(b"HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\n{")) as port:
        found = ask(f"127.0.0.1:{port}")
    assert found.state == BAD


def test_where_nobody_listens_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert ask(f"127.0.0.1:{port}").state == WARN


def test_who_says_nothing_is_not_waited_for_without_end(client: ClientConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.2)
    with listening(silent) as port:
        *_, last = look_at_address(client, f"localhost:{port}")
    assert (last.what, last.state) == (f"TLS of localhost:{port}", BAD)
