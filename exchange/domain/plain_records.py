"""The common record, recognised by its bytes. What most records are is checked without parsing them.

A record's bytes are canonical (`exchange.codec`), so one that holds nothing but a salt, indicators of a single value,
an ASCII case reference and a quality has every tag and length in a known place. Recognising those places is a few
dictionary look-ups; whatever is not recognised is parsed and looked at closely (`exchange.domain.validation`).

What must stay true: a recognised record is one that the close look finds no fault with, of exactly these types.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from exchange.domain.identifiers import INDICATOR_TYPES, IndicatorType, key_epoch_of
from exchange.domain.statement import RECORD_PREFIX, SALT_BYTES

MAX_INDICATORS = 8
MAX_QUALITY = 100

_INDICATOR, _CASE_REF, _QUALITY = 0x12, 0x1A, 0x20
_PSEUDONYM = IndicatorType.PSEUDONYM.value
_AFTER_SALT = len(RECORD_PREFIX) + SALT_BYTES
#: Lengths and numbers above this take a second byte on the wire.
_ONE_BYTE = 0x7F
#: Tag and length of an indicator, then tag and value of type and profile, then tag and length of its value.
_HEAD_BYTES = 8


def _heads() -> Iterable[tuple[bytes, tuple[int, int]]]:
    """Yield the first bytes of each indicator that has one value, with its type and its whole length."""
    for number, row in INDICATOR_TYPES.items():
        for profile in row.profiles:
            if row.value_bytes and max(number, profile, row.value_bytes + _HEAD_BYTES - 2) <= _ONE_BYTE:
                inside = _HEAD_BYTES - 2 + row.value_bytes
                head = bytes((_INDICATOR, inside, 0x08, number, 0x10, profile, 0x1A, row.value_bytes))
                yield head, (number, 2 + inside)


_HEADS: dict[bytes, tuple[int, int]] = dict(_heads())


@dataclass(slots=True)
class Sifted:
    """What the plain records hold."""

    #: Their indicator types, and the key epochs of the pseudonyms among them.
    types: set[int] = field(default_factory=set)
    key_epochs: set[int] = field(default_factory=set)
    #: Positions of all other records.
    others: list[int] = field(default_factory=list)


def sift(records: Iterable[bytes]) -> Sifted:
    """Look through records: what is plain in them, and where those are that must be looked at closely."""
    sifted = Sifted()
    types, others = sifted.types, sifted.others
    find = _HEADS.get
    for position, record in enumerate(records):
        size, at, count = len(record), _AFTER_SALT, 0
        found = find(record[at : at + _HEAD_BYTES]) if record[:2] == RECORD_PREFIX else None
        while found is not None:
            types.add(found[0])
            if found[0] == _PSEUDONYM:
                sifted.key_epochs.add(key_epoch_of(record[at + _HEAD_BYTES : at + found[1]]))
            at += found[1]
            count += 1
            found = find(record[at : at + _HEAD_BYTES])
        if not 0 < count <= MAX_INDICATORS or not _ends_plainly(record, at, size):
            others.append(position)
    return sifted


def _ends_plainly(record: bytes, at: int, size: int) -> bool:
    """Whether nothing but a case reference and a quality stand at the end of a record."""
    if at + 1 < size and record[at] == _CASE_REF:
        length = record[at + 1]
        if not 0 < length <= _ONE_BYTE or not record[at + 2 : at + 2 + length].isascii():
            return False
        at += 2 + length
    if at + 1 < size and record[at] == _QUALITY and 0 < record[at + 1] <= MAX_QUALITY:
        at += 2
    return at == size
