"""The permanent tables: their numbers are the wire's, and they leave nothing open."""

from __future__ import annotations

import re
from enum import IntEnum

import pytest

from exchange.domain.addressed import ReferralOutcome, ReferralState, ReferralUrgency
from exchange.domain.bodies import (
    Audience,
    Confidence,
    Handling,
    LawfulBasis,
    Severity,
    SourceAction,
    State,
    TargetClass,
)
from exchange.domain.contacts import ContactPurpose
from exchange.domain.identifiers import INDICATOR_TYPES, IndicatorType, Origin, is_name
from exchange.domain.kinds import CLASS_ROLES, KINDS, Kind, Log, MemberClass, Role
from exchange.domain.labels import DSA_TERMS, ROUTED_ELSEWHERE, Label
from exchange.v1 import statement_pb2 as pb

ENUMS: tuple[type[IntEnum], ...] = (
    Audience,
    Confidence,
    ContactPurpose,
    Handling,
    IndicatorType,
    Kind,
    Label,
    LawfulBasis,
    MemberClass,
    ReferralOutcome,
    ReferralState,
    ReferralUrgency,
    Role,
    Severity,
    SourceAction,
    State,
    TargetClass,
)


@pytest.mark.parametrize("words", ENUMS, ids=lambda words: words.__name__)
def test_names_and_numbers_are_those_of_the_wire(words: type[IntEnum]) -> None:
    wire = pb.DESCRIPTOR.enum_types_by_name[words.__name__]
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", words.__name__).upper()
    assert {f"{prefix}_{word.name}": word.value for word in words} | {f"{prefix}_UNSPECIFIED": 0} == {
        value.name: value.number for value in wire.values
    }


def test_every_kind_has_its_row() -> None:
    assert set(KINDS) == {kind.value for kind in Kind}
    assert all(row.kind == number and row.name == row.kind.name.lower() for number, row in KINDS.items())


def test_a_body_has_the_field_number_of_its_kind() -> None:
    fields = [field for field in pb.Header.DESCRIPTOR.fields if field.number > 100]
    assert {field.name: field.number - 100 for field in fields} == {
        row.name: number for number, row in KINDS.items() if row.accepted
    }


@pytest.mark.parametrize("row", KINDS.values(), ids=lambda row: row.name)
def test_a_row_makes_sense(row: object) -> None:
    found = KINDS[row.kind]  # type: ignore[attr-defined]
    assert (found.log is Log.DIRECTORY) == (found.kind >= 64)
    assert found.publishers
    assert 0 <= found.min_records <= found.max_records <= 1000
    assert bool(found.readers) == bool(found.max_records), "records that nobody reads, or readers of nothing"
    assert found.summary
    if found.log is Log.DIRECTORY:
        assert found.publishers == {Role.OPERATOR}
        assert found.accepted
    if found.operator_threshold:
        assert Role.OPERATOR in found.publishers


def test_a_role_belongs_to_one_class_of_member() -> None:
    owners = [role for roles in CLASS_ROLES.values() for role in roles]
    assert sorted(owners) == sorted(Role)


def test_what_two_operators_must_sign() -> None:
    assert {row.kind for row in KINDS.values() if row.operator_threshold} == {
        Kind.RETRACTION,
        Kind.ERASURE,
        Kind.MEMBER,
        Kind.KEY,
        Kind.MEMBERSHIP,
        Kind.COMMUNITY,
        Kind.QUOTA,
    }


def test_every_label_has_its_words_in_the_dsa() -> None:
    assert set(DSA_TERMS) == set(Label)
    assert all(re.fullmatch(r"[A-Z_]+", terms.category) for terms in DSA_TERMS.values())
    assert all(re.fullmatch(r"[A-Z_]*", terms.keyword) for terms in DSA_TERMS.values())


def test_child_sexual_abuse_is_routed_elsewhere() -> None:
    assert {label.name for label in ROUTED_ELSEWHERE} == {
        "CHILD_SAFETY_CSAM",
        "CHILD_SAFETY_GROOM",
        "CHILD_SAFETY_ENDANGERMENT",
        "CHILD_SAFETY_PROMOTION",
    }
    assert all("NCMEC" in pointer and "Internet Watch Foundation" in pointer for pointer in ROUTED_ELSEWHERE.values())


def test_the_registry_of_indicators() -> None:
    sizes = {row.type.word: row.value_bytes for row in INDICATOR_TYPES.values()}
    assert sizes == {
        "pdq": 32,
        "vpdq": 0,
        "text_tlsh": 35,
        "image_md5": 16,
        "image_sha256": 32,
        "video_md5": 16,
        "video_sha256": 32,
        "audio_md5": 16,
        "audio_sha256": 32,
        "document_md5": 16,
        "document_sha256": 32,
        "url": 32,
        "pseudonym": 36,
    }
    assert {row.type for row in INDICATOR_TYPES.values() if row.hamming} == {IndicatorType.PDQ, IndicatorType.VPDQ}
    assert all(number == row.type and row.profiles == {1} for number, row in INDICATOR_TYPES.items())


@pytest.mark.parametrize("name", ["a", "0", "a.b-c", "a" * 63, "9.-"])
def test_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "A", "a_b", "a/b", "a" * 64, "a\n", "a b", "ä", "а", "a\0"])  # noqa: RUF001 - a Cyrillic letter
def test_not_a_name(name: str) -> None:
    assert not is_name(name)


def test_an_origin_is_two_names() -> None:
    assert str(Origin.parse("example.org/uk")) == "example.org/uk"
    directory = Origin.parse("example.org/directory")
    assert directory is not None
    assert directory.is_directory
    for text in ("", "a", "a/", "/a", "a/b/c", "a/b/", "a//b", "A/b", "a/b\n", "a /b"):
        assert Origin.parse(text) is None, text
