"""Statements the hub must refuse, one row each: the status, our reason, what is named, and that nothing changed."""

from __future__ import annotations

import gc
import secrets
from collections.abc import AsyncIterator

import grpc
import pytest

from exchange import codec
from exchange.domain.bodies import Key, State
from exchange.domain.kinds import Role
from exchange.domain.labels import ROUTED_ELSEWHERE, Label
from exchange.domain.statement import Statement, audience_id
from exchange.errors import Reason
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import publish_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.answers import MAX_STATUS_BYTES, refusal
from tests.e2e.bad_statements import ALPHA, CASES, HEX, Case, filed, good
from tests.e2e.drafts import DAY_MS, Draft, now_ms, record, restricted, signal
from tests.e2e.exchange_fixture import SIDE, TIMEOUT_S, UK, World
from tests.e2e.test_standing import eventually

pytestmark = pytest.mark.e2e

#: Every other reason is an INVALID_ARGUMENT.
CODES = {
    Reason.WRONG_KEY: grpc.StatusCode.PERMISSION_DENIED,
    Reason.NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.REPLAY_MISMATCH: grpc.StatusCode.ALREADY_EXISTS,
}
SMALL_ORDER_KEY = b"\x01" + bytes(31)


async def check(world: World, case: Case) -> None:
    """Send the statement alone and in a stream: refused alike, and nothing changes."""
    party = world.party(*case.caller)
    made = case.make(world)
    statement = made.sign(party.key) if isinstance(made, Draft) else made
    async with world.unchanged():
        request = publish_pb2.PublishRequest(statement=statement)
        refused = await refusal(party.publishing.Publish(request, timeout=TIMEOUT_S))
        (result,) = await party.stream([statement])
    assert refused.code is CODES.get(case.reason, grpc.StatusCode.INVALID_ARGUMENT), refused
    assert refused.reason == case.reason.value
    assert refused.status_bytes < MAX_STATUS_BYTES
    assert refused.message
    assert refused.retry_ms is None
    if case.field:
        assert case.field in refused.fields, refused
        assert int(refused.metadata["violations_total"]) >= 1
    assert case.hint in refused.metadata.get("hint", "")
    rejection = result.rejection
    assert result.WhichOneof("outcome") == "rejection"
    assert (rejection.reason, rejection.message) == (refused.reason, refused.message)
    assert [item.field for item in rejection.violations] == refused.fields
    assert rejection.retry_after_ms == 0
    assert case.hint in rejection.hint


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_bad_statement_is_refused_and_changes_nothing(world: World, case: Case) -> None:
    await check(world, case)


def statements_in_memory() -> int:
    return sum(type(each) is Statement for each in gc.get_objects())


async def test_a_refused_statement_is_gone_without_a_collection(world: World) -> None:
    """A hub collects all of its garbage rarely."""
    gc.collect()
    before = statements_in_memory()
    gc.disable()
    try:
        for case in CASES:
            party, made = world.party(*case.caller), case.make(world)
            await refusal(party.publish(made))
        await eventually(lambda: statements_in_memory() <= before)
    finally:
        gc.enable()


async def test_a_key_of_small_order_is_not_registered(world: World) -> None:
    await world.registrar.enrol("weak")
    await check(world, filed("small_order", Key("weak", Role.PIPELINE, SMALL_ORDER_KEY, 1), field="key.public_key"))


async def test_all_violations_are_counted_and_the_first_twenty_told(world: World) -> None:
    alpha = world.party(*ALPHA)
    statement = good(records=tuple(record(b"short") for _ in range(300))).sign(alpha.key)
    async with world.unchanged():
        refused = await refusal(alpha.publish(statement))
    assert len(refused.violations) == 20
    assert refused.metadata["violations_total"] == "300"
    assert refused.status_bytes < MAX_STATUS_BYTES


async def test_no_refusal_repeats_an_identifier(world: World) -> None:
    alpha = world.party(*ALPHA)
    draft = good(records=(record(HEX.encode(), case_ref="case-4711", profile=7),))
    refused = await refusal(alpha.publish(draft))
    told = f"{refused.message}{refused.metadata}{refused.violations}"
    assert HEX not in told
    assert "case-4711" not in told


async def test_a_replay_must_be_the_same_in_everything(world: World) -> None:
    alpha = world.party(*ALPHA)
    draft = good(records=(record(), record()))
    statement = draft.sign(alpha.key)
    first = await alpha.publish(statement)
    other_records = pb.Statement.FromString(statement.SerializeToString())
    other_records.records[1] = record()
    no_records = pb.Statement.FromString(statement.SerializeToString())
    no_records.ClearField("records")
    cosigned = draft.sign(alpha.key, world.operator.key)
    async with world.unchanged():
        refused = await refusal(alpha.publish(other_records))
        assert (refused.reason, refused.fields) == (Reason.INVALID.value, ["records[1]"])
        refused = await refusal(alpha.publish(no_records))
        assert refused.reason == Reason.INVALID.value
        refused = await refusal(alpha.publish(cosigned))
        assert refused.code is grpc.StatusCode.ALREADY_EXISTS
        assert refused.reason == Reason.REPLAY_MISMATCH.value
        again = await alpha.publish(statement)
    assert (again.index, again.leaf, again.repeated_statement) == (first.index, first.leaf, True)


async def test_a_replay_with_another_key_of_the_same_role_is_refused(world: World) -> None:
    await world.registrar.enrol("two.keys")
    second = SigningKey(secrets.token_bytes(32))
    await world.registrar.say(Key("two.keys", Role.PIPELINE, second.public_key, State.ACTIVE))
    party = world.party("two.keys")
    draft = signal("two.keys", UK)
    await party.publish(draft)
    async with world.unchanged():
        refused = await refusal(party.publish(draft.sign(second)))
    assert refused.reason == Reason.REPLAY_MISMATCH.value


async def test_a_resubmission_within_the_window_is_late_and_accepted(world: World) -> None:
    party = world.party(*ALPHA)
    old = good(created_at_ms=now_ms() - 29 * DAY_MS, resubmission=True)
    assert codec.decode_leaf((await party.publish(old)).leaf).late
    fresh = good(resubmission=True)
    assert not codec.decode_leaf((await party.publish(fresh)).leaf).late


async def test_a_good_statement_survives_bad_ones_in_the_same_message(world: World) -> None:
    alpha = world.party(*ALPHA)
    before = (await world.heads())[UK].sealed.size
    drafts = [good(label=0), good(), good(origin=SIDE), good(created_at_ms=now_ms() - DAY_MS)]
    results = await alpha.stream([draft.sign(alpha.key) for draft in drafts])
    assert [result.WhichOneof("outcome") for result in results] == ["rejection", "receipt", "rejection", "rejection"]
    assert (await world.heads())[UK].sealed.size == before + 1


async def test_a_message_over_one_mebibyte_is_refused(world: World) -> None:
    alpha = world.party(*ALPHA)
    statement = good().sign(alpha.key)
    statement.records.append(b"x" * (1024 * 1024))
    async with world.unchanged():
        refused = await refusal(alpha.publish(statement))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        refused = await refusal(alpha.stream([statement]))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_audience_ids_bind_community_and_publisher(world: World) -> None:
    draft = restricted("alpha", UK, ("beta",))
    foreign = audience_id(UK, "beta", draft.audience_record)
    async with world.unchanged():
        refused = await refusal(world.party(*ALPHA).publish(draft.but(audience_id=foreign)))
    assert refused.fields == ["signal.audience_id"]


async def test_labels_not_routed_elsewhere_pass(world: World) -> None:
    labels = [Label(label) for label in Label if label not in ROUTED_ELSEWHERE]
    party = world.party(*ALPHA)
    results = await party.stream([good(label=label).sign(party.key) for label in labels])
    assert all(result.HasField("receipt") for result in results)


async def test_a_message_of_countless_empty_statements_is_refused_at_once(world: World) -> None:
    alpha = world.party("alpha")
    bomb = publish_pb2.PublishStreamRequest(statements=[pb.Statement()] * 400_000)
    assert bomb.ByteSize() < 1024 * 1024
    async with world.unchanged():
        call = alpha.publishing.PublishStream(iter([bomb]), timeout=TIMEOUT_S)
        refused = await refusal(call.read())
    assert refused.reason == Reason.TOO_LARGE.value
    await alpha.publish(good().sign(alpha.key))


async def test_a_message_without_a_statement_ends_the_stream_once_the_others_are_answered(world: World) -> None:
    alpha = world.party(*ALPHA)

    async def requests() -> AsyncIterator[publish_pb2.PublishStreamRequest]:
        yield publish_pb2.PublishStreamRequest(statements=[good().sign(alpha.key)])
        yield publish_pb2.PublishStreamRequest()

    call = alpha.publishing.PublishStream(requests(), timeout=TIMEOUT_S)
    answer = await call.read()
    assert isinstance(answer, publish_pb2.PublishStreamResponse)
    assert [result.WhichOneof("outcome") for result in answer.results] == ["receipt"]
    refused = await refusal(call.read())
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID.value)
