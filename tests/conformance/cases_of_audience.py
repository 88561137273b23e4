"""Who may read what: nobody outside of the audience, and an audience that says nothing is an error."""

from __future__ import annotations

import grpc

from exchange.domain.bodies import Audience
from exchange.domain.kinds import Role
from exchange.domain.statement import audience_id
from exchange.errors import Denied
from exchange.v1 import directory_pb2, ledger_pb2
from exchange.v1 import statement_pb2 as pb
from tests.conformance.place import Place, publish, read, refused
from tests.e2e.drafts import restricted, signal
from tests.e2e.exchange_fixture import SIDE, TIMEOUT_S, UK, Party
from tests.e2e.sdk_clients import a_signal


async def an_empty_audience_is_an_error(place: Place) -> None:
    """Neither the SDK nor the hub takes a restricted signal that names nobody, in whatever form it says so."""
    async with place.client("alpha") as a, a.publisher(UK) as publisher:
        (outcome,) = await publisher.publish([a_signal(audience=())], timeout_s=TIMEOUT_S)
    assert outcome.error is not None, "the SDK published a signal with an empty audience"
    alpha = place.world.party("alpha")
    without = signal("alpha", UK, audience=Audience.RESTRICTED)
    for draft in (restricted("alpha", UK, ()), without, without.but(audience_id=audience_id(UK, "alpha", b""))):
        try:
            receipt = await alpha.publish(draft)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        else:
            raise AssertionError(f"entry {receipt.index} was taken with an empty audience")


async def only_the_audience_reads(place: Place) -> None:
    """No way to the hub shows the record of a restricted signal to a platform that is not in its audience."""
    async with place.client("alpha") as a, place.client("beta") as b, place.client("gamma") as g:
        said = await publish(a, audience=("beta",))
        states = {name: (await read(c, cursor=said.index))[0] for name, c in (("beta", b), ("gamma", g), ("alpha", a))}
    assert {name: each.state for name, each in states.items()} == {
        "beta": "present",
        "gamma": "not_for_you",
        "alpha": "present",
    }
    value = said.signal.indicators[0].value
    for role in (Role.PIPELINE, Role.LIAISON):
        party = place.world.party("gamma", role)
        request = ledger_pb2.ListEntriesRequest(origin=UK, start=said.index, limit=1)
        (entry,) = (await party.ledger.ListEntries(request, timeout=TIMEOUT_S)).entries
        assert (entry.state, list(entry.records)) == (pb.RECORD_STATE_NOT_FOR_YOU, [])
        assert value not in entry.SerializeToString()
        assert await asked_for(party, said.id) is grpc.StatusCode.NOT_FOUND


async def asked_for(party: Party, id_: bytes) -> grpc.StatusCode:
    """Return how asking for a signal ends."""
    try:
        await party.directory.GetSignal(directory_pb2.GetSignalRequest(origin=UK, signal_id=id_), timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def who_is_not_a_member_reads_nothing(place: Place) -> None:
    """A community that a platform does not belong to shows it nothing, and not that it exists."""
    async with place.client("alpha") as a:
        for origin in (SIDE, f"{SIDE}-that-does-not-exist"):
            party = place.world.party("alpha")
            request = ledger_pb2.ListEntriesRequest(origin=origin)
            try:
                await party.ledger.ListEntries(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
                assert "no such log, or not yours to read" in str(error.details())
            else:
                raise AssertionError(f"{origin} was read by who is not in it")
        with refused(Denied):
            async for _ in a.subscribe(SIDE):
                raise AssertionError("an entry came")
