"""Changing valid inputs a little: byte by byte, and protobuf messages field by field.

A message that is changed only by bytes mostly stops being one, because every length before the change is wrong. Here
the fields are taken apart, one of them is dropped, repeated, moved or changed (a nested one in the same way), and all
are put together again with the right lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

#: What readers trip over: ends of numbers, lengths, texts and structures.
PIECES: tuple[bytes, ...] = (
    *(bytes([value]) for value in (0x00, 0x01, 0x0A, 0x20, 0x2B, 0x2D, 0x2F, 0x7F, 0x80, 0xFF)),
    b"\n\n",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 32,
    b"\x80" * 64,
    bytes(32),
    b"9" * 5_000,
    b"[" * 3_000,
    b"{",
    b"=",
    b"%00",
    b"../",
    b"1e999",
    b"NaN",
    b"-0",
    b"9223372036854775808",
    "\u2014 ".encode(),
    *(letter.encode() for letter in "\u00b2\u0663\u0131\u017f\u2028"),
    "\ufeff".encode(),
    b"\xed\xa0\x80",
    b"\\ud800",
    b"0001-01-01T00:00:00+23:59",
)
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH = 3

Field = tuple[int, int, int | bytes]


def mutate(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return the bytes with a few changes."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        start = random.randrange(len(out) + 1)
        end = min(len(out), start + random.choice((0, 1, 1, 2, 4, 16, 64)))
        match random.randrange(8):
            case 0 if out:
                out[min(start, len(out) - 1)] ^= 1 << random.randrange(8)
            case 1:
                out[start:end] = random.randbytes(end - start)
            case 2:
                del out[start:end]
            case 3:
                out[start:start] = out[start:end] * random.choice((1, 2, 40))
            case 4:
                out[start:end] = random.choice(PIECES)
            case 5:
                out[start:start] = random.choice(PIECES)
            case 6:
                del out[start:]
            case _:
                other = random.choice(others) if others else data
                at = random.randrange(len(other) + 1)
                out[start:end] = other[at : at + random.choice((1, 8, 64, 1_024))]
    return bytes(out)


def mutate_message(data: bytes, random: Random, others: Sequence[bytes] = (), depth: int = _DEPTH) -> bytes:
    """Return the message with one field changed; bytes that are no message are changed as bytes."""
    fields = _fields(data)
    if not fields or depth == 0 or random.random() < 0.1:
        return mutate(data, random, others)
    at = random.randrange(len(fields))
    number, kind, value = fields[at]
    match random.randrange(9):
        case 0:
            del fields[at]
        case 1:
            fields.insert(random.randrange(len(fields) + 1), fields[at])
        case 2:
            fields.insert(random.randrange(len(fields)), fields.pop(at))
        case 3:
            fields[at] = (random.choice((number + 1, max(1, number - 1), 15, 16, 101, 200)), kind, value)
        case 4:
            fields.append((random.randrange(1, 200), _VARINT, random.choice(NUMBERS)))
        case _ if isinstance(value, int):
            fields[at] = (number, _VARINT, random.choice((*NUMBERS, value + 1, value ^ 1)) % 2**64)
        case 5 if isinstance(value, bytes):
            fields[at] = (number, kind, mutate(value, random, others))
        case _ if isinstance(value, bytes):
            fields[at] = (number, kind, mutate_message(value, random, others, depth - 1))
    return b"".join(map(_written, fields))


def changer(*, message: bool) -> Callable[[bytes, Random, Sequence[bytes]], bytes]:
    """Return the way to change inputs of one sort."""
    return mutate_message if message else mutate


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise ValueError("too long for a number")


def _fields(data: bytes) -> list[Field]:
    """Return the fields of a message; none when the bytes are not one."""
    fields: list[Field] = []
    at = 0
    try:
        while at < len(data):
            tag, at = _number(data, at)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = _number(data, at)
                fields.append((number, kind, value))
                continue
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
            if kind == _BYTES:
                size, at = _number(data, at)
            if (not size and kind != _BYTES) or at + size > len(data):
                return []
            fields.append((number, kind, data[at : at + size]))
            at += size
    except (IndexError, ValueError):
        return []
    return fields


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _written(field: Field) -> bytes:
    number, kind, value = field
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    length = _varint(len(value)) if kind == _BYTES else b""
    return _varint(number << 3 | kind) + length + value
