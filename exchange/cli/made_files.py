"""Commands that make files: the module that needs the packages of an extra, and the folder that the files go into."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from exchange.errors import Reason, Rejected


def of_extra(extra: str, module: str, what: str) -> ModuleType:
    """Return a module that needs the packages of an extra, which a hub does without. Raises `Rejected` (CONFIG)."""
    try:
        return import_module(f"exchange.{extra}.{module}")
    except ModuleNotFoundError as error:
        raise Rejected(
            Reason.CONFIG,
            f"{what} needs the package {error.name}",
            hint=f"pip install 'signal-exchange[{extra}]'",
        ) from error


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files by their places in a folder; others in it are left alone. Raises `Rejected` (CONFIG)."""
    try:
        for place, data in files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{error.filename}: {error.strerror}") from error
