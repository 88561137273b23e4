"""``exchange proposals``: what waits at the hub for operators' signatures; read, signed and said from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from exchange.cli import cosigning
from exchange.cli.connect import as_client, with_client
from exchange.cli.output import client_option, emit, json_option, say
from exchange.domain.changes import changes
from exchange.domain.directory import Directory
from exchange.domain.kinds import KINDS
from exchange.domain.proposals import Proposal, missing, needed
from exchange.domain.statement import Statement
from exchange.errors import Reason, Rejected
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.proposals import ProposalReport, signatures_by, statements_to_say, verify_signers

#: Characters of an id, and how many of them at least name it.
_WHOLE, _LEAST = 64, 8
_ID = re.compile(rf"[0-9a-f]{{{_LEAST},{_WHOLE}}}")


@click.group()
def proposals() -> None:
    """What waits at the hub for operators' signatures. Made by the commands that have --to-sign, with --to-sign hub.

    It waits at the hub that took it, for as long as it could still be said (30 days in the directory). A proposal's id
    is a hash of the very bytes that are signed: tell it to the others by another way than through the hub.

    \b
    Examples:
      exchange member join alpha uk-elections --to-sign hub --client hub/operator/client.toml
      exchange proposals list --client second/operator/client.toml
      exchange proposals sign 5f1c0d5a3a1ef2b4 --client second/operator/client.toml
      exchange proposals submit 5f1c0d5a3a1ef2b4 --client hub/operator/client.toml
    """


_id_argument = click.argument("id_", metavar="ID")


async def _found(client: ExchangeClient, text: str) -> Proposal:
    """Return the proposal whose id this is, or begins like this. Raises `Rejected`."""
    if not _ID.fullmatch(text):
        raise Rejected(
            Reason.INVALID,
            f"{text!r} is no id of a proposal, nor its first {_LEAST} or more characters",
            hint="`exchange proposals list` shows the ids of all that wait at this hub",
        )
    if len(text) == _WHOLE:
        return await client.proposals.get(bytes.fromhex(text))
    alike = [each.id for each in await client.proposals.list() if each.id.hex().startswith(text)]
    if len(alike) != 1:
        raise Rejected(
            Reason.NOT_FOUND, f"{len(alike) or 'no'} proposals at this hub have an id that begins with {text}"
        )
    return await client.proposals.get(alike[0])


@proposals.command("list")
@client_option
@json_option
def list_(client_path: Path, *, as_json: bool) -> None:
    """List what waits at the hub for signatures, the oldest first."""
    found = with_client(client_path, lambda client, _: client.proposals.list())
    for each in found:
        emit(_row(each), as_json=as_json, lines=_lines(each))
    if not found and not as_json:
        say("nothing waits for signatures at this hub")


def _row(report: ProposalReport) -> dict[str, object]:
    return {
        "proposal": report.id.hex(),
        "publisher": report.publisher,
        "kinds": _kinds(report),
        "created_at_ms": report.created_at_ms,
        "expires_at_ms": report.expires_at_ms,
        "needed": report.needed,
        "signed_by": [key.hex() for key in report.signers],
        "complete": report.complete,
    }


def _kinds(report: ProposalReport) -> list[str]:
    return [KINDS[kind].name if kind in KINDS else str(kind) for kind in report.kinds]


def _lines(report: ProposalReport) -> list[str]:
    made, until = map(cosigning.moment, (report.created_at_ms, report.expires_at_ms))
    state = "complete" if report.complete else f"{len(report.signers)} of {report.needed} signatures"
    return [
        report.id.hex(),
        f"  {', '.join(_kinds(report))}, in the name of {report.publisher}",
        f"  made {made}, {state}, until {until}",
    ]


@proposals.command()
@_id_argument
@client_option
@json_option
def show(id_: str, client_path: Path, *, as_json: bool) -> None:
    """Show what a proposal says, from the very bytes that are signed, and what it changes in the verified directory."""
    proposal, directory = _read(ClientConfig.load(client_path), id_)
    emit(_data(directory, proposal), as_json=as_json, lines=list(_in_words(directory, proposal)))


def _read(settings: ClientConfig, id_: str) -> tuple[Proposal, Directory]:
    """Return a proposal, every signature of it verified, and the directory that it was judged by."""

    async def job(client: ExchangeClient, _: ClientConfig) -> tuple[Proposal, Directory]:
        proposal, directory = await _found(client, id_), await client.directory()
        verify_signers(directory, proposal)
        return proposal, directory

    return as_client(settings, job)


def _in_words(directory: Directory, proposal: Proposal) -> Iterator[str]:
    yield f"PROPOSAL {proposal.id.hex()}"
    yield f"  a hash of the very bytes that say what follows: have {proposal.publisher} tell you this id, not the hub"
    lacking = missing(directory, proposal)
    for place, (payload, header) in enumerate(zip(proposal.payloads, proposal.headers, strict=True)):
        yield from cosigning.in_words(Statement(payload, proposal.signatures(place)))
        for change in changes(directory, header):
            yield f"  changes {change.what}: {change.before or '-'} -> {change.after or '-'}"
        if header.origin == directory.origin:
            directory = directory.foreseen(header, header.created_at_ms)
    yield lacking or "complete"


def _data(directory: Directory, proposal: Proposal) -> dict[str, object]:
    return {
        "proposal": proposal.id.hex(),
        "publisher": proposal.publisher,
        "says": list(_in_words(directory, proposal)),
        "payloads": [payload.hex() for payload in proposal.payloads],
        "needed": needed(directory, proposal),
        "signed_by": [each.key_id.hex() for each in proposal.signers],
        "missing": missing(directory, proposal),
    }


@proposals.command()
@_id_argument
@client_option
@click.option("--yes", is_flag=True, help="Sign without asking.")
@json_option
def sign(id_: str, client_path: Path, *, yes: bool, as_json: bool) -> None:
    """Sign a proposal, once you have read what it says. With the last signature, what is in your name is published.

    What is in another operator's name, that operator publishes: `exchange proposals submit`.
    """
    settings = ClientConfig.load(client_path)
    cosigning.require_operator(settings, client_path)
    if yes and len(id_) != _WHOLE:
        raise Rejected(
            Reason.INVALID,
            "--yes signs by the whole id alone: whoever runs the hub could make another that begins alike",
            hint=f"name all {_WHOLE} characters as the operator who made it has told them, or read it and answer",
        )
    key = settings.load_signing_key()
    proposal, directory = _read(settings, id_)
    say(*_in_words(directory, proposal), err=True)
    signed = any(each.key_id == key.key_id for each in proposal.signers)
    if not (signed or yes):
        click.confirm("Sign this?", abort=True, err=True)

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        now = proposal if signed else await client.proposals.sign(proposal.id, signatures_by(key, proposal))
        directory = await client.directory()
        verify_signers(directory, now)
        lacking, did = missing(directory, now), "signed before" if signed else "signed"
        data = {"proposal": now.id.hex(), "key_id": key.key_id.hex(), "signed_before": signed, "missing": lacking}
        emit(data, as_json=as_json, lines=[f"{did} with key {key.key_id.hex()[:16]}; {lacking or 'complete'}"])
        if lacking:
            return
        if now.publisher == settings.member:
            await _say(client, settings, now, as_json=as_json)
        elif not as_json:
            say(f"  {now.publisher} publishes it:  exchange proposals submit {now.id.hex()}")

    as_client(settings, job)


@proposals.command()
@_id_argument
@client_option
@json_option
def submit(id_: str, client_path: Path, *, as_json: bool) -> None:
    """Publish a proposal in your name that has all its signatures. Submitted again, nothing is said twice."""

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        await _say(client, settings, await _found(client, id_), as_json=as_json)

    with_client(client_path, job)


async def _say(client: ExchangeClient, settings: ClientConfig, proposal: Proposal, *, as_json: bool) -> None:
    """Publish the statements of a proposal, in their order."""
    for each in statements_to_say(await client.directory(), settings.member, proposal):
        cosigning.tell(each, await client.submit(each), as_json=as_json)


@proposals.command()
@_id_argument
@client_option
@json_option
def withdraw(id_: str, client_path: Path, *, as_json: bool) -> None:
    """Take a proposal back that is in your name: nobody can sign it any more, nor publish it from the hub."""

    async def job(client: ExchangeClient, _: ClientConfig) -> bytes:
        proposal = await _found(client, id_)
        await client.proposals.withdraw(proposal.id)
        return proposal.id

    withdrawn = with_client(client_path, job).hex()
    emit({"proposal": withdrawn, "withdrawn": True}, as_json=as_json, lines=[f"withdrawn: {withdrawn}"])
