"""Callers the hub must refuse: wrong certificates and TLS versions, lost standing, wrong cursors, used-up budgets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, TrailersReceived

from exchange.domain.bodies import Key, Quota, State
from exchange.domain.kinds import Role
from exchange.errors import Reason
from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.merkle import CompactRange, leaf_hash
from exchange.ledger.note import Verifier
from exchange.ops.certificates import Files, authority_files, create_authority, issue, issued_files
from exchange.v1 import directory_pb2 as dir_pb
from exchange.v1 import directory_pb2_grpc, feed_pb2, ledger_pb2
from tests.e2e.answers import Refusal, refusal
from tests.e2e.certificates import forge
from tests.e2e.drafts import record, signal
from tests.e2e.exchange_fixture import DIRECTORY, NAME, SIDE, TIMEOUT_S, UK, Party, World
from tests.e2e.follower import Follower
from tests.e2e.new_community import new_community

pytestmark = pytest.mark.e2e

ALPHA_URI = f"spiffe://{NAME}/member/alpha/pipeline"


async def who_am_i(world: World, files: Files | None) -> dir_pb.WhoAmIResponse:
    """Ask the hub who it takes a certificate's holder for."""
    channel = world.exchange.channel(world.app.port, files)
    try:
        return await directory_pb2_grpc.DirectoryServiceStub(channel).WhoAmI(dir_pb.WhoAmIRequest(), timeout=TIMEOUT_S)
    finally:
        await channel.close()


async def refused_connection(world: World, files: Files | None) -> Refusal:
    async with world.unchanged():
        return await refusal(who_am_i(world, files))


async def test_without_a_certificate_there_is_no_connection(world: World) -> None:
    assert (await refused_connection(world, None)).code is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_refused(world: World, tmp_path: Path) -> None:
    create_authority(tmp_path / "pki", NAME)
    issue(tmp_path / "pki", "alpha", "pipeline")
    refused = await refused_connection(world, issued_files(tmp_path / "pki", "alpha", "pipeline"))
    assert refused.code is grpc.StatusCode.UNAVAILABLE


async def test_expired_and_early_certificates_are_refused(world: World) -> None:
    for begin, end in ((timedelta(days=-2), timedelta(days=-1)), (timedelta(days=1), timedelta(days=2))):
        files = forge(world.exchange.pki, [ALPHA_URI], begin=begin, end=end)
        assert (await refused_connection(world, files)).code is grpc.StatusCode.UNAVAILABLE


async def test_a_servers_certificate_is_no_clients(world: World) -> None:
    files = forge(world.exchange.pki, [ALPHA_URI], usage=ExtendedKeyUsageOID.SERVER_AUTH)
    assert (await refused_connection(world, files)).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "uris",
    [
        pytest.param([], id="no_uri"),
        pytest.param(["spiffe://other.exchange/member/alpha/pipeline"], id="another_trust_domain"),
        pytest.param([f"spiffe://{NAME}/member/alpha/root"], id="unknown_role"),
        pytest.param([f"spiffe://{NAME}/member/alpha"], id="no_role"),
        pytest.param([f"spiffe://{NAME}/member/alpha/pipeline/more"], id="longer_path"),
        pytest.param([f"spiffe://{NAME}/member/Alpha/pipeline"], id="upper_case"),
        pytest.param([f"https://{NAME}/member/alpha/pipeline"], id="not_spiffe"),
        pytest.param([ALPHA_URI, f"spiffe://{NAME}/member/operator/operator"], id="two_identities"),
    ],
)
async def test_a_certificate_that_names_no_workload_is_unauthenticated(world: World, uris: list[str]) -> None:
    refused = await refused_connection(world, forge(world.exchange.pki, uris, common_name="operator operator"))
    assert refused.code is grpc.StatusCode.UNAUTHENTICATED
    assert refused.reason == Reason.UNAUTHENTICATED.value
    assert "spiffe://" in refused.metadata["hint"]


@pytest.mark.parametrize("who", ["nobody/pipeline", "alpha/operator", "police/liaison", "operator/automation"])
async def test_a_workload_that_the_directory_does_not_know_is_denied(world: World, who: str) -> None:
    refused = await refused_connection(world, forge(world.exchange.pki, [f"spiffe://{NAME}/member/{who}"]))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert refused.reason == Reason.NOT_PERMITTED.value


async def test_identity_is_the_uri_and_never_the_common_name(world: World) -> None:
    found = await who_am_i(world, forge(world.exchange.pki, [ALPHA_URI], common_name="operator operator"))
    assert (found.member, int(found.role)) == ("alpha", Role.PIPELINE)


async def raw_call(world: World, version: ssl.TLSVersion) -> dict[str, str]:
    """Call WhoAmI over TLS of one version with plain h2; return the trailers. Raises OSError when refused earlier."""
    files = issued_files(world.exchange.pki, "alpha", "pipeline")
    context = ssl.create_default_context(cafile=str(authority_files(world.exchange.pki).certificate))
    context.load_cert_chain(files.certificate, files.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("localhost", world.app.port, ssl=context)
    try:
        connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        path = "/exchange.v1.DirectoryService/WhoAmI"
        headers = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost"}
        connection.send_headers(1, [*headers.items(), ("content-type", "application/grpc"), ("te", "trailers")])
        connection.send_data(1, bytes(5), end_stream=True)
        writer.write(connection.data_to_send())
        async with asyncio.timeout(TIMEOUT_S):
            return await _trailers(reader, writer, connection)
    finally:
        writer.close()


async def _trailers(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: H2Connection
) -> dict[str, str]:
    found: dict[str, str] = {}
    while data := await reader.read(65_536):
        for event in connection.receive_data(data):
            if isinstance(event, TrailersReceived | ResponseReceived):
                found |= {str(name): str(value) for name, value in event.headers or ()}
            if isinstance(event, StreamEnded | ConnectionTerminated):
                return found
        writer.write(connection.data_to_send())
    return found


async def test_tls_1_2_is_refused_and_1_3_is_not(world: World) -> None:
    assert (await raw_call(world, ssl.TLSVersion.TLSv1_3))["grpc-status"] == "0"
    async with world.unchanged():
        try:
            found = await raw_call(world, ssl.TLSVersion.TLSv1_2)
        except OSError:
            return
    assert found["grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0])
    assert "TLS" in found["grpc-message"]


async def test_a_suspended_member_may_not_publish(world: World) -> None:
    await world.registrar.enrol("sus.publisher")
    party = world.party("sus.publisher")
    await party.publish(signal("sus.publisher", UK))
    await world.registrar.suspend("sus.publisher")
    async with world.unchanged():
        refused = await refusal(party.publish(signal("sus.publisher", UK)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.NOT_PERMITTED.value)
    await world.registrar.suspend("sus.publisher", state=State.ENDED)
    await party.publish(signal("sus.publisher", UK))


async def test_a_revoked_key_signs_nothing_and_its_workload_gets_nothing(world: World) -> None:
    await world.registrar.enrol("lost.key")
    party = world.party("lost.key")
    old = signal("lost.key", UK)
    await party.publish(old)
    spare = SigningKey(b"\x07" * 32)
    await world.registrar.say(Key("lost.key", Role.PIPELINE, spare.public_key, State.ACTIVE))
    await world.registrar.say(Key("lost.key", Role.PIPELINE, party.key.public_key, State.ENDED))
    async with world.unchanged():
        refused = await refusal(party.publish(signal("lost.key", UK)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.WRONG_KEY.value)
        assert (await refusal(party.publish(old))).reason == Reason.WRONG_KEY.value
    await party.publish(signal("lost.key", UK).sign(spare))
    await world.registrar.say(Key("lost.key", Role.PIPELINE, spare.public_key, State.ENDED))
    refused = await refusal(party.checkpoint(UK))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.NOT_PERMITTED.value)


async def test_a_revoked_role_gets_nothing_and_the_other_role_stays(world: World) -> None:
    await world.registrar.enrol("lost.role")
    await world.registrar.suspend("lost.role", Role.PIPELINE)
    async with world.unchanged():
        refused = await refusal(world.party("lost.role").publish(signal("lost.role", UK)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.NOT_PERMITTED.value)
        assert (await refusal(world.party("lost.role").checkpoint(UK))).reason == Reason.NOT_PERMITTED.value
    assert await world.party("lost.role", Role.LIAISON).checkpoint(UK)


async def test_what_is_not_ours_looks_like_what_does_not_exist(world: World) -> None:
    alpha = world.party("alpha")
    answers = []
    for origin in (SIDE, f"{NAME}/nowhere", "other.exchange/uk", ""):
        request = feed_pb2.SubscribeRequest(origin=origin)
        listing = ledger_pb2.ListEntriesRequest(origin=origin)
        first = await refusal(alpha.feed.Subscribe(request, timeout=TIMEOUT_S).read())
        second = await refusal(alpha.ledger.ListEntries(listing, timeout=TIMEOUT_S))
        third = await refusal(alpha.checkpoint(origin))
        answers += [first, second, third]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_cursor_above_the_size_is_told_the_size(world: World) -> None:
    alpha = world.party("alpha")
    async with world.unchanged():
        size = (await world.heads())[UK].sealed.size
        for cursor in (size + 1, 2**63, 2**64 - 1):
            request = feed_pb2.SubscribeRequest(origin=UK, cursor=cursor)
            page = ledger_pb2.ListEntriesRequest(origin=UK, start=cursor)
            leaves = ledger_pb2.ListLeavesRequest(origin=UK, start=cursor)
            for refused in (
                await refusal(alpha.feed.Subscribe(request, timeout=TIMEOUT_S).read()),
                await refusal(alpha.ledger.ListEntries(page, timeout=TIMEOUT_S)),
                await refusal(alpha.ledger.ListLeaves(leaves, timeout=TIMEOUT_S)),
            ):
                assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "cursor_above_size")
                assert refused.metadata["sealed_size"] == str(size)


@asynccontextmanager
async def archived(world: World, origin: str) -> AsyncIterator[int]:
    """A community of its own with 300 entries, its first bundle archived; gives the floor."""
    await new_community(world, origin, public_entries=True)
    await world.registrar.enrol("archivist", communities=(origin,))
    party = world.party("archivist")
    drafts = [signal("archivist", origin).sign(party.key) for _ in range(300)]
    results = await party.stream(drafts)
    assert all(result.HasField("receipt") for result in results)
    assert await world.app._logs[origin].history.archive(299) == 256
    yield 256


async def leaves_below(party: Party, origin: str, world: World) -> int:
    """Read all leaves, those below the floor too; return how many make the tree that was signed."""
    tree = open_checkpoint(await party.checkpoint(origin), world.exchange.verifier(origin))
    range_ = CompactRange()
    while range_.size < tree.size:
        request = ledger_pb2.ListLeavesRequest(origin=origin, start=range_.size, limit=200)
        answer = await party.ledger.ListLeaves(request, timeout=TIMEOUT_S)
        assert 0 < len(answer.leaves) <= 200
        assert answer.sealed_size == tree.size
        range_ = range_.extend(map(leaf_hash, answer.leaves))
    assert range_.root() == tree.root
    return range_.size


async def test_a_cursor_below_the_floor_is_told_the_floor(world: World) -> None:
    origin = f"{NAME}/old"
    async with archived(world, origin) as floor, world.unchanged():
        party = world.party("archivist")
        for cursor in (0, floor - 1):
            request = feed_pb2.SubscribeRequest(origin=origin, cursor=cursor)
            page = ledger_pb2.ListEntriesRequest(origin=origin, start=cursor)
            for refused in (
                await refusal(party.feed.Subscribe(request, timeout=TIMEOUT_S).read()),
                await refusal(party.ledger.ListEntries(page, timeout=TIMEOUT_S)),
            ):
                assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "cursor_below_floor")
                assert refused.metadata["floor"] == str(floor)
        assert await leaves_below(party, origin, world) == 300
        follower = await Follower.start(party, world.exchange.verifier(origin), cursor=floor)
        await follower.reach(300)
        assert follower.hello.floor == floor
        await follower.stop()


async def test_bad_checkpoints_filters_and_probes_are_refused(world: World) -> None:
    alpha = world.party("alpha")
    directory_note = await alpha.checkpoint(DIRECTORY)
    async with world.unchanged():
        for note in (b"garbage", directory_note, (await alpha.checkpoint(UK)).replace(b"\n\n", b"\nx\n\n")):
            request = feed_pb2.SubscribeRequest(origin=UK, last_checkpoint=note)
            refused = await refusal(alpha.feed.Subscribe(request, timeout=TIMEOUT_S).read())
            assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
            assert refused.reason in {Reason.BAD_CHECKPOINT.value, Reason.BAD_SIGNATURE.value}
        wide = feed_pb2.SubscribeRequest(origin=UK, filter=feed_pb2.Filter(elections=[b"e"] * 257))
        assert (await refusal(alpha.feed.Subscribe(wide, timeout=TIMEOUT_S).read())).reason == "too_large"
        probe = feed_pb2.ProbeRequest(origin=UK, state=b"s" * 65)
        assert (await refusal(alpha.feed.Probe(probe, timeout=TIMEOUT_S))).reason == "too_large"


async def test_wrong_proof_requests_are_refused(world: World) -> None:
    alpha = world.party("alpha")
    size = (await world.heads())[UK].sealed.size
    async with world.unchanged():
        for index, of in ((size, 0), (0, size + 1), (5, 5), (2**64 - 1, 0)):
            request = ledger_pb2.GetInclusionProofRequest(origin=UK, index=index, size=of)
            refused = await refusal(alpha.ledger.GetInclusionProof(request, timeout=TIMEOUT_S))
            assert refused.code is grpc.StatusCode.NOT_FOUND
        for old, new in ((size + 1, 0), (3, 2)):
            consistency = ledger_pb2.GetConsistencyProofRequest(origin=UK, old_size=old, new_size=new)
            refused = await refusal(alpha.ledger.GetConsistencyProof(consistency, timeout=TIMEOUT_S))
            assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_over_quota_is_told_when_to_come_back(world: World) -> None:
    await world.registrar.enrol("eager")
    await world.registrar.say(Quota("eager", records_per_minute=10, statements_per_minute=4, streams=2))
    party = world.party("eager")
    await party.publish(signal("eager", UK, records=[record() for _ in range(8)]))
    async with world.unchanged():
        for records in (6, 6, 6):
            refused = await refusal(party.publish(signal("eager", UK, records=[record() for _ in range(records)])))
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVER_QUOTA.value)
            assert refused.retry_ms is not None
            assert 0 < refused.retry_ms <= 60_000
        many = signal("eager", UK, records=[record() for _ in range(6)])
        (result,) = await party.stream([many.sign(party.key)])
        assert result.rejection.reason == Reason.OVER_QUOTA.value
        assert result.rejection.retry_after_ms > 0


async def admitted(party: Party, verifier: Verifier) -> Follower:
    """Subscribe as soon as the hub has noticed that an earlier stream is gone."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await Follower.start(party, verifier)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
            await asyncio.sleep(0.01)


async def test_streams_over_quota_are_refused_until_one_ends(world: World) -> None:
    await world.registrar.enrol("streamer")
    await world.registrar.say(Quota("streamer", records_per_minute=0, statements_per_minute=0, streams=2))
    party, verifier = world.party("streamer"), world.exchange.verifier(UK)
    live = [await Follower.start(party, verifier) for _ in range(2)]
    refused = await refusal(Follower.start(party, verifier))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVER_QUOTA.value)
    assert refused.retry_ms
    for _ in range(10):
        await live.pop(0).stop()
        live.append(await admitted(party, verifier))
    for follower in live:
        await follower.stop()


async def test_a_refusal_charges_nothing(world: World) -> None:
    await world.registrar.enrol("frugal")
    await world.registrar.say(Quota("frugal", records_per_minute=10, statements_per_minute=4, streams=0))
    party = world.party("frugal")
    await party.publish(signal("frugal", UK, records=[record() for _ in range(8)]))
    for _ in range(3):
        await refusal(party.publish(signal("frugal", UK, records=[record() for _ in range(6)])))
    await party.publish(signal("frugal", UK))


async def test_a_statement_that_can_never_fit_its_quota_is_not_told_to_come_back_at_once(world: World) -> None:
    await world.registrar.enrol("hopeless")
    await world.registrar.say(Quota("hopeless", records_per_minute=10, statements_per_minute=0, streams=0))
    party = world.party("hopeless")
    async with world.unchanged():
        refused = await refusal(party.publish(signal("hopeless", UK, records=[record() for _ in range(11)])))
    assert refused.retry_ms is None or refused.retry_ms >= 1_000
