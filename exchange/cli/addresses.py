"""Addresses on a command line: where a hub is, and where a service listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from exchange.config import split_address

F = TypeVar("F", bound=Callable[..., Any])


class Address(click.ParamType[str]):
    """One "host:port"; where it ``may_be_empty``, an empty text says that there is none."""

    name = "host:port"

    def __init__(self, *, may_be_empty: bool = False) -> None:
        """Nothing is resolved: a name may be unknown here and known there."""
        self._may_be_empty = may_be_empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Return it as it was given, or end with what is wrong."""
        text = str(value)
        if text or not self._may_be_empty:
            split_address(text, lambda what: click.BadParameter(what, ctx, param))
        return text


def listening_options(listen: str, *, ops: str) -> Callable[[F], F]:
    """Return the options of what is set up to serve: where it listens, by default here, and for health and metrics."""

    def decorate(command: F) -> F:
        command = click.option(
            "--ops-listen",
            type=Address(may_be_empty=True),
            default=ops,
            show_default=True,
            help="Address for health and metrics. Empty: none.",
        )(command)
        return click.option(
            "--listen", type=Address(), default=listen, show_default=True, help="Address of the member-facing port."
        )(command)

    return decorate
