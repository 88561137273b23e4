"""``exchange pki``: a development authority for mutual TLS. Production brings its own."""

from __future__ import annotations

from pathlib import Path

import click

from exchange.cli.output import emit, json_option
from exchange.errors import Reason, Rejected
from exchange.ops import certificates

_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="pki",
    show_default=True,
    help="Where it lies.",
)


@click.group()
def pki() -> None:
    """Make certificates for development. Not for production: the authority's key lies unencrypted.

    \b
    Examples:
      exchange pki authority --domain my.exchange
      exchange pki issue --member alpha --role pipeline
      exchange pki issue --member hub --server --host hub.example --host 127.0.0.1
    """


@pki.command()
@click.option("--domain", required=True, help="Trust domain of the SPIFFE ids: the exchange's name.")
@_FOLDER
@json_option
def authority(domain: str, folder: Path, *, as_json: bool) -> None:
    """Make a certificate authority."""
    try:
        files = certificates.create_authority(folder, domain)
    except (ValueError, FileExistsError) as error:
        raise Rejected(Reason.CONFIG, str(error)) from error
    emit({"certificate": str(files.certificate), "key": str(files.key)}, as_json=as_json)


@pki.command()
@click.option("--member", required=True, help="The member's id.")
@click.option("--role", default="pipeline", show_default=True, help="The workload's role.")
@click.option("--server", is_flag=True, help="A server's certificate (for the hub) in place of a client's.")
@click.option("--host", "hosts", multiple=True, help="With --server: a name or address of the hub. Repeat for more.")
@click.option("--days", default=certificates.LEAF_DAYS, show_default=True, help="How long it is valid.")
@_FOLDER
@json_option
def issue(
    member: str, role: str, hosts: tuple[str, ...], days: int, folder: Path, *, server: bool, as_json: bool
) -> None:
    """Issue a certificate for a member's workload, or for the hub."""
    try:
        if server:
            files = certificates.issue(
                folder, member, "server", kind="server", hosts=hosts or ("localhost",), days=days
            )
        else:
            files = certificates.issue(folder, member, role, days=days)
    except (ValueError, OSError) as error:
        raise Rejected(Reason.CONFIG, str(error), hint="make the authority first: exchange pki authority") from error
    emit({"certificate": str(files.certificate), "key": str(files.key)}, as_json=as_json)
