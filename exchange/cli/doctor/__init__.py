"""``exchange doctor``: looks at everything that commonly goes wrong, and says what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.core import ParameterSource

from exchange import config
from exchange.cli.doctor.client import look_from_client
from exchange.cli.doctor.finding import BAD, GOOD, WARN, Finding
from exchange.cli.doctor.hub import look_at_hub
from exchange.cli.output import REFUSED, emit, json_option
from exchange.errors import ExchangeError
from exchange_client import ClientConfig

_COLOURS = {GOOD: "green", WARN: "yellow", BAD: "red"}


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EXCHANGE_CONFIG",
    show_envvar=True,
    help="Look at a hub's machine.",
)
@click.option(
    "--client",
    "client_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EXCHANGE_CLIENT",
    show_envvar=True,
    help="Look from a client.",
)
@json_option
@click.pass_context
def doctor(context: click.Context, config_path: Path | None, client_path: Path | None, *, as_json: bool) -> None:
    """Check a hub's machine, a client's way to the hub, or both. Changes nothing.

    From a client: its files and keys; then each address, layer by layer: name, TCP, TLS, the hub's certificate, what
    the hub says of ours, clocks, standing, and the directory from the pinned genesis. At a hub's machine: TLS files,
    keys, disk and its fsync, memory, open files, clock, and every log.

    What is named on the command line is looked at; only without any, what the environment names.

    Ends with 0 when there is nothing worse than a warning, 1 when there is a problem, 2 for wrong usage.

    \b
    Examples:
      exchange doctor --config hub/hub.toml
      exchange doctor --client alpha/pipeline/client.toml
    """
    named = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if named & {"config_path", "client_path"}:
        config_path = config_path if "config_path" in named else None
        client_path = client_path if "client_path" in named else None
    if config_path is None and client_path is None:
        raise click.UsageError("say what to look at: --config, --client, or both")
    worst = False
    for finding in _findings(config_path, client_path):
        _print(finding, as_json=as_json)
        worst = worst or finding.state == BAD
    if worst:
        sys.exit(REFUSED)


def _findings(config_path: Path | None, client_path: Path | None) -> Iterator[Finding]:
    if config_path is not None:
        try:
            settings = config.load(config_path)
        except ExchangeError as error:
            yield Finding("configuration", BAD, error.message, error.hint)
        else:
            yield Finding("configuration", GOOD, str(config_path))
            yield from look_at_hub(settings)
    if client_path is not None:
        try:
            ours = ClientConfig.load(client_path)
        except ExchangeError as error:
            yield Finding("client file", BAD, error.message, error.hint)
        else:
            yield Finding("client file", GOOD, str(client_path))
            yield from look_from_client(ours)


def _print(finding: Finding, *, as_json: bool) -> None:
    lines = [f" {finding.what}: {finding.detail}"]
    if finding.hint:
        lines.append(f"          {finding.hint}")
    data = {"what": finding.what, "state": finding.state, "detail": finding.detail, "hint": finding.hint}
    emit(data, as_json=as_json, lines=lines, mark=(f"{finding.state:<9}", _COLOURS[finding.state]))
