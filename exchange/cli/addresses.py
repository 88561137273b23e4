"""Addresses on a command line: where a hub is, and where a service listens."""

from __future__ import annotations

from typing import Any

import click

from exchange.config import split_address


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
            split_address(text, lambda _: click.BadParameter(f"{text!r} must be host:port", ctx, param))
        return text
