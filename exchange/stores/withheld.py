"""Why no hub may serve a log: its store is being filled from another one, or the log has moved away from it.

It is written down in the store itself, so that every hub meets it, whichever machine it is on; and the store compares
it when a log is opened and, where several hubs may have it open, at every append. Nothing written: hubs may serve it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from exchange.errors import Fatal, Reason
from exchange.ops.durable import replace, sync_folder

NAME = "withheld"


class Why(StrEnum):
    """The reason. Its value lies in stores."""

    FILLING = "filling"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Withheld:
    """What is written down: why, and from which store, or to which."""

    why: Why
    other: str

    def encoded(self) -> bytes:
        """Return it as it lies in a store."""
        return f"{self.why}\n{self.other}\n".encode()

    @classmethod
    def decoded(cls, data: bytes) -> Withheld | None:
        """Return what was written down; None for nothing. Raises `Fatal` where it cannot be read."""
        if not data:
            return None
        try:
            why, other, end = data.decode().split("\n")
            found = cls(Why(why), other)
        except ValueError as error:
            raise Fatal("why the log is withheld cannot be read in its store") from error
        if end:
            raise Fatal("why the log is withheld cannot be read in its store")
        return found


def refusal(origin: str, data: bytes) -> Fatal:
    """Return the error for whoever takes a log that is withheld for one that is not, or the other way round."""
    found = Withheld.decoded(data)
    if found is None:
        return Fatal(f"{origin}: is not withheld from hubs any more", reason=Reason.CONFLICT)
    if found.why is Why.MOVED:
        return Fatal(
            f"{origin}: has moved to {found.other}",
            reason=Reason.CONFLICT,
            hint="serve it there; `exchange migrate` moves it back",
        )
    return Fatal(
        f"{origin}: is being filled from {found.other}",
        reason=Reason.CONFLICT,
        hint="run the same `exchange migrate` again: it goes on where it ended",
    )


def require(origin: str, found: bytes, expected: bytes) -> None:
    """Return if what a store says is what is expected of it. Raises `Fatal` (CONFLICT)."""
    if found != expected:
        raise refusal(origin, found)


def read_file(folder: Path) -> bytes:
    """Return what is written down in a log's folder; nothing where there is no file. Raises `Fatal`."""
    try:
        return (folder / NAME).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Fatal(f"{folder / NAME}: {error.strerror}") from error


def write_file(folder: Path, data: bytes) -> None:
    """Write it down durably in a log's folder; with nothing, remove what is there."""
    path = folder / NAME
    if data:
        replace(path, data)
    elif path.exists():
        path.unlink()
        sync_folder(folder)
