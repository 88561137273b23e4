"""Every rule about a signal's content: each one broken once, and named for what it is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from msgspec import structs

from exchange import codec
from exchange.domain.bodies import Audience
from exchange.domain.identifiers import INDICATOR_TYPES, IndicatorType
from exchange.domain.labels import ROUTED_ELSEWHERE, Label
from exchange.domain.statement import audience_id
from exchange.domain.validation import DAY_MS, MAX_REPORTED, SKEW_MS, check_created, validate
from exchange.errors import InvalidStatement, Reason
from exchange_client.records import Indicator, Record, VideoFrame
from tests.unit.builders import NOW_MS, RULES, UK, Said, digest, pdq_record, signal_statement


def check(said: Said) -> None:
    """Validate, with the records as the hub reads them."""
    raw = said.statement.records
    validate(said.header, raw, codec.decode_strict_records, said.statement.audience_record, said.audience, RULES)


def refusal(said: Said) -> InvalidStatement:
    with pytest.raises(InvalidStatement) as caught:
        check(said)
    return caught.value


def frames(*of: tuple[int, int]) -> tuple[VideoFrame, ...]:
    return tuple(VideoFrame(at, quality, digest(f"frame {at}")) for at, quality in of)


def with_indicator(*indicators: Indicator, **changes: Any) -> dict[str, Any]:
    return {"records": [pdq_record(indicators=indicators, **changes)]}


def header(**fields: Any) -> dict[str, Any]:
    return {"header": fields}


VIDEO = Indicator(IndicatorType.VPDQ, frames=frames((0, 100), (40, 0), (40, 50)))
IDS = tuple(digest(f"signal {number}") for number in range(17))

GOOD: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a thousand records": {"records": [pdq_record(str(n)) for n in range(1000)]},
    "no quality, no case": with_indicator(Indicator(IndicatorType.PDQ, digest("x")), quality=0, case_ref=""),
    "quality 100": {"records": [pdq_record(quality=100)]},
    "case of 128 bytes": {"records": [pdq_record(case_ref="é" * 64)]},
    "eight indicators": with_indicator(*[Indicator(IndicatorType.URL, digest(str(n))) for n in range(8)]),
    "two types": with_indicator(
        Indicator(IndicatorType.IMAGE_MD5, digest("m", 16)), Indicator(IndicatorType.PDQ, digest("p"))
    ),
    "video": with_indicator(VIDEO),
    "a long video": with_indicator(structs.replace(VIDEO, frames=frames(*[(n, 1) for n in range(1500)]))),
    "expires in a moment": {"expires_at_ms": NOW_MS + 1},
    "expires on the last day": {"expires_at_ms": NOW_MS + RULES.max_expiry_days * DAY_MS},
    "observed and actioned at once": {"observed_at_ms": NOW_MS, "actioned_at_ms": NOW_MS},
    "observed by a clock a little ahead": {"observed_at_ms": NOW_MS + SKEW_MS},
    "restricted": {"audience": ["alpha", "beta"]},
    "restricted to others": {"audience": ["beta"]},
    "replaces sixteen": {"replaces": IDS[:16]},
    "derived from one": {"derived_from": IDS[:1]},
    "all optional words": {"target_class": 3, "source_action": 8, "lawful_basis": 6, "guidance_clause": "c" * 64},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_a_valid_statement(changes: dict[str, Any]) -> None:
    check(signal_statement(**changes))


#: What is changed -> (field, words of the description, reason). One violation each.
BAD: dict[str, tuple[dict[str, Any], str, str, Reason]] = {
    "no label": ({"label": 0}, "signal.label", "is mandatory", Reason.INVALID),
    "unknown label": ({"label": 999}, "signal.label", "999 is not known", Reason.INVALID),
    "no confidence": ({"confidence": 0}, "signal.confidence", "is mandatory", Reason.INVALID),
    "unknown confidence": ({"confidence": 4}, "signal.confidence", "not known", Reason.INVALID),
    "no severity": ({"severity": 0}, "signal.severity", "is mandatory", Reason.INVALID),
    "no handling": ({"handling": 0}, "signal.handling", "is mandatory", Reason.INVALID),
    "unknown handling": ({"handling": -1}, "signal.handling", "not known", Reason.INVALID),
    "unknown target": ({"target_class": 4}, "signal.target_class", "not known", Reason.INVALID),
    "unknown action": ({"source_action": 9}, "signal.source_action", "not known", Reason.INVALID),
    "unknown basis": ({"lawful_basis": 7}, "signal.lawful_basis", "not known", Reason.INVALID),
    "no election": ({"election": b"short"}, "signal.election", "no id of an election", Reason.INVALID),
    "long clause": ({"guidance_clause": "c" * 65}, "signal.guidance_clause", "at most 64", Reason.INVALID),
    "an address as a clause": (
        {"guidance_clause": "a@example.org"},
        "signal.guidance_clause",
        "letters",
        Reason.INVALID,
    ),
    "a page as a clause": ({"guidance_clause": "https://x.com/a"}, "signal.guidance_clause", "letters", Reason.INVALID),
    "a number as a clause": (
        {"guidance_clause": "07700900123"},
        "signal.guidance_clause",
        "six digits",
        Reason.INVALID,
    ),
    "two lines as a clause": ({"guidance_clause": "4.2\nx"}, "signal.guidance_clause", "letters", Reason.INVALID),
    "no expiry": ({"expires_at_ms": 0}, "signal.expires_at_ms", "is mandatory", Reason.INVALID),
    "expired": ({"expires_at_ms": NOW_MS}, "signal.expires_at_ms", "in the past", Reason.INVALID),
    "expires too late": (
        {"expires_at_ms": NOW_MS + RULES.max_expiry_days * DAY_MS + 1},
        "signal.expires_at_ms",
        "90 days away",
        Reason.INVALID,
    ),
    "observed later": ({"observed_at_ms": NOW_MS + SKEW_MS + 1}, "signal.observed_at_ms", "future", Reason.INVALID),
    "actioned later": ({"actioned_at_ms": NOW_MS + SKEW_MS + 1}, "signal.actioned_at_ms", "future", Reason.INVALID),
    "observed after actioned": (
        {"observed_at_ms": NOW_MS, "actioned_at_ms": NOW_MS - 1},
        "signal.actioned_at_ms",
        "before observed_at_ms",
        Reason.INVALID,
    ),
    "replaces and derives": (
        {"replaces": IDS[:1], "derived_from": IDS[1:2]},
        "signal.derived_from",
        "together with replaces",
        Reason.INVALID,
    ),
    "replaces seventeen": ({"replaces": IDS}, "signal.replaces", "more than 16", Reason.INVALID),
    "derived from seventeen": ({"derived_from": IDS}, "signal.derived_from", "more than 16", Reason.INVALID),
    "replaces no id": ({"replaces": (b"x" * 31,)}, "signal.replaces", "not an id", Reason.INVALID),
    "derived from one twice": ({"derived_from": IDS[:1] * 2}, "signal.derived_from", "twice", Reason.INVALID),
    "two replace one": (
        {"replaces": IDS[:1], "records": [pdq_record("1"), pdq_record("2")]},
        "records",
        "exactly one",
        Reason.INVALID,
    ),
    "two derive": (
        {"derived_from": IDS[:1], "records": [pdq_record("1"), pdq_record("2")]},
        "records",
        "exactly one",
        Reason.INVALID,
    ),
    "no types": ({"indicator_types": ()}, "signal.indicator_types", "sorted set", Reason.INVALID),
    "unsorted types": ({"indicator_types": (5, 1)}, "signal.indicator_types", "sorted set", Reason.INVALID),
    "repeated types": ({"indicator_types": (1, 1)}, "signal.indicator_types", "sorted set", Reason.INVALID),
    "too few types": (
        with_indicator(Indicator(5, digest("s")), Indicator(1, digest("p"))) | {"indicator_types": (1,)},
        "signal.indicator_types",
        "differs from the types",
        Reason.INVALID,
    ),
    "too many types": ({"indicator_types": (1, 5)}, "signal.indicator_types", "differs", Reason.INVALID),
    "1001 records": (
        {"records": [pdq_record(str(n)) for n in range(1001)]},
        "records",
        "must be 1 to 1000, not 1001",
        Reason.TOO_LARGE,
    ),
    "no records": ({"records": [], "indicator_types": (1,)}, "records", "not 0", Reason.INVALID),
    "a record twice": ({"records": [pdq_record()] * 2}, "signal_ids", "an id twice", Reason.INVALID),
    "an id too few": (header(signal_ids=()), "signal_ids", "holds 0 ids for 1", Reason.INVALID),
    "another id": (header(signal_ids=IDS[:1]), "records[0]", "does not hash to its signal id", Reason.INVALID),
    "no publisher": (header(publisher="No Name"), "publisher", "not a member id", Reason.INVALID),
    "short nonce": (header(nonce=b"x" * 15), "nonce", "16 bytes", Reason.INVALID),
    "no time": (header(created_at_ms=0), "created_at_ms", "is missing", Reason.INVALID),
    "no salt": ({"records": [pdq_record(salt=b"")]}, "records[0].salt", "first field", Reason.INVALID),
    "short salt": ({"records": [pdq_record(salt=b"x" * 15)]}, "records[0].salt", "16 bytes", Reason.INVALID),
    "long salt": ({"records": [pdq_record(salt=b"x" * 17)]}, "records[0].salt", "16 bytes", Reason.INVALID),
    "long record": (
        with_indicator(Indicator(IndicatorType.URL, bytes(4096))),
        "records[0]",
        "at most 4096",
        Reason.TOO_LARGE,
    ),
    "long video record": (
        with_indicator(structs.replace(VIDEO, frames=frames(*[(n, 1) for n in range(1900)]))),
        "records[0]",
        "at most 65536",
        Reason.TOO_LARGE,
    ),
    "long case": ({"records": [pdq_record(case_ref="é" * 65)]}, "records[0].case_ref", "128", Reason.INVALID),
    "quality 101": ({"records": [pdq_record(quality=101)]}, "records[0].quality", "0 to 100", Reason.INVALID),
    "no indicators": (
        {"records": [pdq_record(indicators=())], "indicator_types": (1,)},
        "records[0].indicators",
        "1 to 8",
        Reason.INVALID,
    ),
    "nine indicators": (
        with_indicator(*[Indicator(12, digest(str(n))) for n in range(9)]),
        "records[0].indicators",
        "1 to 8",
        Reason.INVALID,
    ),
    "unknown type": (with_indicator(Indicator(77, b"x")), "records[0].indicators[0].type", "77", Reason.INVALID),
    "unknown profile": (
        with_indicator(Indicator(1, digest("p"), profile=2)),
        "records[0].indicators[0].profile",
        "2 is unknown for pdq",
        Reason.INVALID,
    ),
    "frames in a photograph": (
        with_indicator(Indicator(1, digest("p"), frames=frames((0, 1)))),
        "records[0].indicators[0].frames",
        "no place in a pdq",
        Reason.INVALID,
    ),
    "value in a video": (
        with_indicator(structs.replace(VIDEO, value=digest("v"))),
        "records[0].indicators[0].value",
        "must be empty",
        Reason.INVALID,
    ),
    "no frames": (with_indicator(Indicator(2)), "records[0].indicators[0].frames", "1 to 2000", Reason.INVALID),
    "short frame": (
        with_indicator(structs.replace(VIDEO, frames=(VideoFrame(0, 1, b"x" * 31),))),
        "records[0].indicators[0].frames",
        "PDQ hash each",
        Reason.INVALID,
    ),
    "frame of quality 101": (
        with_indicator(structs.replace(VIDEO, frames=frames((0, 101)))),
        "records[0].indicators[0].frames",
        "quality is 0 to 100",
        Reason.INVALID,
    ),
    "frames out of order": (
        with_indicator(structs.replace(VIDEO, frames=frames((40, 1), (0, 1)))),
        "records[0].indicators[0].frames",
        "order of time",
        Reason.INVALID,
    ),
    "empty audience": ({"audience": []}, "audience_record", "empty audience is an error", Reason.INVALID),
    "audience not sorted": ({"audience": ["beta", "alpha"]}, "audience_record", "sorted", Reason.INVALID),
    "audience repeats": ({"audience": ["alpha", "alpha"]}, "audience_record", "repeats", Reason.INVALID),
    "audience of no member": ({"audience": ["Alpha"]}, "audience_record", "not a member id", Reason.INVALID),
    "audience of 501": (
        {"audience": [f"m{n:03}" for n in range(501)]},
        "audience_record",
        "more than 500",
        Reason.INVALID,
    ),
    "audience without salt": (
        {"audience": ["beta"], "audience_record": codec.encode_audience(b"", ["beta"])},
        "audience_record.salt",
        "must come first",
        Reason.INVALID,
    ),
    "audience of another id": (
        {"audience": ["beta"], "audience_id": digest("other")},
        "signal.audience_id",
        "not the id of the audience record",
        Reason.INVALID,
    ),
    "audience of another publisher": (
        {
            "audience": ["beta"],
            "audience_record": codec.encode_audience(bytes(16), ["beta"]),
            "audience_id": audience_id(UK, "beta", codec.encode_audience(bytes(16), ["beta"])),
        },
        "signal.audience_id",
        "not the id",
        Reason.INVALID,
    ),
    "everyone with an id": (
        {"audience_id": digest("a")},
        "signal.audience_id",
        "no place when the audience is everyone",
        Reason.INVALID,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_violation(name: str) -> None:
    changes, where, what, reason = BAD[name]
    error = refusal(signal_statement(**changes))
    first = error.violations[0]
    assert (first.field, error.reason) == (where, reason)
    assert what in first.description
    # A value that makes its record too long is also too long itself; all else is one mistake and told once.
    assert error.total == (2 if name == "long record" else 1), error.violations


def changed_body(said: Said, **changes: Any) -> Said:
    return replace(said, header=replace(said.header, body=replace(said.body, **changes)))


@pytest.mark.parametrize("audience", [0, 3])
def test_an_audience_that_says_nothing_is_never_everyone(audience: int) -> None:
    error = refusal(changed_body(signal_statement(), audience=audience))
    assert [v.field for v in error.violations] == ["signal.audience"]


def test_restricted_without_an_audience_record() -> None:
    error = refusal(changed_body(signal_statement(), audience=Audience.RESTRICTED))
    assert {v.field for v in error.violations} == {
        "audience_record",
        "audience_record.salt",
        "signal.audience_id",
    }


def test_everyone_with_an_audience_record() -> None:
    said = signal_statement(audience=["beta"])
    error = refusal(changed_body(said, audience=Audience.EVERYONE, audience_id=b""))
    assert [v.field for v in error.violations] == ["audience_record"]


def test_a_body_that_is_missing() -> None:
    said = signal_statement()
    error = refusal(replace(said, header=replace(said.header, body=None)))
    assert [(v.field, v.description) for v in error.violations] == [("signal", "is missing")]


@pytest.mark.parametrize("label", ROUTED_ELSEWHERE, ids=lambda label: label.word)
def test_child_sexual_abuse_is_refused_with_the_pointer(label: Label) -> None:
    error = refusal(signal_statement(label=label))
    assert error.reason is Reason.ROUTED_ELSEWHERE
    assert error.hint == ROUTED_ELSEWHERE[label]
    assert error.total == 1


@pytest.mark.parametrize("row", [r for r in INDICATOR_TYPES.values() if r.value_bytes], ids=lambda r: r.type.word)
def test_each_type_has_its_length(row: Any) -> None:
    exact, hexadecimal = digest("v") + digest("w"), row.value_bytes * 2
    check(signal_statement(**with_indicator(Indicator(row.type, exact[: row.value_bytes]))))
    for size in (0, row.value_bytes - 1, row.value_bytes + 1, hexadecimal):
        error = refusal(signal_statement(**with_indicator(Indicator(row.type, (exact * 2)[:size]))))
        assert error.violations[0].field == "records[0].indicators[0].value"
        assert ("hexadecimal" in error.hint) == (size == hexadecimal)


def test_a_record_whose_salt_does_not_come_first() -> None:
    raw = codec.encode_record(pdq_record())
    said = signal_statement(raw=[raw[18:] + raw[:18]])
    with pytest.raises(InvalidStatement) as caught:
        validate(said.header, said.statement.records, partial(codec.decode_records, strict=False), b"", (), RULES)
    assert [v.field for v in caught.value.violations] == ["records[0].salt"]


def test_a_header_that_is_wrong_spares_the_records() -> None:
    error = refusal(signal_statement(label=0, records=[pdq_record(quality=101)]))
    assert [v.field for v in error.violations] == ["signal.label"]


def test_the_first_twenty_of_many_are_told_and_all_are_counted() -> None:
    bad: list[Record] = [pdq_record(str(n), quality=101 if n % 2 else 1) for n in range(1000)]
    error = refusal(signal_statement(records=bad))
    assert error.total == 500
    assert [v.field for v in error.violations] == [f"records[{n}].quality" for n in range(1, 2 * MAX_REPORTED, 2)]
    assert error.message.endswith("(and 499 more)")


@pytest.mark.parametrize(
    ("age_ms", "resubmission", "late"),
    [
        (0, False, False),
        (-SKEW_MS, False, False),
        (SKEW_MS, False, False),
        (SKEW_MS, True, False),
        (SKEW_MS + 1, True, True),
        (RULES.replay_window_days * DAY_MS, True, True),
    ],
)
def test_when_a_statement_may_have_been_created(age_ms: int, resubmission: bool, late: bool) -> None:
    said = signal_statement(header={"created_at_ms": NOW_MS - age_ms})
    assert check_created(said.header, RULES, resubmission=resubmission) is late


@pytest.mark.parametrize(
    ("age_ms", "resubmission", "hint"),
    [
        (-SKEW_MS - 1, False, ""),
        (-SKEW_MS - 1, True, ""),
        (SKEW_MS + 1, False, "resubmission"),
        (RULES.replay_window_days * DAY_MS + 1, True, ""),
    ],
)
def test_when_it_may_not(age_ms: int, resubmission: bool, hint: str) -> None:
    said = signal_statement(header={"created_at_ms": NOW_MS - age_ms})
    with pytest.raises(InvalidStatement) as caught:
        check_created(said.header, RULES, resubmission=resubmission)
    assert caught.value.reason is Reason.CLOCK_SKEW
    assert hint in caught.value.hint
