"""The work that every contender is given: signals of 217 bytes, in statements of so many records, in messages.

A *load* says how many signals travel and how they are packed. What the hub gets are statements with real signatures;
what the others get are values of the same 217 bytes. A message is what a publisher sends at once: the same number of
signals for everyone, and the same number of messages in flight.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from exchange import codec
from exchange.codec import varint
from exchange.domain.identifiers import IndicatorType
from exchange.ledger.ed25519 import SigningKey
from exchange_client.records import Indicator, Record
from tests.e2e.drafts import Draft, now_ms, signal

RECORD_BYTES = 217
#: Messages that a publisher has under way at once.
WINDOW = 8
#: Signals in a message of single statements, and of middling ones.
_SINGLES, _BATCHED = 64, 1000
_CASE_REF = 115


@dataclass(frozen=True, slots=True)
class Load:
    """So many signals, in statements of ``per_statement`` records."""

    records: int
    per_statement: int

    @property
    def statements(self) -> int:
        """How many statements that makes."""
        return self.records // self.per_statement

    @property
    def statements_per_message(self) -> int:
        """How many statements travel together."""
        return max(1, (_SINGLES if self.per_statement == 1 else _BATCHED) // self.per_statement)

    @property
    def signals_per_message(self) -> int:
        """How many signals travel together."""
        return self.statements_per_message * self.per_statement


def record_bytes() -> bytes:
    """Return one record of `RECORD_BYTES`: two indicators and a case reference."""
    indicators = (
        Indicator(IndicatorType.PDQ, secrets.token_bytes(32), 1),
        Indicator(IndicatorType.IMAGE_SHA256, secrets.token_bytes(32), 1),
    )
    case_ref = secrets.token_hex(_CASE_REF // 2 + 1)[:_CASE_REF]
    data = codec.encode_record(Record(secrets.token_bytes(16), indicators, case_ref, 90))
    assert len(data) == RECORD_BYTES, f"a record has {len(data)} bytes"
    return data


def draft(member: str, origin: str, records: int) -> Draft:
    """Return a statement of so many fresh records, to be signed."""
    types = (IndicatorType.PDQ, IndicatorType.IMAGE_SHA256)
    made = [record_bytes() for _ in range(records)]
    return signal(member, origin, records=made, indicator_types=tuple(sorted(types)))


def statements(
    member: str, origin: str, key: SigningKey, count: int, records: int, *, every_ms: float = 0.0
) -> Iterator[bytes]:
    """Yield signed statements as wire bytes, each said so much later than the one before.

    A hub takes what was said within five minutes: so what is made ahead for a long load is dated as it will be sent.
    """
    started = now_ms()
    for number in range(count):
        said = draft(member, origin, records)
        if every_ms:
            said = said.but(created_at_ms=started + int(number * every_ms))
        yield said.sign(key).SerializeToString()


def repeated(elements: list[bytes], tag: bytes = b"\x0a") -> bytes:
    """Return a message whose first field is repeated and holds these elements."""
    return b"".join(part for element in elements for part in (tag, varint(len(element)), element))


def framed_statements(member: str, origin: str, key: SigningKey, load: Load) -> list[bytes]:
    """Return all requests of a load, ready for the wire."""
    per = load.statements_per_message
    every = list(statements(member, origin, key, load.statements, load.per_statement))
    return [repeated(every[at : at + per]) for at in range(0, len(every), per)]


def values(count: int) -> list[bytes]:
    """Return plain values of a signal's size, for contenders that know no statements."""
    return [secrets.token_bytes(RECORD_BYTES) for _ in range(count)]


class BadFraming(Exception):
    """A message is not a sequence of whole length-delimited fields."""


def count_entries(message: bytes) -> int:
    """Return how many entries a feed message holds, after checking its framing to the last byte."""
    at, size, found = 0, len(message), 0
    while at < size:
        tag = message[at]
        length = shift = 0
        while True:
            at += 1
            byte = message[at]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        at += 1 + length
        if tag == 0x0A:
            found += 1
        elif tag & 7 != 2:
            raise BadFraming(f"tag {tag:#x} at {at}")
    if at != size:
        raise BadFraming(f"{at - size} bytes too many")
    return found
