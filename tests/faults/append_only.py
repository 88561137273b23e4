"""The append-only file of a server: its commands, and tearing and flipping it as a disk would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command, and where it lies."""

    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    at: int
    words: tuple[Word, ...]

    def writes(self, key: bytes, field: bytes) -> Word | None:
        """Return the value that it gives to a field of a hash; None where it does not."""
        name, first = self.words[0].data, self.words[1:2]
        if name.upper() != b"HSET" or not first or first[0].data != key:
            return None
        pairs = zip(self.words[2::2], self.words[3::2], strict=True)
        return next((value for name, value in pairs if name.data == field), None)


def commands(file: Path) -> Iterator[Command]:
    """Yield the commands in a file, in order."""
    data, at = file.read_bytes(), 0

    def number(mark: bytes) -> int:
        nonlocal at
        assert data[at : at + 1] == mark, (at, data[at : at + 40])
        end = data.index(b"\r\n", at)
        found, at = int(data[at + 1 : end]), end + 2
        return found

    while at < len(data):
        start, words = at, []
        for _ in range(number(b"*")):
            size = number(b"$")
            words.append(Word(at, data[at : at + size]))
            at += size + 2
        yield Command(start, tuple(words))


def last_of(file: Path, key: bytes, field: bytes) -> Word:
    """Return the value that a field of a hash was given last."""
    found = [word for command in commands(file) if (word := command.writes(key, field)) is not None]
    return found[-1]


def named(file: Path, key: bytes, value: bytes) -> Word:
    """Return the name of the field of a hash that was given this value."""
    for command in commands(file):
        if command.words[0].data.upper() == b"HSET" and command.words[1].data == key:
            for name, given in zip(command.words[2::2], command.words[3::2], strict=True):
                if given.data == value:
                    return name
    raise AssertionError(f"nothing has the value {value!r}")


def flip(file: Path, at: int) -> None:
    """Flip the lowest bit of a byte; once more, and it is as it was."""
    with file.open("r+b") as data:
        data.seek(at)
        (byte,) = data.read(1)
        data.seek(at)
        data.write(bytes([byte ^ 1]))


def tear(file: Path, at: int) -> bytes:
    """Cut a file off; return the whole of it."""
    whole = file.read_bytes()
    with file.open("r+b") as data:
        data.truncate(at)
    return whole
