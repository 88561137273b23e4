"""What a backup looks like on disk.

<backup>/backup.json                                what is in it: written last, so a run that was cut off adds nothing
<backup>/logs/<log>/checkpoint                      the log's signed checkpoint
<backup>/logs/<log>/tile/entries/...                its leaves, in bundles as C2SP tlog-tiles has them
<backup>/logs/<log>/records/<first>-<end>/<day>     records of these entries that end with that day, encrypted
<keys>/<log>/<day>                                  the key of that day, which is no part of the backup

A folder of a log with its checkpoint and its bundles is a static log for any tool that reads tlog-tiles; and any such
folder will do to bring leaves back from.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec

from exchange.domain.identifiers import is_name
from exchange.errors import Fatal, Reason, Rejected, format_refused
from exchange.ledger.tiles import TILE_WIDTH, entries_path
from exchange.ops.durable import replace
from exchange.stores.entries import read_bundle

FORMAT = 1
MANIFEST = "backup.json"
CHECKPOINT = "checkpoint"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records of entries [first, end), in one file for each day that some of them end with."""

    first: int
    end: int
    #: As in `2026-11-29`.
    days: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where its files lie, below the log's folder."""
        return f"records/{self.first}-{self.end}"


class LogBackup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One log in a backup."""

    log: str
    origin: str
    size: int
    #: Entries below it had no records any more.
    floor: int
    #: The signed note of this size.
    checkpoint: str
    parts: tuple[Part, ...]


class _Stated(msgspec.Struct, frozen=True):
    """What every manifest says of itself, whichever release wrote it."""

    format: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a backup."""

    format: int
    exchange: str
    made_at_ms: int
    logs: tuple[LogBackup, ...]

    def log(self, name: str) -> LogBackup | None:
        """Return one log's part; None when it is not in it."""
        return next((each for each in self.logs if each.log == name), None)


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a folder says that it holds; None when it holds no backup. Raises `Fatal` and `Rejected`."""
    path = folder / MANIFEST
    try:
        return decoded(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}") from error
    except Rejected as error:
        raise Rejected(error.reason, f"{path}: {error.message}", hint=error.hint) from error


def decoded(data: bytes) -> Manifest:
    """Return the list in a file. Raises `Rejected`; what it names lies nowhere but in the backup."""
    try:
        stated = msgspec.json.decode(data, type=_Stated).format
        found = msgspec.json.decode(data, type=Manifest) if stated == FORMAT else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Rejected(Reason.MALFORMED, f"is not that of a backup: {error}") from error
    if found is None:
        said, hint = format_refused(stated, FORMAT)
        raise Rejected(Reason.CONFIG, said, hint=hint)
    for each in found.logs:
        days = [day for part in each.parts for day in part.days]
        if not is_name(each.log) or not all(map(_is_day, days)):
            raise Rejected(Reason.MALFORMED, f"names no log, or no day: {each.log!r}")
    return found


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a backup what this says."""
    replace(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


def bundle_file(folder: Path, index: int, width: int) -> Path:
    """Return the file of a log's entry bundle."""
    return folder / entries_path(index, width)


def leaves(folder: Path, size: int, start: int = 0) -> Iterator[bytes]:
    """Yield the leaves [start, size) in a log's folder, in order. Raises `Fatal` when one is missing."""
    for index in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        whole, cut = bundle_file(folder, index, TILE_WIDTH), bundle_file(folder, index, width)
        path = whole if whole.exists() else cut
        held = read_bundle(path)
        if len(held) < width:
            raise Fatal(f"{path}: holds {len(held)} entries, not {width}")
        yield from held[max(0, start - index * TILE_WIDTH) : width]
