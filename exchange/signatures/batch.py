"""What a process beside ours is asked, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

#: Before a batch: its number and its length. The answer is the number, and a byte for each item: 1 for "all hold".
HEAD = struct.Struct(">II")
NUMBER = struct.Struct(">I")

#: A public key, a signature by it, and what was signed.
Check = tuple[bytes, bytes, bytes]
#: Items with all that must hold of each.
Batch = Sequence[Sequence[Check]]


def pack(batch: Batch) -> bytes:
    """Return a batch as bytes: for each item how many checks, and their parts, each with its length before it."""
    parts: list[bytes] = []
    for checks in batch:
        parts.append(NUMBER.pack(len(checks)))
        for check in checks:
            for part in check:
                parts += (NUMBER.pack(len(part)), part)
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[list[Check]]:
    """Yield what `pack` was given."""
    at = 0

    def number() -> int:
        nonlocal at
        at += NUMBER.size
        return int(NUMBER.unpack_from(data, at - NUMBER.size)[0])

    def part() -> bytes:
        nonlocal at
        length = number()
        at += length
        return data[at - length : at]

    while at < len(data):
        yield [(part(), part(), part()) for _ in range(number())]
