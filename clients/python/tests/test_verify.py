"""A feed is believed only as far as it holds: every bit of it, its order, and who signed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.python.tests.fake_hub import NOT_FOR_YOU, UK, FakeHub, FakeLog, signed
from clients.python.tests.speech import header_body, statement
from exchange import codec
from exchange.codec import Delivered
from exchange.domain.bodies import (
    Audience,
    Community,
    Key,
    Membership,
    State,
)
from exchange.domain.directory import Directory
from exchange.domain.kinds import Role
from exchange.domain.statement import (
    Leaf,
    Signature,
    audience_id,
    signal_ids,
)
from exchange.errors import ExchangeError, VerificationFailed
from exchange.ledger.checkpoint import log_verifier
from exchange.ledger.ed25519 import SigningKey
from exchange_client import BadEntry, FeedVerifier
from exchange_client.cursors import Position
from exchange_client.directory import DirectoryChecker


def folded(hub: FakeHub) -> Directory:
    checker = DirectoryChecker(hub.directory.origin, hub.pin)
    for entry in hub.directory.entries:
        checker.take(entry)
    return checker.directory


def verifier_of(log: FakeLog, position: Position | None = None) -> FeedVerifier:
    return FeedVerifier(log.origin, log_verifier(log.origin, log.key.public_key), position or Position())


def spoken(count: int = 3) -> tuple[FakeHub, Directory]:
    hub = FakeHub()
    for _ in range(count):
        hub.commit(statement(hub))
    return hub, folded(hub)


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(len(data) * 8):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        yield bytes(spoilt)


def read(log: FakeLog, directory: Directory, entries: list[Delivered], checkpoint: bytes) -> None:
    verifier = verifier_of(log)
    verifier.hello(log.hello(0, size=0))
    for entry in entries:
        verifier.entry(directory, entry)
    verifier.checkpoint(checkpoint)


def test_an_honest_feed_holds_at_every_start() -> None:
    hub, directory = spoken(11)
    whole = verifier_of(hub.uk)
    positions = []
    for entry in hub.uk.entries:
        positions.append(whole.position)
        assert whole.entry(directory, entry) is not None
    whole.checkpoint(hub.uk.checkpoint())
    assert whole.covered_size == 11
    for position in positions:
        size = position.range.size
        before = hub.uk.checkpoint(size) if size else b""
        verifier = verifier_of(hub.uk, Position(position.range, before))
        verifier.hello(hub.uk.hello(size, size))
        for entry in hub.uk.entries[size:]:
            verifier.entry(directory, entry)
        assert verifier.covered_size == 11
        assert verifier.position.range == whole.position.range


def test_every_one_bit_change_in_a_leaf_is_detected() -> None:
    hub, directory = spoken(2)
    checkpoint = hub.uk.checkpoint()
    first, second = hub.uk.entries
    for leaf in flips(first.leaf):
        with pytest.raises(VerificationFailed):
            read(hub.uk, directory, [replace(first, leaf=leaf), second], checkpoint)


def test_every_one_bit_change_in_a_record_is_detected() -> None:
    hub, directory = spoken(1)
    (entry,) = hub.uk.entries
    for record in flips(entry.records[0]):
        with pytest.raises(BadEntry):
            verifier_of(hub.uk).entry(directory, replace(entry, records=(record,)))


def test_every_one_bit_change_in_a_checkpoint_is_detected() -> None:
    hub, directory = spoken(2)
    for note in flips(hub.uk.checkpoint()):
        with pytest.raises(VerificationFailed):
            read(hub.uk, directory, hub.uk.entries, note)


def test_every_one_bit_change_in_a_hello_is_detected() -> None:
    hub, directory = spoken(7)
    log = hub.uk
    start = verifier_of(log)
    for entry in log.entries[:5]:
        start.entry(directory, entry)
    start.checkpoint(log.checkpoint(5))
    position, honest = start.position, log.hello(5, 5)
    verifier_of(log, position).hello(honest)
    parts: dict[str, tuple[bytes, ...]] = {
        "compact_range": honest.compact_range,
        "consistency_proof": honest.consistency_proof,
    }
    for name, hashes in parts.items():
        for place, hash_ in enumerate(hashes):
            for spoilt in flips(hash_):
                changed: Any = {name: (*hashes[:place], spoilt, *hashes[place + 1 :])}
                with pytest.raises(VerificationFailed):
                    verifier_of(log, position).hello(replace(honest, **changed))
        for wrong in (hashes[:-1], (*hashes, hashes[0]), hashes[::-1]):
            changed = {name: wrong}
            with pytest.raises(VerificationFailed):
                verifier_of(log, position).hello(replace(honest, **changed))
    for note in flips(honest.checkpoint):
        with pytest.raises(VerificationFailed):
            verifier_of(log, position).hello(replace(honest, checkpoint=note))


def test_a_log_that_has_shrunk_is_detected_even_without_a_checkpoint_of_ours() -> None:
    hub, directory = spoken(5)
    verifier = verifier_of(hub.uk)
    for entry in hub.uk.entries:
        verifier.entry(directory, entry)
    with pytest.raises(VerificationFailed, match="ends at 3"):
        verifier.hello(replace(hub.uk.hello(5), checkpoint=hub.uk.checkpoint(3)))


def test_a_rewritten_log_of_the_same_size_is_detected_at_the_hello() -> None:
    hub, directory = spoken(4)
    verifier = verifier_of(hub.uk)
    for entry in hub.uk.entries[:2]:
        verifier.entry(directory, entry)
    other, _ = spoken(4)
    with pytest.raises(VerificationFailed, match="fork"):
        verifier.hello(other.uk.hello(2))


def test_catching_up_is_held_against_the_hello_as_soon_as_it_is_reached() -> None:
    hub, directory = spoken(6)
    verifier = verifier_of(hub.uk)
    verifier.hello(hub.uk.hello(0, size=4))
    for entry in hub.uk.entries[:3]:
        verifier.entry(directory, entry)
    assert verifier.covered_size == 0
    verifier.entry(directory, hub.uk.entries[3])
    assert verifier.covered_size == 4
    assert verifier.position.checkpoint == hub.uk.checkpoint(4)


def test_a_lie_in_the_middle_is_found_without_any_further_checkpoint() -> None:
    hub, directory = spoken(4)
    verifier = verifier_of(hub.uk)
    verifier.hello(hub.uk.hello(0))
    for entry in hub.uk.entries[:2]:
        verifier.entry(directory, entry)
    # Another entry 2, also validly signed: what a hub can do that shows two histories.
    other, _ = spoken(3)
    verifier.entry(directory, other.uk.entries[2])
    with pytest.raises(VerificationFailed, match="signed root"):
        verifier.entry(directory, hub.uk.entries[3])
    assert verifier.index == 3


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0, 2)])
def test_entries_out_of_order_twice_or_missing_are_detected(order: tuple[int, int]) -> None:
    hub, directory = spoken(3)
    verifier = verifier_of(hub.uk)
    with pytest.raises(BadEntry):
        for place in order:
            verifier.entry(directory, hub.uk.entries[place])


def _rogue(hub: FakeHub) -> None:
    hub.commit(statement(hub, "alpha", by="beta"))


def _unsigned(hub: FakeHub) -> None:
    hub.commit(replace(statement(hub), signatures=()))


def _stranger(hub: FakeHub) -> None:
    said = statement(hub)
    key = SigningKey(b"s" * 32)
    hub.commit(replace(said, signatures=(Signature(key.key_id, said.signatures[0].signature),)))


def _twice(hub: FakeHub) -> None:
    said = statement(hub)
    hub.commit(replace(said, signatures=said.signatures * 2))


def _revoked(hub: FakeHub) -> None:
    hub.say(Key("alpha", Role.PIPELINE, hub.keys["alpha"].public_key, State.ENDED))
    hub.commit(statement(hub))


def _too_early(hub: FakeHub) -> None:
    hub.commit(statement(hub), directory_size=2)


def _other_log(hub: FakeHub) -> None:
    # Whole and validly signed, but said in another community: a hub must not be able to carry it over.
    elsewhere = "test.exchange/other"
    hub.say(Community(elsewhere, "Other", hub.uk.key.public_key, 0, 400, 365, 30, public_entries=False))
    hub.say(Membership("alpha", elsewhere, State.ACTIVE))
    records = statement(hub).records
    ids = tuple(signal_ids(elsewhere, "alpha", records))
    said = statement(hub, origin=elsewhere, signal_ids=ids)
    leaf = Leaf(0, hub.now, False, len(hub.directory.entries), said.payload, said.signatures)
    hub.uk.append(codec.encode_leaf(leaf), records)


def _huge(hub: FakeHub) -> None:
    said = statement(hub, body=header_body(guidance_clause="x" * 70_000))
    hub.commit(said)


def _swapped_records(hub: FakeHub) -> None:
    said = statement(hub, count=2)
    hub.commit(replace(said, records=said.records[::-1]))


def _missing_record(hub: FakeHub) -> None:
    said = statement(hub, count=2)
    hub.commit(replace(said, records=said.records[:1]))


def _other_audience(hub: FakeHub) -> None:
    record = codec.encode_audience(b"a" * 16, ["beta"])
    body = header_body(audience=Audience.RESTRICTED, audience_id=audience_id(UK, "alpha", record))
    hub.commit(replace(statement(hub, body=body), audience_record=codec.encode_audience(b"a" * 16, ["gamma"])))


@pytest.mark.parametrize(
    "fault",
    [
        _rogue, _unsigned, _stranger, _twice, _revoked, _too_early, _other_log, _huge, _swapped_records,
        _missing_record, _other_audience,
    ],
)  # fmt: skip
def test_a_bad_entry_stops_the_reader_and_can_be_passed_on_purpose(fault: Callable[[FakeHub], None]) -> None:
    hub = FakeHub()
    fault(hub)
    hub.commit(statement(hub, "beta"))
    directory = folded(hub)
    verifier = verifier_of(hub.uk)
    bad, good = hub.uk.entries
    with pytest.raises(BadEntry) as caught:
        verifier.entry(directory, bad)
    assert caught.value.entry is bad
    assert verifier.index == 0
    assert verifier.entry(directory, bad, skip=True) is None
    assert verifier.entry(directory, good) is not None
    verifier.checkpoint(hub.uk.checkpoint())


def test_a_skipped_entry_counts_in_the_root() -> None:
    hub, directory = spoken(2)
    first, second = hub.uk.entries
    verifier = verifier_of(hub.uk)
    verifier.entry(directory, replace(first, leaf=first.leaf + b"\0"), skip=True)
    verifier.entry(directory, second)
    with pytest.raises(VerificationFailed, match="signed root"):
        verifier.checkpoint(hub.uk.checkpoint())


def test_a_key_holds_for_leaves_before_its_revocation_and_not_after() -> None:
    hub = FakeHub()
    size = len(hub.directory.entries)
    hub.commit(statement(hub))
    hub.say(Key("alpha", Role.PIPELINE, hub.keys["alpha"].public_key, State.ENDED))
    hub.commit(statement(hub, "beta"))
    # The hub makes a later leaf look as if it had been judged before the revocation.
    hub.commit(statement(hub), directory_size=size)
    directory = folded(hub)
    verifier = verifier_of(hub.uk)
    assert verifier.entry(directory, hub.uk.entries[0]) is not None
    assert verifier.entry(directory, hub.uk.entries[1]) is not None
    with pytest.raises(BadEntry, match="back in time"):
        verifier.entry(directory, hub.uk.entries[2])


def test_unknown_kinds_are_hashed_and_kept() -> None:
    hub = FakeHub()
    hub.commit(statement(hub, kind=99, body=None))
    directory = folded(hub)
    verifier = verifier_of(hub.uk)
    entry = verifier.entry(directory, hub.uk.entries[0])
    assert entry is not None
    assert entry.header.kind == 99
    assert entry.records == ()
    verifier.checkpoint(hub.uk.checkpoint())


def test_records_that_come_with_an_entry_not_for_us_are_not_handed_on() -> None:
    hub, directory = spoken(1)
    entry = verifier_of(hub.uk).entry(directory, replace(hub.uk.entries[0], state=NOT_FOR_YOU))
    assert entry is not None
    assert entry.records == ()


@settings(max_examples=150, deadline=None)
@given(
    leaf=st.binary(max_size=200),
    records=st.lists(st.binary(min_size=1, max_size=60), max_size=3),
    note=st.binary(max_size=200),
)
def test_any_bytes_at_all_are_refused_in_one_way(leaf: bytes, records: list[bytes], note: bytes) -> None:
    hub, directory = _ONE
    verifier = verifier_of(hub.uk)
    entry = hub.uk.entries[0]
    with pytest.raises(BadEntry):
        verifier.entry(directory, replace(entry, leaf=leaf))
    with pytest.raises(BadEntry):
        verifier.entry(directory, replace(entry, records=tuple(records)))
    with pytest.raises(VerificationFailed):
        verifier.checkpoint(note)
    hello = replace(hub.uk.hello(1), compact_range=tuple(records))
    with pytest.raises(VerificationFailed):
        verifier.start_at(7, hello)


_ONE = spoken(1)


def test_every_one_bit_change_in_the_directory_is_detected() -> None:
    hub = FakeHub()
    for place, entry in enumerate(hub.directory.entries[:4]):
        for leaf in flips(entry.leaf):
            checker = DirectoryChecker(hub.directory.origin, hub.pin)
            try:
                for each in (*hub.directory.entries[:place], replace(entry, leaf=leaf)):
                    checker.take(each)
            except ExchangeError as error:
                assert isinstance(error, VerificationFailed)
                continue
            assert checker.range != DirectoryChecker(hub.directory.origin, hub.pin).range.extend(
                hub.directory.hashes[: place + 1]
            )


def test_a_directory_statement_needs_an_operator_key_in_force() -> None:
    hub = FakeHub()
    intruder = Key("alpha", Role.LIAISON, SigningKey(b"i" * 32).public_key, State.ACTIVE)
    for key, publisher in ((hub.keys["alpha"], "alpha"), (hub.keys["alpha"], "op"), (SigningKey(b"x" * 32), "op")):
        lying = FakeHub()
        lying.say(intruder, key=key, publisher=publisher)
        with pytest.raises(VerificationFailed):
            folded(lying)


def test_a_statement_signed_over_other_bytes_is_refused() -> None:
    hub = FakeHub()
    said = statement(hub)
    header = codec.decode_header(said.payload, strict=True)
    other = signed(replace(header, created_at_ms=header.created_at_ms + 1), hub.keys["alpha"])
    hub.commit(replace(said, signatures=other.signatures))
    with pytest.raises(BadEntry):
        verifier_of(hub.uk).entry(folded(hub), hub.uk.entries[0])
