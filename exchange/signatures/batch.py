"""What a process beside ours is asked, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NUMBER = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Signed:
    """Bytes, and the signatures that must hold of them: each a public key and a signature by it."""

    message: bytes
    signatures: tuple[tuple[bytes, bytes], ...]

    @property
    def size(self) -> int:
        """About how many bytes this is."""
        return len(self.message) + 128 * len(self.signatures)


Batch = Sequence[Signed]


def pack(batch: Batch) -> bytes:
    """Return a batch as bytes: for each item its parts, with their number, and each with its length before it."""
    parts: list[bytes] = []
    for item in batch:
        parts.append(NUMBER.pack(len(item.signatures)))
        for part in (item.message, *(part for pair in item.signatures for part in pair)):
            parts += (NUMBER.pack(len(part)), part)
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[Signed]:
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
        count = number()
        yield Signed(part(), tuple((part(), part()) for _ in range(count)))
