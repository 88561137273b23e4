"""What the commands that read many lines share: where refused ones go."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def rejects_option(command: F) -> F:
    """Add ``--rejects``."""
    option: Callable[[F], F] = click.option(
        "--rejects",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Where refused lines go, with the reasons. Default: next to the state.",
    )
    return option(command)


def refuse_own(source: BinaryIO, rejects: Path) -> None:
    """Stop before a file is read that its own refused lines are appended to."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(source.fileno()), rejects.stat()):
            raise click.UsageError("what is refused goes to this very file: move it first, and give the moved one")
