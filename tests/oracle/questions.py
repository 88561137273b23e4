"""What is read and asked, held against the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from exchange import codec
from exchange.domain.kinds import KINDS, Role
from exchange.errors import Denied, Rejected
from exchange.v1 import directory_pb2, report_pb2
from exchange.v1 import statement_pb2 as pb
from tests.e2e.patience import patiently
from tests.oracle.driver import Driver
from tests.oracle.founding import PLATFORMS, UK
from tests.oracle.hub import Services
from tests.oracle.model import HOUR_MS, OPERATOR, Debt, Shown, Signal
from tests.oracle.platforms import Platform

_STATES: dict[int, str] = {
    pb.RECORD_STATE_PRESENT: "present",
    pb.RECORD_STATE_NOT_FOR_YOU: "not_for_you",
    pb.RECORD_STATE_ERASED: "erased",
}
_NOTHING = cast("Any", None)


async def read_one(driver: Driver, platform: Platform) -> None:
    """Read one message where there is one; be refused where nothing is to be seen."""
    reader = platform.reader
    if driver.model.sight(reader.name) is None:
        await platform.leave()
        try:
            await platform.wire.entries(UK, 0)
        except Denied:
            return
        raise AssertionError(f"{reader.name} reads, and should see nothing any more")
    if reader.next < len(driver.model.ledger):
        await platform.read(driver.model)


async def read_to_the_end(driver: Driver, platform: Platform) -> None:
    """Read all that there is."""
    while driver.model.sight(platform.reader.name) and platform.reader.next < len(driver.model.ledger):
        await platform.read(driver.model)


def _asker(driver: Driver) -> str:
    return driver.rng.choice((*PLATFORMS, OPERATOR))


def _services(driver: Driver, asker: str) -> Services:
    role = Role.OPERATOR if asker == OPERATOR else driver.rng.choice((Role.LIAISON, Role.PIPELINE))
    return driver.wire(asker, role).called()


def _may_ask(driver: Driver, asker: str) -> bool:
    return asker == OPERATOR or driver.model.sight(asker) is not None


async def signal(driver: Driver) -> None:
    """Somebody asks for a signal."""
    ids = list(driver.model.by_id)[-80:]
    if not ids:
        return
    asker, id_ = _asker(driver), driver.rng.choice(ids)
    services = _services(driver, asker)
    request = directory_pb2.GetSignalRequest(origin=UK, signal_id=id_)
    try:
        told = await patiently(lambda: services.directory.GetSignal(request, _NOTHING))
    except Rejected:
        entitled = _may_ask(driver, asker) and driver.model.may_know(asker, id_)
        assert not entitled, f"{asker} asked for a signal that it may know, and was refused"
        return
    assert _may_ask(driver, asker), f"{asker} may ask nothing any more"
    assert driver.model.may_know(asker, id_), f"{asker} was told of a signal that it was not given"
    known = driver.model.by_id[id_]
    _check_signal(driver, known, told)


def _check_signal(driver: Driver, known: Signal, told: directory_pb2.GetSignalResponse) -> None:
    about = known.statement
    assert (told.index, told.publisher, told.label) == (about.index, about.publisher, about.label)
    assert (told.received_at_ms, told.expires_at_ms) == (about.received_ms, about.expires_ms)
    for name in ("retracted_at", "erased_at", "replaced_at"):
        value = getattr(told, name) if told.HasField(name) else None
        assert value == getattr(known, name), f"{name} is {value}, not {getattr(known, name)}"
    assert told.quarantined == driver.model.quarantined(known), "the flag of quarantine is wrong"
    assert {each.member: (each.category, each.reason) for each in told.opinions} == known.opinions
    assert told.disputed == any(category == 3 for category, _ in known.opinions.values())
    states = Counter(state for _, state, _ in known.said.values())
    assert {each.state: each.members for each in told.dispositions} == dict(states)


async def debts(driver: Driver) -> None:
    """Somebody asks who owes what."""
    await debts_of(driver, _asker(driver))


async def debts_of(driver: Driver, asker: str) -> None:
    """Ask for debts, page by page, and hold them against the model."""
    rng, model = driver.rng, driver.model
    hours, open_only, member = rng.choice((0, 1, 100)), rng.random() < 0.4, rng.choice(("", *PLATFORMS))
    services = _services(driver, asker)
    found: dict[tuple[int, bytes, str], Debt] = {}
    order, page, limit = [], b"", rng.choice((0, 1, 7))
    while True:
        request = report_pb2.ListDebtsRequest(
            origin=UK, member=member, open_only=open_only, deadline_hours=hours, page=page, limit=limit
        )
        try:
            answer = await patiently(lambda request=request: services.reports.ListDebts(request, _NOTHING))  # type: ignore[misc]
        except Denied:
            assert not _may_ask(driver, asker), f"{asker} may ask, and was refused"
            return
        for each in answer.debts:
            key = (each.ended_at, each.signal_id, each.member)
            order.append(key[:2])
            closed_at = each.closed_at if each.owes and not each.open else None
            assert key not in found, "a debt is told twice"
            found[key] = Debt(each.owes, closed_at, each.overdue, each.said)
        page = answer.next_page
        if not page:
            break
    assert _may_ask(driver, asker), f"{asker} may ask nothing any more"
    wanted = {
        key: debt
        for key, debt in model.debts(asker, (hours or 72) * HOUR_MS).items()
        if (not member or key[2] == member) and (debt.open or not open_only)
    }
    assert order == sorted(order), "debts come out of order"
    wrong = [(key, found.get(key), wanted.get(key)) for key in found | wanted if found.get(key) != wanted.get(key)]
    assert not wrong, f"of {len(wanted)} debts {len(wrong)} are wrong; told and right of the first: {wrong[0]}"


async def lag(driver: Driver) -> None:
    """Somebody asks how long everything takes."""
    await lag_of(driver, _asker(driver))


async def lag_of(driver: Driver, asker: str) -> None:
    """Ask for lag, and hold it against the model."""
    services = _services(driver, asker)
    request = report_pb2.GetLagReportRequest(origin=UK)
    try:
        told = await patiently(lambda: services.reports.GetLagReport(request, _NOTHING))
    except Denied:
        assert not _may_ask(driver, asker), f"{asker} may ask, and was refused"
        return
    found = {(int(row.stage), row.publisher, row.receiver, int(row.label)): list(row.counts) for row in told.rows}
    wanted = driver.model.lag_rows()
    wrong = {key: (found.get(key), wanted.get(key)) for key in found | wanted if found.get(key) != wanted.get(key)}
    assert not wrong, f"lag is wrong; told and right: {wrong}"
    assert {row.member for row in told.clocks} == driver.model.acknowledged.keys()


async def activity(driver: Driver) -> None:
    """Somebody asks who said how much."""
    await activity_of(driver, _asker(driver))


async def activity_of(driver: Driver, asker: str) -> None:
    """Ask for activity, and hold it against the model."""
    services = _services(driver, asker)
    request = report_pb2.GetActivityRequest(origin=UK)
    try:
        told = await patiently(lambda: services.reports.GetActivity(request, _NOTHING))
    except Denied:
        assert not _may_ask(driver, asker), f"{asker} may ask, and was refused"
        return
    found = {(row.member, KINDS[row.kind].name, row.label): row.statements for row in told.rows}
    assert found == dict(driver.model.activity())


async def ledger(driver: Driver) -> None:
    """A platform reads a page of the ledger."""
    model, member = driver.model, driver.rng.choice(PLATFORMS)
    if not model.ledger:
        return
    start = driver.rng.randrange(len(model.ledger))
    wire = driver.wire(member)
    try:
        entries, size = await patiently(lambda: wire.entries(UK, start))
    except Denied:
        assert model.sight(member) is None, f"{member} may read, and was refused"
        return
    assert model.sight(member) is not None, f"{member} may read nothing any more"
    assert size == len(model.ledger)
    for index, entry in enumerate(entries, start=start):
        header = codec.decode_header(codec.decode_leaf(entry.leaf).payload, strict=False)
        there = []
        for id_, raw in zip(header.signal_ids, codec.decode_records(entry.records, strict=False), strict=False):
            if raw.salt:
                there.append((id_, (int(raw.indicators[0].type), bytes(raw.indicators[0].value))))
        got = Shown(index, KINDS[header.kind].name, header.publisher, _STATES[entry.state], tuple(there))
        wanted = model.shown(member, index)
        assert got == wanted, f"{member} read {got} in the ledger, and should have read {wanted}"


def check_files(driver: Driver, gone: Sequence[Signal]) -> None:
    """Hold that values which no record holds any more are in no file of the hub's."""
    there = {each.value for each in driver.model.by_id.values() if not each.gone}
    values = {each.value[1] for each in gone if each.value not in there}
    if values:
        held = b"".join(path.read_bytes() for path in driver.hub.data.rglob("*") if path.is_file())
        assert not [value for value in values if value in held], "what is gone is in the hub's files"
