"""The files of a log whose hot part is in Redis: its sealed entry bundles below the floor.

Every hub of the log must see the same folder. A number that was drawn when the log was made lies in it and in the
store; a hub that does not find it there is looking at another folder, and must neither serve nor raise a floor.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from exchange.errors import Fatal, Reason, Rejected
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.tiles import HashTile, decode_bundle, entries_path
from exchange.ops.durable import make_folders, write_together
from exchange.stores.disk import explained

NAME = "bundles.id"


class Bundles:
    """One log's bundle files. Blocks: for the reader's thread."""

    def __init__(self, folder: Path) -> None:
        """Nothing is looked at yet."""
        self._folder = folder

    def make(self) -> str:
        """Draw the log's number, and write it down before the log is made. One that is there stays."""
        path = self._folder / NAME
        try:
            make_folders(self._folder)
            if not path.exists():
                with suppress(FileExistsError):  # another hub was quicker
                    write_together(path, os.urandom(16).hex().encode())
            return path.read_text()
        except OSError as error:
            raise Fatal(f"{path}: {error.strerror}", reason=Reason.CONFIG) from error

    def require(self, number: str) -> None:
        """Return if this is the folder that belongs to the log. Raises `Fatal` (CONFIG)."""
        path = self._folder / NAME
        try:
            found = path.read_text()
        except (OSError, UnicodeDecodeError):
            found = ""
        if found != number:
            raise Fatal(
                f"{path}: this is not the folder of the log's entry bundles",
                reason=Reason.CONFIG,
                hint="all hubs of a store share one such folder: name it as `bundles`, as the hub that made the log",
            )

    def read(self, index: int, root: bytes) -> tuple[bytes, list[bytes]]:
        """Return a whole bundle and its leaf hashes. Raises `Fatal` when it is missing, or not of this root."""
        path = self._folder / entries_path(index)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Fatal(f"{path}: an entry bundle is missing, or cannot be read: {error.strerror}") from error
        return data, _checked(path, data, root)

    def write(self, index: int, data: bytes, root: bytes) -> None:
        """Make a bundle's file, durably. One that is there must hold the same bytes."""
        path = self._folder / entries_path(index)
        _checked(path, data, root)
        try:
            write_together(path, data)
        except FileExistsError as error:
            raise Fatal(f"{path}: holds other entries than the store") from error
        except OSError as error:
            raise explained(error, path, "the disk of the entry bundles") from error


def _checked(path: Path, data: bytes, root: bytes) -> list[bytes]:
    try:
        hashes = [leaf_hash(leaf) for leaf in decode_bundle(data)]
        if HashTile(b"".join(hashes)).is_whole(root):
            return hashes
    except Rejected:
        pass
    raise Fatal(f"{path}: the entry bundle is damaged")
