"""What all commands share in what they print: errors with a next step, JSON or lines, options that recur."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from exchange.errors import ExchangeError, Fatal, InvalidStatement, Unavailable

F = TypeVar("F", bound=Callable[..., Any])

REFUSED = 1
NOT_NOW = 3


class Failing(click.Group):
    """A group whose commands may raise our errors: they end as a message, a hint and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command; turn an `ExchangeError` into an exit."""
        try:
            return super().invoke(ctx)
        except* ExchangeError as group:
            errors = list(_leaves(group))
            fail(errors[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Any:  # noqa: ANN401 - a generator over nested groups
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def fail(error: ExchangeError) -> None:
    """Print an error with its next step, and exit."""
    click.secho(f"error: {error.message}", fg="red", err=True)
    if isinstance(error, InvalidStatement):
        for violation in error.violations[1:]:
            click.echo(f"       {violation.field}: {violation.description}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)
    sys.exit(NOT_NOW if isinstance(error, Unavailable | Fatal) else REFUSED)


def emit(data: Mapping[str, Any], *, as_json: bool, line: str | None = None) -> None:
    """Print one result: as a JSON line, or as text (by default ``key: value`` lines)."""
    if as_json:
        click.echo(json.dumps(data))
    elif line is not None:
        click.echo(line)
    else:
        width = max(map(len, data))
        for key, value in data.items():
            click.echo(f"{key:<{width}}  {value}")


def json_option(command: F) -> F:
    """Add ``--json``."""
    option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
    return option(command)


def config_option(command: F) -> F:
    """Add ``--config``, the hub's file."""
    option: Callable[[F], F] = click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default="hub.toml",
        show_default=True,
        envvar="EXCHANGE_CONFIG",
        show_envvar=True,
        help="The hub's configuration.",
    )
    return option(command)


def client_option(command: F) -> F:
    """Add ``--client``, the file that says who we are and where the hub is."""
    option: Callable[[F], F] = click.option(
        "--client",
        "client_path",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        envvar="EXCHANGE_CLIENT",
        show_envvar=True,
        help="The client's configuration: who we are, where the hub is.",
    )
    return option(command)


def community_option(command: F) -> F:
    """Add ``--community``, by its full origin or its last part."""
    option: Callable[[F], F] = click.option(
        "--community", "name", required=True, metavar="NAME", help="The community, such as uk-elections."
    )
    return option(command)
