"""What is said to named members, in the SDK: checked before it is signed, kept, told by the next run, verified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.fake_hub import DAY_MS, START_MS, UK, FakeHub, client_of
from clients.python.tests.test_verify import folded, verifier_of
from exchange import codec
from exchange.codec import Delivered
from exchange.domain.addressed import (
    AddressedRecord,
    NoteRecord,
    ReferralOutcome,
    ReferralRecord,
    ReferralState,
    UpdateRecord,
)
from exchange.domain.labels import Label
from exchange.errors import Denied, InvalidStatement, Rejected
from exchange_client import BadEntry, Said, backoff
from exchange_client.json_life import said_to_json
from exchange_client.json_referrals import addressed_from_json, record_to_json
from exchange_client.referring import UNSALTED

CASE = ReferralRecord(UNSALTED, "police", Label.VIOLENCE_THREATS, 2, START_MS + DAY_MS, "T-1", contact="tel:101")


async def told(publisher: Any) -> list[Any]:
    return [each async for bulk in publisher.earlier() for each in bulk]


async def test_what_was_referred_by_an_earlier_run_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    hub = FakeHub()
    client, transport = client_of(hub, tmp_path)
    transport.stream_faults.extend([Denied("suspended")] * 2)
    async with client, client.publisher(UK) as publisher:
        kept = await publisher.say_to(CASE, {"alpha", "police"})
    assert (type(kept.error), kept.kept) == (Denied, True)
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as publisher:
        assert publisher.left == 1
        (said,) = await told(publisher)
    assert isinstance(said, Said)
    assert said.receipt is not None
    assert (said.id, said.audience) == (kept.id, ("alpha", "police"))
    line = said_to_json(said)
    assert (line["kind"], line["case_ref"], line["index"]) == ("referral", "T-1", said.receipt.index)


async def test_what_is_wrong_is_refused_before_it_is_signed(tmp_path: Path) -> None:
    hub = FakeHub()
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as publisher:
        wrong: list[tuple[AddressedRecord, str]] = [
            (replace(CASE, contact="P.C. Jones"), "of a desk"),
            (NoteRecord(UNSALTED, bytes(32), "a\nb"), "not seen"),
            (NoteRecord(UNSALTED, bytes(32), "x" * 1001), "1,000 characters"),
            (UpdateRecord(UNSALTED, bytes(32), ReferralState.CLOSED, START_MS), "outcome"),
            (replace(CASE, case_ref=7), "cannot be encoded"),  # type: ignore[arg-type]
        ]
        for record, what in wrong:
            said = await publisher.say_to(record, {"alpha", "police"})
            assert isinstance(said.error, InvalidStatement)
            assert what in str(said.error)
            assert said.id is None
        nobody = await publisher.say_to(CASE, ())
        assert "an empty audience is an error" in str(nobody.error)
        assert await publisher.outbox.pending() == []


async def test_a_record_or_audience_that_was_changed_is_noticed(tmp_path: Path) -> None:
    hub = FakeHub()
    client, _ = client_of(hub, tmp_path)
    async with client, client.publisher(UK) as publisher:
        await publisher.refer(
            "police",
            label=Label.VIOLENCE_THREATS,
            urgency=1,
            respond_by_ms=START_MS + DAY_MS,
            case_ref="T-1",
            contact="tel:101",
        )
    directory, (good,) = folded(hub), hub.uk.entries
    assert isinstance(taken(hub, directory, good).addressed, ReferralRecord)
    assert taken(hub, directory, Delivered.bare(good.leaf)).addressed is None
    others = codec.encode_audience(bytes(16), ("alpha", "beta", "police"))
    for spoilt in (
        replace(good, records=(good.records[0] + b"\x10\x01",)),
        replace(good, records=()),
        replace(good, records=good.records * 2),
        replace(good, audience_record=others),
        replace(good, audience_record=b""),
    ):
        with pytest.raises(BadEntry):
            taken(hub, directory, spoilt)


def taken(hub: FakeHub, directory: Any, entry: Delivered) -> Any:
    verifier = verifier_of(hub.uk)
    verifier.hello(hub.uk.hello(0, size=0))
    return verifier.entry(directory, entry)


LINE = {
    "authority": "police",
    "label": "violence_threats",
    "urgency": "priority",
    "respond_by": START_MS + DAY_MS,
    "case_ref": "T-1",
    "contact": "tel:101",
}


def test_a_line_says_what_its_record_is_told_as() -> None:
    said = addressed_from_json(LINE, "refer", now_ms=START_MS)
    assert said.record == CASE
    assert record_to_json(CASE) == LINE
    closed = {"referral": "ab" * 32, "outcome": "passed_on", "text": "To the force of the place."}
    update = addressed_from_json(closed, "close", now_ms=START_MS)
    assert update.record == UpdateRecord(
        UNSALTED, b"\xab" * 32, ReferralState.CLOSED, START_MS, ReferralOutcome.PASSED_ON
    )
    assert update.text == closed["text"]
    hours = {**LINE, "respond_within_hours": 2}
    del hours["respond_by"]
    record = addressed_from_json(hours, "refer", now_ms=START_MS).record
    assert isinstance(record, ReferralRecord)
    assert record.respond_by_ms == START_MS + 7_200_000


@pytest.mark.parametrize(
    ("line", "what", "why"),
    [
        ({**LINE, "colour": "red"}, "refer", "`colour` is not a known key"),
        ({**LINE, "label": "threat"}, "refer", "is not known"),
        ({**LINE, "respond_within_hours": 1}, "refer", "say by when"),
        ({**LINE, "respond_by": "soon"}, "refer", "must be Unix milliseconds"),
        ({**LINE, "signal_ids": ["ab"]}, "refer", "64 hexadecimal"),
        ({"referral": "ab" * 32, "respond_within_hours": 0}, "ask", "must be 1 to 2160"),
        ({"referral": "ab" * 32, "respond_within_hours": True}, "ask", "must be 1 to 2160"),
        ({"referral": "ab"}, "acknowledge", "64 hexadecimal"),
        ({"referral": "ab" * 32}, "close", "outcome is missing"),
        ({"target": "ab" * 32, "text": "a", "audience": "beta"}, "note", "must be a list"),
        ({"target": "ab" * 32}, "note", "`text` must be text"),
    ],
)
def test_what_a_line_may_not_say(line: dict[str, Any], what: str, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        addressed_from_json(line, what, now_ms=START_MS)
