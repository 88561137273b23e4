"""Where a platform's indices lie: one folder, beside the client's state unless another is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from exchange_client import ClientConfig

F = TypeVar("F", bound=Callable[..., Any])


def index_option(command: F) -> F:
    """Add ``--index``."""
    option: Callable[[F], F] = click.option(
        "--index",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="Folder of the indices, a file for each key epoch. Default: accounts, in the client's state.",
    )
    return option(command)


def folder_of(settings: ClientConfig, folder: Path | None) -> Path:
    """Return the folder of the indices."""
    return folder or settings.state / "accounts"


def signals_file(folder: Path, origin: str) -> Path:
    """Return where a community's signals that name accounts are kept."""
    return folder / f"{origin.partition('/')[2]}.signals.sqlite"
