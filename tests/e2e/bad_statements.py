"""The table of statements that the hub must refuse: who sends what, the reason, the field named, words of the hint."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from exchange.codec_bodies import kind_of
from exchange.domain.bodies import (
    Audience,
    Body,
    Community,
    Genesis,
    GenesisKey,
    Key,
    Member,
    Membership,
    State,
)
from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import KINDS, Kind, MemberClass, Role
from exchange.domain.labels import ROUTED_ELSEWHERE
from exchange.errors import Reason
from exchange.ledger.ed25519 import SigningKey
from exchange.v1 import statement_pb2 as pb
from tests.e2e.drafts import DAY_MS, MINUTE_MS, Draft, now_ms, record, restricted, signal, video
from tests.e2e.exchange_fixture import DIRECTORY, NAME, OPERATOR, SIDE, UK, World

ALPHA = ("alpha", Role.PIPELINE)
STRANGER = SigningKey(b"s" * 32)
#: Field 99 as a varint: none of our messages has it.
UNKNOWN_FIELD = b"\x98\x06\x01"


@dataclass(frozen=True)
class Case:
    """One row: who sends what, and how it must be refused."""

    name: str
    make: Callable[[World], pb.Statement | Draft]
    reason: Reason
    #: A field that the violations must name; empty where a refusal names none.
    field: str = ""
    #: Words that must stand in the hint.
    hint: str = ""
    caller: tuple[str, Role] = ALPHA


def good(**changes: Any) -> Draft:
    named = {"member": "alpha", "origin": UK} | changes
    return signal(**named)


def row(name: str, reason: Reason, field: str = "", hint: str = "", **changes: Any) -> Case:
    return Case(name, lambda _: good(**changes), reason, field, hint)


def raw(name: str, reason: Reason, edit: Callable[[bytes], bytes]) -> Case:
    """A row whose signed bytes are an edited header."""

    def make(world: World) -> pb.Statement:
        draft = good()
        return draft.sign(world.party(*ALPHA).key, payload=edit(draft.payload()))

    return Case(name, make, reason)


def signed(name: str, reason: Reason, edit: Callable[[World, pb.Statement], None]) -> Case:
    """A row whose envelope is edited after signing."""

    def make(world: World) -> pb.Statement:
        statement = good().sign(world.party(*ALPHA).key)
        edit(world, statement)
        return statement

    return Case(name, make, reason)


def by_keys(name: str, reason: Reason, *keys: Callable[[World], SigningKey]) -> Case:
    return Case(name, lambda world: good().sign(*(key(world) for key in keys)), reason)


def by_other(member: str, role: Role, reason: Reason = Reason.NOT_PERMITTED) -> Case:
    return Case(f"signal_by_{role.word}", lambda _: signal(member, UK), reason, caller=(member, role))


def filed(name: str, body: Body, reason: Reason = Reason.INVALID, field: str = "", **draft: Any) -> Case:
    """A row said by the operator to the directory."""
    make = Draft(DIRECTORY, OPERATOR, kind_of(body), body).but(**draft)
    return Case(name, lambda _: replace(make, created_at_ms=now_ms()), reason, field, caller=(OPERATOR, Role.OPERATOR))


def _key(member: str, role: Role) -> Callable[[World], SigningKey]:
    return lambda world: world.exchange.keys[member, role]


def _set_signature(statement: pb.Statement, signature: bytes) -> None:
    statement.signatures[0].signature = signature


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _origin_last(payload: bytes) -> bytes:
    origin = pb.Header(origin=UK).SerializeToString()
    assert payload.startswith(origin)
    return payload[len(origin) :] + origin


def _many_signatures(_: World, statement: pb.Statement) -> None:
    statement.signatures.extend([statement.signatures[0]] * 16)


def _bare_record(fields: pb.SignalRecord, prefix: bytes = b"") -> bytes:
    return prefix + fields.SerializeToString()


def _pdq(value: bytes) -> pb.Indicator:
    return pb.Indicator(type=pb.INDICATOR_TYPE_PDQ, profile=1, value=value)


SAME = record()
LONG = record(b"v" * 5_000)
NO_SALT = _bare_record(pb.SignalRecord(indicators=[_pdq(b"p" * 32)]))
SHORT_SALT = _bare_record(pb.SignalRecord(salt=b"short", indicators=[_pdq(b"p" * 32)]))
SALT_LAST = _bare_record(pb.SignalRecord(indicators=[_pdq(b"p" * 32)])) + _bare_record(pb.SignalRecord(salt=b"s" * 16))
HEX = secrets.token_hex(32)

BYTES = [
    raw("payload_not_protobuf", Reason.MALFORMED, lambda _: b"\xff\xff\xff\xff"),
    raw("payload_truncated", Reason.MALFORMED, lambda payload: payload[:-3]),
    raw("payload_empty", Reason.MALFORMED, lambda _: b""),
    raw("header_unknown_field", Reason.MALFORMED, lambda payload: payload + UNKNOWN_FIELD),
    raw("header_out_of_order", Reason.MALFORMED, _origin_last),
    raw("header_repeats_field", Reason.MALFORMED, lambda payload: pb.Header(origin=UK).SerializeToString() + payload),
    raw(
        "header_two_bodies",
        Reason.MALFORMED,
        lambda payload: payload + pb.Header(quota=pb.Quota(member="alpha")).SerializeToString(),
    ),
    row("ids_not_whole", Reason.MALFORMED, ids=(b"x" * 31,)),
    row("record_unknown_field", Reason.MALFORMED, records=(record() + UNKNOWN_FIELD,)),
    row("record_not_protobuf", Reason.MALFORMED, records=(b"\x0a\x10" + b"\xff" * 20,)),
    row("record_salt_last", Reason.MALFORMED, records=(SALT_LAST,)),
    signed("other_payload_type", Reason.MALFORMED, lambda _, s: setattr(s, "payload_type", "text/plain")),
    row("kind_unknown", Reason.UNKNOWN_KIND, kind=99, body=None),
    row("kind_zero", Reason.UNKNOWN_KIND, kind=0, body=None),
    row("body_of_another_kind", Reason.MALFORMED, kind=Kind.OPINION),
    *(
        Case(f"later_kind_{known.name}", lambda _, kind=known.kind: good(kind=kind, body=None), Reason.UNKNOWN_KIND)  # type: ignore[misc]
        for known in KINDS.values()
        if not known.accepted
    ),
]

SIGNATURES = [
    signed("bad_signature", Reason.BAD_SIGNATURE, lambda _, s: _set_signature(s, _flip(s.signatures[0].signature))),
    signed("signature_short", Reason.BAD_SIGNATURE, lambda _, s: _set_signature(s, s.signatures[0].signature[:63])),
    signed("signature_missing", Reason.BAD_SIGNATURE, lambda _, s: s.ClearField("signatures")),
    signed("signatures_too_many", Reason.BAD_SIGNATURE, _many_signatures),
    signed(
        "key_id_of_another",
        Reason.BAD_SIGNATURE,
        lambda w, s: setattr(s.signatures[0], "key_id", w.exchange.keys["beta", Role.PIPELINE].key_id),
    ),
    by_keys("key_of_another_member", Reason.WRONG_KEY, _key("beta", Role.PIPELINE)),
    by_keys("key_of_another_role", Reason.WRONG_KEY, _key("alpha", Role.LIAISON)),
    by_keys("key_unregistered", Reason.WRONG_KEY, lambda _: STRANGER),
    by_keys("same_key_twice", Reason.WRONG_KEY, _key(*ALPHA), _key(*ALPHA)),
    by_keys("second_key_not_an_operators", Reason.WRONG_KEY, _key(*ALPHA), _key("beta", Role.PIPELINE)),
    row("header_names_another_publisher", Reason.WRONG_KEY, member="beta"),
]

PLACES = [
    row("origin_unknown", Reason.WRONG_ORIGIN, origin=f"{NAME}/nowhere"),
    row("origin_of_another_exchange", Reason.WRONG_ORIGIN, origin="other.exchange/uk"),
    row("origin_empty", Reason.WRONG_ORIGIN, origin=""),
    row("signal_to_the_directory", Reason.WRONG_ORIGIN, origin=DIRECTORY),
    row("community_it_is_not_in", Reason.NOT_PERMITTED, origin=SIDE),
    by_other("police", Role.AUTHORITY),
    by_other("watcher", Role.WITNESS),
    by_other(OPERATOR, Role.OPERATOR),
]

RECORDS = [
    row("signal_id_twice", Reason.INVALID, "signal_ids", records=(SAME, SAME)),
    row("signal_id_does_not_fit", Reason.INVALID, "records[0]", ids=(b"x" * 32,)),
    row("fewer_ids_than_records", Reason.INVALID, "signal_ids", ids=()),
    row("no_records", Reason.INVALID, "records", records=()),
    row("too_many_records", Reason.TOO_LARGE, "records", records=tuple(record() for _ in range(1_001))),
    row("record_over_long", Reason.TOO_LARGE, "records[0]", records=(LONG,)),
    row(
        "video_record_over_long",
        Reason.TOO_LARGE,
        "records[0]",
        records=(video(1_900),),
        indicator_types=(IndicatorType.VPDQ,),
    ),
    row("statement_over_long", Reason.TOO_LARGE, records=tuple(video(1_400) for _ in range(15))),
    row("leaf_over_long", Reason.TOO_LARGE, guidance_clause="c" * 65_000),
    row("record_without_salt", Reason.INVALID, "records[0].salt", records=(NO_SALT,)),
    row("record_with_short_salt", Reason.INVALID, "records[0].salt", records=(SHORT_SALT,)),
    row("value_as_hex", Reason.INVALID, "records[0].indicators[0].value", "raw bytes", records=(record(HEX.encode()),)),
    row(
        "value_as_upper_hex",
        Reason.INVALID,
        "records[0].indicators[0].value",
        "raw bytes",
        records=(record(HEX.upper().encode()),),
    ),
    row("value_too_short", Reason.INVALID, "records[0].indicators[0].value", records=(record(b"v" * 31),)),
    row("indicator_type_unknown", Reason.INVALID, "records[0].indicators[0].type", records=(record(b"v", 99),)),
    row("profile_unknown", Reason.INVALID, "records[0].indicators[0].profile", records=(record(profile=9),)),
    row("quality_above_100", Reason.INVALID, "records[0].quality", records=(record(quality=101),)),
    row("case_ref_over_long", Reason.INVALID, "records[0].case_ref", records=(record(case_ref="c" * 129),)),
    row("types_differ", Reason.INVALID, "signal.indicator_types", indicator_types=(IndicatorType.URL,)),
    row("types_unsorted", Reason.INVALID, "signal.indicator_types", indicator_types=(5, 1)),
    row("types_missing", Reason.INVALID, "signal.indicator_types", indicator_types=()),
]

HEADERS = [
    row("audience_missing", Reason.INVALID, "signal.audience", audience=0),
    row("audience_unknown", Reason.INVALID, "signal.audience", audience=9),
    row("restricted_without_record", Reason.INVALID, "audience_record", audience=Audience.RESTRICTED),
    Case("restricted_to_nobody", lambda _: restricted("alpha", UK, ()), Reason.INVALID, "audience_record"),
    Case("audience_unsorted", lambda _: restricted("alpha", UK, ("gamma", "beta")), Reason.INVALID, "audience_record"),
    Case("audience_not_names", lambda _: restricted("alpha", UK, ("Beta!",)), Reason.INVALID, "audience_record"),
    Case(
        "audience_id_does_not_fit",
        lambda _: restricted("alpha", UK, ("beta",), audience_id=b"x" * 32),
        Reason.INVALID,
        "signal.audience_id",
    ),
    Case(
        "everyone_with_audience_record",
        lambda _: restricted("alpha", UK, ("beta",), audience=Audience.EVERYONE),
        Reason.INVALID,
        "audience_record",
    ),
    row("expiry_missing", Reason.INVALID, "signal.expires_at_ms", expires_at_ms=0),
    row("expiry_past", Reason.INVALID, "signal.expires_at_ms", expires_at_ms=now_ms() - 1),
    row("expiry_too_far", Reason.INVALID, "signal.expires_at_ms", expires_at_ms=now_ms() + 400 * DAY_MS),
    row("observed_in_the_future", Reason.INVALID, "signal.observed_at_ms", observed_at_ms=now_ms() + DAY_MS),
    row("actioned_before_observed", Reason.INVALID, "signal.actioned_at_ms", observed_at_ms=20, actioned_at_ms=10),
    row("confidence_missing", Reason.INVALID, "signal.confidence", confidence=0),
    row("severity_unknown", Reason.INVALID, "signal.severity", severity=77),
    row("handling_missing", Reason.INVALID, "signal.handling", handling=0),
    row("label_missing", Reason.INVALID, "signal.label", label=0),
    row("label_unknown", Reason.INVALID, "signal.label", label=999),
    row("election_unknown", Reason.INVALID, "signal.election", election=b"e" * 32),
    row("clause_over_long", Reason.INVALID, "signal.guidance_clause", guidance_clause="c" * 129),
    row("reference_not_an_id", Reason.INVALID, "signal.replaces", replaces=(b"short",)),
    row(
        "replaces_and_derived", Reason.INVALID, "signal.derived_from", replaces=(b"a" * 32,), derived_from=(b"b" * 32,)
    ),
    row("replaces_with_two_records", Reason.INVALID, "records", replaces=(b"a" * 32,), records=(record(), record())),
    row("nonce_short", Reason.INVALID, "nonce", nonce=b"n"),
    row("signal_body_missing", Reason.INVALID, "signal", body=None),
    *(
        row(f"routed_elsewhere_{label.word}", Reason.ROUTED_ELSEWHERE, "signal.label", "NCMEC", label=label)
        for label in sorted(ROUTED_ELSEWHERE)
    ),
]

CLOCK = [
    row("clock_ahead", Reason.CLOCK_SKEW, "created_at_ms", created_at_ms=now_ms() + 30 * MINUTE_MS),
    row("clock_behind", Reason.CLOCK_SKEW, "created_at_ms", "resubmission", created_at_ms=now_ms() - 6 * MINUTE_MS),
    row("created_at_missing", Reason.CLOCK_SKEW, "created_at_ms", created_at_ms=0),
    row(
        "resubmission_from_the_future",
        Reason.CLOCK_SKEW,
        "created_at_ms",
        created_at_ms=now_ms() + 30 * MINUTE_MS,
        resubmission=True,
    ),
    row(
        "resubmission_past_the_window",
        Reason.CLOCK_SKEW,
        "created_at_ms",
        created_at_ms=now_ms() - 31 * DAY_MS,
        resubmission=True,
    ),
]


def _community(**changes: Any) -> Community:
    settings: dict[str, Any] = {
        "origin": f"{NAME}/new", "title": "New", "log_public_key": STRANGER.public_key, "last_size_under_old_key": 0,
        "retention_days": 400, "max_expiry_days": 365, "replay_window_days": 30, "public_entries": False,
    }  # fmt: skip
    return Community(**(settings | changes))


GENESIS = Genesis(NAME, b"k" * 32, OPERATOR, "x", (GenesisKey(Role.OPERATOR, STRANGER.public_key),), 1)
FILED = [
    Case(
        "directory_by_a_platform",
        lambda _: Draft(DIRECTORY, "alpha", Kind.MEMBERSHIP, Membership("alpha", SIDE, State.ACTIVE)),
        Reason.NOT_PERMITTED,
    ),
    filed("second_genesis", GENESIS, field="genesis"),
    filed("authority_with_a_liaison", Member("police", "Police", MemberClass.AUTHORITY, (2, 3)), field="member.roles"),
    filed("member_changes_class", Member("police", "Police", MemberClass.PLATFORM, (1,)), field="member.member_class"),
    filed("member_id_not_a_name", Member("No Name", "x", MemberClass.PLATFORM, (1,)), field="member.id"),
    filed("key_of_nobody", Key("nobody", Role.PIPELINE, STRANGER.public_key, State.ACTIVE), field="key.member"),
    filed("key_for_a_foreign_role", Key("police", Role.PIPELINE, STRANGER.public_key, 1), field="key.role"),
    filed("key_unknown_revoked", Key("alpha", Role.PIPELINE, STRANGER.public_key, 2), field="key.public_key"),
    filed("key_too_short", Key("alpha", Role.PIPELINE, b"k" * 31, State.ACTIVE), field="key.public_key"),
    filed("membership_nowhere", Membership("alpha", f"{NAME}/nowhere", State.ACTIVE), field="membership.community"),
    filed("membership_without_state", Membership("alpha", UK, 0), field="membership.state"),
    filed("community_of_another_exchange", _community(origin="other.exchange/uk"), field="community.origin"),
    filed("community_named_directory", _community(origin=DIRECTORY), field="community.origin"),
    filed("expiry_beyond_retention", _community(max_expiry_days=401), field="community.max_expiry_days"),
    filed("member_kind_in_a_community", Membership("alpha", UK, 1), Reason.WRONG_ORIGIN, origin=UK),
    filed("directory_with_records", Membership("alpha", UK, 1), records=(record(),)),
]

CASES = [*BYTES, *SIGNATURES, *PLACES, *RECORDS, *HEADERS, *CLOCK, *FILED]
