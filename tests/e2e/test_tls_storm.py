"""Many members connect at once, also while the hub's certificate is being replaced: its process must live."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from exchange.ops.certificates import Files, issue, issued_files
from exchange.v1 import directory_pb2 as dir_pb
from exchange.v1 import directory_pb2_grpc
from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import TIMEOUT_S, Exchange

pytestmark = pytest.mark.e2e

AT_ONCE = 50
CHANGES = 3


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[ChildHub]:
    hub = await ChildHub.start(await Exchange.found(tmp_path / "storm"))
    yield hub
    await hub.aclose()


async def serial(port: int) -> int:
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("localhost", port), timeout=TIMEOUT_S)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def connect_all(child: ChildHub) -> None:
    """Connect many at once, each with a handshake of its own; every one must be answered."""
    files = issued_files(child.exchange.pki, "operator", "operator")
    channels = [child.exchange.channel(child.port, files) for _ in range(AT_ONCE)]
    stubs = [directory_pb2_grpc.DirectoryServiceStub(channel) for channel in channels]
    try:
        answers = await asyncio.gather(*(stub.WhoAmI(dir_pb.WhoAmIRequest(), timeout=TIMEOUT_S) for stub in stubs))
        assert {answer.member for answer in answers} == {"operator"}
    finally:
        for channel in channels:
            await channel.close()


def put(files: Files, into: Files) -> None:
    for source, target in ((files.key, into.key), (files.certificate, into.certificate)):
        new = target.with_suffix(".new")
        new.write_bytes(source.read_bytes())
        new.replace(target)


async def test_a_storm_of_connections_leaves_the_hub_alive_also_while_its_certificate_changes(child: ChildHub) -> None:
    for _ in range(5):
        await connect_all(child)
    pki = child.exchange.pki
    for number in range(CHANGES):
        fresh = issue(pki, f"hub{number}", "server", kind="server", hosts=("localhost",))
        wanted = x509.load_pem_x509_certificate(fresh.certificate.read_bytes()).serial_number
        put(fresh, issued_files(pki, "hub", "server", "server"))
        async with asyncio.timeout(TIMEOUT_S):
            while await serial(child.port) != wanted:
                await connect_all(child)
    await connect_all(child)
    assert child.process.returncode is None
