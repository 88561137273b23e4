"""Writing files so that they survive the loss of power: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Create a folder and its parents, each durable in the one above."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def write_once(path: Path, data: bytes) -> bool:
    """Write a file that must never change; return False when it exists with the same bytes.

    Raises FileExistsError when it exists with others.
    """
    if path.exists():
        if path.read_bytes() != data:
            raise FileExistsError(f"{path} exists with other content")
        sync_folder(path.parent)  # whoever wrote it may have died between the rename and this
        return False
    replace(path, data)
    return True


def write_together(path: Path, data: bytes) -> bool:
    """As `write_once`, where another machine may be writing the same file: both make one of their own, one is named."""
    if not path.exists():
        try:
            write_secret(path, data)
        except FileExistsError:
            pass
        else:
            return True
    return write_once(path, data)


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, for its owner only, whole or not at all. Raises FileExistsError.

    Aside under a name that nothing else has: what a crash leaves there may be the very file, under a second name.
    """
    aside = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    _write(aside, data, os.O_EXCL)
    try:
        os.link(aside, path)
    finally:
        aside.unlink()
    sync_folder(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Write a file, for its owner only, where there may be one: a reader finds the old bytes or the new ones."""
    aside = path.with_name(f".{path.name}.new")
    _write(aside, data, os.O_TRUNC)
    aside.rename(path)
    sync_folder(path.parent)


def _write(path: Path, data: bytes, how: int) -> None:
    make_folders(path.parent)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
