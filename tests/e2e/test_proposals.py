"""What waits at a hub for operators' signatures: prepared, signed, published; refused; and there after a restart."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import codec
from exchange.config import Ops
from exchange.domain.bodies import Body, Key, Member, Membership, Retraction, RetractionReason, State, Suspension
from exchange.domain.kinds import MemberClass, Role
from exchange.domain.proposals import MAX_PROPOSALS_OF_MEMBER, Proposal
from exchange.domain.statement import HEADER_TYPE, Header
from exchange.errors import Reason
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange.ops.clocks import wall_ms
from exchange.stores.proposals_file import encoded, read_proposals
from exchange.v1 import admin_pb2 as pb
from exchange.v1 import admin_pb2_grpc, statement_pb2
from exchange_client import ExchangeClient
from tests.e2e.answers import Refusal, get, refusal
from tests.e2e.command_line import lines
from tests.e2e.drafts import DAY_MS
from tests.e2e.exchange_fixture import DIRECTORY, OPERATOR, TIMEOUT_S, UK, LocalHub, World, open_world
from tests.e2e.sdk_clients import a_signal, client_config
from tests.e2e.two_operators import exchange, operator

pytestmark = pytest.mark.e2e

OTHER = "second"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    opened = await open_world(tmp_path_factory.mktemp("proposals"), threshold=2)
    await opened.registrar.enrol(OTHER, MemberClass.OPERATOR, communities=(), roles=(Role.OPERATOR,))
    yield opened
    await opened.aclose()


async def restarted(world: World, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Stop the hub and start it again, at the same port."""
    port = world.app.port
    for party in world._parties.values():
        await party.channel.close()
    world._parties.clear()
    await world.hub.stop()
    meanwhile()
    ops = Ops(listen=f"127.0.0.1:{world.ops_port}")
    world.hub = await LocalHub().start(world.exchange.config(listen=f"127.0.0.1:{port}", ops=ops))


def admin(world: World, member: str = OPERATOR, role: Role = Role.OPERATOR) -> Any:
    return admin_pb2_grpc.AdminServiceStub(world.party(member, role).channel)


def draft(body: Body, origin: str = DIRECTORY, **more: Any) -> statement_pb2.Header:
    header = Header(origin, codec.kind_of(body), "", 0, b"", (), body)
    return statement_pb2.Header.FromString(codec.encode_header(replace(header, **more)))


def joining(member: str, community: str = UK) -> Membership:
    return Membership(member, community, State.ACTIVE)


async def prepared(world: World, *bodies: Body) -> pb.Proposal:
    request = pb.PrepareProposalRequest(drafts=[draft(body) for body in bodies])
    answer = await admin(world).PrepareProposal(request, timeout=TIMEOUT_S)
    assert isinstance(answer, pb.PrepareProposalResponse)
    return answer.proposal


def signed(proposal: pb.Proposal, key: SigningKey, *, of: bytes | None = None) -> pb.SignProposalRequest:
    """Sign it, or other bytes in its place."""
    payloads = [each.payload if of is None else of for each in proposal.statements]
    made = [
        statement_pb2.Signature(key_id=key.key_id, signature=key.sign(pae(HEADER_TYPE, payload)))
        for payload in payloads
    ]
    return pb.SignProposalRequest(proposal=proposal.summary.id, signatures=made)


async def waiting(world: World) -> list[bytes]:
    answer = await admin(world).ListProposals(pb.ListProposalsRequest(), timeout=TIMEOUT_S)
    return [each.id for each in answer.proposals]


async def test_a_new_member_is_prepared_read_signed_and_there_though_the_hub_was_restarted(
    world: World, tmp_path: Path
) -> None:
    (second_key,) = world.exchange.cosigners
    first, second = operator(world, tmp_path / "first"), operator(world, tmp_path / "second", second_key)
    public = SigningKey(b"k" * 32).public_key.hex()
    added = ("member", "add", "delta", "--role", "pipeline", "--key", f"pipeline={public}", "--community", "uk")
    told = lines((await exchange(*added, "--client", first, "--to-sign", "hub", "--json")).stdout)
    id_ = told[0]["proposal"]
    assert (len(id_), told[0]["statements"]) == (64, 3)
    file = world.exchange.folders.proposals
    assert file.stat().st_mode & 0o777 == 0o600
    await restarted(world)
    (listed,) = lines((await exchange("proposals", "list", "--client", second, "--json")).stdout)
    assert (listed["proposal"], listed["kinds"]) == (id_, ["member", "key", "membership"])
    assert (listed["needed"], len(listed["signed_by"]), listed["complete"]) == (2, 1, False)
    (shown,) = lines((await exchange("proposals", "show", id_, "--client", second, "--json")).stdout)
    assert (shown["needed"], shown["missing"]) == (2, told[0]["missing"]) == (2, "1 more operator key must sign it")
    refused = await exchange("proposals", "sign", id_[:12], "--client", second, stdin="n\n", code=1)
    for part in (
        f"PROPOSAL {id_}", "MEMBER in", "display_name: delta", public, "changes delta: name: - -> delta",
        f"changes delta: key {public} (pipeline): - -> in force", f"changes delta: communities: - -> {UK}", "1 more",
    ):  # fmt: skip
        assert part in refused.stderr, part
    blind = await exchange("proposals", "sign", id_[:12], "--client", second, "--yes", code=1)
    assert "--yes signs by the whole id alone" in blind.stderr
    done = lines((await exchange("proposals", "sign", id_, "--client", second, "--yes", "--json")).stdout)
    assert [each.get("signatures") for each in done] == [None, 2, 2, 2]
    entry = world.app._view.directory.members["delta"]
    assert (entry.communities, [key.public_key.hex() for key in entry.keys.values()]) == ({UK}, [public])
    assert await waiting(world) == []
    _, page = await get(world.ops_port, "/metrics")
    counted = re.findall(rb'proposals_total\{outcome="(\w+)"\} (\S+)', page)
    assert counted == [(b"signed", b"1.0"), (b"published", b"1.0")], "since the restart"


async def test_a_retraction_is_signed_by_another_operator_and_published_by_whose_it_is(
    world: World, tmp_path: Path
) -> None:
    alpha = client_config(world.exchange, world.app.port, "alpha", tmp_path / "alpha")
    first, other = operator(world, tmp_path / "first"), operator(world, tmp_path / "other", member=OTHER)
    async with ExchangeClient(alpha) as client:
        async with client.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal()], timeout_s=TIMEOUT_S)
        assert outcome.signal_id is not None
        said = ("retract", outcome.signal_id.hex(), "--reason", "legal", "--community", UK, "--client", first)
        (told,) = lines((await exchange(*said, "--to-sign", "hub", "--json")).stdout)
        id_ = told["proposal"]
        assert "no id of a proposal" in (await exchange("proposals", "show", id_[:7], "--client", first, code=1)).stderr
        few = await exchange("proposals", "submit", id_, "--client", first, code=1)
        assert "1 more operator key must sign it" in few.stderr
        assert (await client.signal(UK, outcome.signal_id)).retracted_at is None
        signing = await exchange("proposals", "sign", id_, "--client", other, "--yes")
        for part in ("RETRACTION in test.exchange/uk, in the name of operator", outcome.signal_id.hex()):
            assert part in signing.stderr
        assert "operator publishes it" in signing.stdout
        assert "alone can withdraw" in (await exchange("proposals", "withdraw", id_, "--client", other, code=1)).stderr
        assert "alone can publish" in (await exchange("proposals", "submit", id_, "--client", other, code=1)).stderr
        (submitted,) = lines((await exchange("proposals", "submit", id_, "--client", first, "--json")).stdout)
        assert (submitted["signatures"], submitted["repeated"]) == (2, False)
        assert (await client.signal(UK, outcome.signal_id)).retracted_at == submitted["index"]
    assert "no such proposal" in (await exchange("proposals", "show", id_, "--client", first, code=1)).stderr


@pytest.mark.parametrize(
    ("member", "role"),
    [
        ("alpha", Role.PIPELINE),
        ("alpha", Role.LIAISON),
        ("police", Role.AUTHORITY),
        ("watcher", Role.WITNESS),
    ],
)
async def test_who_is_no_operator_is_told_nothing(world: World, member: str, role: Role) -> None:
    there = (await prepared(world, joining("police"))).summary.id if not await waiting(world) else b""
    id_ = there or (await waiting(world))[0]
    stub, answers = admin(world, member, role), set[tuple[Any, str, str]]()
    for known in (id_, bytes(32)):
        for call in (
            stub.PrepareProposal(pb.PrepareProposalRequest(drafts=[draft(joining("alpha"))]), timeout=TIMEOUT_S),
            stub.SignProposal(pb.SignProposalRequest(proposal=known), timeout=TIMEOUT_S),
            stub.ListProposals(pb.ListProposalsRequest(), timeout=TIMEOUT_S),
            stub.GetProposal(pb.GetProposalRequest(proposal=known), timeout=TIMEOUT_S),
            stub.WithdrawProposal(pb.WithdrawProposalRequest(proposal=known), timeout=TIMEOUT_S),
        ):
            refused = await refusal(call)
            answers.add((refused.code, refused.reason, refused.message))
    assert [(code, reason) for code, reason, _ in answers] == [
        (grpc.StatusCode.PERMISSION_DENIED, Reason.NOT_PERMITTED.value)
    ]
    assert await waiting(world) == [id_]


async def test_a_signature_that_is_wrong_is_refused_and_changes_nothing(world: World, tmp_path: Path) -> None:
    (second_key,) = world.exchange.cosigners
    first_key, other_key = world.operator.key, world.exchange.keys[OTHER, Role.OPERATOR]
    proposal = await prepared(world, joining("alpha"), joining("beta"))
    await admin(world).SignProposal(signed(proposal, first_key), timeout=TIMEOUT_S)
    id_ = proposal.summary.id

    async def there() -> pb.Proposal:
        found = (await admin(world).GetProposal(pb.GetProposalRequest(proposal=id_), timeout=TIMEOUT_S)).proposal
        assert isinstance(found, pb.Proposal)
        return found

    async def why(request: pb.SignProposalRequest) -> str:
        before = await there()
        refused: Refusal = await refusal(admin(world).SignProposal(request, timeout=TIMEOUT_S))
        assert await there() == before
        return refused.reason

    assert await why(signed(proposal, first_key)) == Reason.WRONG_KEY, "a key signs once"
    assert await why(signed(proposal, SigningKey(b"s" * 32))) == Reason.WRONG_KEY, "nobody's"
    assert await why(signed(proposal, other_key)) == Reason.WRONG_KEY, "another member's, who can bring it itself"
    assert await why(signed(proposal, world.exchange.keys["alpha", Role.PIPELINE])) == Reason.WRONG_KEY
    assert await why(signed(proposal, second_key, of=proposal.statements[0].payload)) == Reason.BAD_SIGNATURE
    few = signed(proposal, second_key)
    del few.signatures[1:]
    assert await why(few) == Reason.INVALID
    mixed = signed(proposal, second_key)
    mixed.signatures[1].CopyFrom(signed(proposal, first_key).signatures[1])
    assert await why(mixed) == Reason.INVALID
    assert await why(pb.SignProposalRequest(proposal=bytes(32), signatures=few.signatures)) == Reason.NOT_FOUND
    right = (await admin(world).SignProposal(signed(proposal, second_key), timeout=TIMEOUT_S)).proposal
    assert (right.summary.complete, len(right.summary.signers)) == (True, 2)
    await exchange("proposals", "withdraw", id_.hex(), "--client", operator(world, tmp_path))
    gone = await refusal(admin(world).GetProposal(pb.GetProposalRequest(proposal=id_), timeout=TIMEOUT_S))
    assert gone.reason == Reason.NOT_FOUND


async def test_what_could_not_be_said_is_not_kept(world: World) -> None:
    before = await waiting(world)

    async def why(*drafts: statement_pb2.Header) -> str:
        request = pb.PrepareProposalRequest(drafts=drafts)
        return (await refusal(admin(world).PrepareProposal(request, timeout=TIMEOUT_S))).reason

    joins = draft(joining("alpha"))
    named, dated, unknown = (statement_pb2.Header.FromString(joins.SerializeToString()) for _ in range(3))
    named.publisher, dated.created_at_ms = OTHER, 1
    unknown.MergeFromString(b"\xa2\x1f\x01x")  # a field that no release has
    key = Key("gamma", Role.PIPELINE, SigningKey(b"g" * 32).public_key, State.ACTIVE)
    assert await why() == Reason.INVALID
    assert await why(*[joins] * 65) == Reason.TOO_LARGE
    assert (await why(named), await why(dated)) == (Reason.INVALID, Reason.INVALID)
    assert await why(unknown) == Reason.MALFORMED
    assert await why(draft(joining("alpha"), UK)) == Reason.WRONG_ORIGIN
    assert await why(draft(joining("nobody"))) == Reason.INVALID
    assert await why(draft(key), draft(key)) == Reason.INVALID, "the second of them would be refused"
    assert await why(draft(Suspension("nobody", 0, State.ACTIVE, "a test"))) == Reason.INVALID
    assert await why(draft(Retraction((bytes(32),), RetractionReason.LEGAL), UK)) == Reason.INVALID
    assert await waiting(world) == before


async def test_no_more_waits_than_may(world: World) -> None:
    for id_ in await waiting(world):
        await admin(world).WithdrawProposal(pb.WithdrawProposalRequest(proposal=id_), timeout=TIMEOUT_S)
    made = [(await prepared(world, joining("alpha"))).summary.id for _ in range(MAX_PROPOSALS_OF_MEMBER)]
    assert await waiting(world) == made
    request = pb.PrepareProposalRequest(drafts=[draft(joining("alpha"))])
    refused = await refusal(admin(world).PrepareProposal(request, timeout=TIMEOUT_S))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVER_QUOTA.value)
    assert refused.retry_ms
    others = await admin(world, OTHER).PrepareProposal(request, timeout=TIMEOUT_S)
    assert others.proposal.summary.publisher == OTHER, "another operator's room is its own"
    await admin(world, OTHER).WithdrawProposal(
        pb.WithdrawProposalRequest(proposal=others.proposal.summary.id), timeout=TIMEOUT_S
    )
    await asyncio.gather(
        *(admin(world).WithdrawProposal(pb.WithdrawProposalRequest(proposal=id_), timeout=TIMEOUT_S) for id_ in made)
    )
    assert await waiting(world) == []


async def test_what_is_too_old_is_gone_and_a_damaged_file_is_said_to_be(world: World) -> None:
    kept = (await prepared(world, joining("alpha"))).summary.id
    path = world.exchange.folders.proposals

    def grow_old() -> None:
        (young,) = read_proposals(path)
        header = replace(young.headers[0], created_at_ms=wall_ms() - 31 * DAY_MS)
        old = Proposal((codec.encode_header(header),), (header,))
        path.write_bytes(encoded([old, young]))

    await restarted(world, grow_old)
    assert await waiting(world) == [kept]
    whole = path.read_bytes()
    await restarted(world, lambda: path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]))
    for call in (
        admin(world).ListProposals(pb.ListProposalsRequest(), timeout=TIMEOUT_S),
        admin(world).PrepareProposal(pb.PrepareProposalRequest(drafts=[draft(joining("alpha"))]), timeout=TIMEOUT_S),
    ):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, Reason.CORRUPT.value)
    await world.registrar.say(Member("alpha", "Alpha Social", MemberClass.PLATFORM, (Role.PIPELINE, Role.LIAISON)))
    path.write_bytes(whole)
    assert await waiting(world) == [kept], "as soon as it is whole again"
