"""``exchange verify-report``: whether a report is what it says, by its files and by the ledger it was counted from."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import date
from pathlib import Path

import click
import msgspec

from exchange.cli.connect import with_client
from exchange.cli.made_files import of_extra
from exchange.cli.output import REFUSED, emit, json_option
from exchange.cli.progress.counting import Wanted, counted, day_number
from exchange.cli.progress.making import SIGNERS, WHAT, election_line, election_of
from exchange.cli.progress.reading import Ledger, read_ledger
from exchange.domain.directory import Directory
from exchange.domain.kinds import MemberClass
from exchange.domain.validation import DAY_MS, SKEW_MS
from exchange.errors import ExchangeError, Reason, Rejected, Unavailable, VerificationFailed
from exchange.ops.clocks import wall_ms
from exchange.report.checking import Check, Opened, State, check_files, failed, open_report
from exchange.report.figures import figures_of
from exchange.report.payload import MAX_BYTES, Payload
from exchange_client import ClientConfig, ExchangeClient
from exchange_client.auditor import Auditor, Tree

SIGNED = "it is signed, and says what was signed"
WHO = "who signed it is a member who may, by the directory"
TREE = "its checkpoint is signed by the community's log"
GROWN = "the log of today begins with what was counted"
COUNTED = "the figures are those of the ledger, counted again"
_ASKING = (WHO, TREE, GROWN, COUNTED)
_COLOURS = {State.HOLDS: "green", State.FAILED: "red", State.NOT_CHECKED: "yellow"}


@click.command("verify-report")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--client",
    "client_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EXCHANGE_CLIENT",
    show_envvar=True,
    help="Who we are, where the hub is, and what we trust: the genesis pin in it.",
)
@click.option("--offline", is_flag=True, help="Ask nobody: check the files alone, and say what was not checked.")
@click.option("--state", "kept", type=click.Path(path_type=Path, file_okay=False), help="As of `exchange report`.")
@json_option
def verify_report(folder: Path, client_path: Path | None, kept: Path | None, *, offline: bool, as_json: bool) -> None:
    """Check the progress report in FOLDER. Exit code 1 when anything in it does not hold.

    With a client: by whom it is signed, that its checkpoint is the log's and the log of today extends it, and the
    figures, counted again from the leaves. Any workload that may read the community's ledger can do so.

    \b
    Examples:
      exchange verify-report progress --client beta/liaison/client.toml
      exchange verify-report progress --offline
    """
    if client_path is None and not offline:
        raise click.UsageError("name a --client to ask the exchange with, or say --offline")
    remaking = of_extra("report", "remaking", WHAT)
    files = _files(folder)
    try:
        found = open_report(files)
    except ExchangeError as error:
        checks = [failed(SIGNED, error)]
    else:
        signer = found.payload.signer
        checks = [
            Check(SIGNED, State.HOLDS, f"by the key {signer.public_key[:16]}…, of {signer.member} as it says"),
            check_files(found.payload, files),
            *remaking.check_forms(found.payload),
        ]
        if offline or client_path is None:
            checks += [Check(what, State.NOT_CHECKED, "--offline: nobody was asked") for what in _ASKING]
        else:
            checks += with_client(client_path, _asking(found, kept, quiet=as_json))
    for check in checks:
        row = {"check": check.what, "state": check.state.value, "detail": check.detail}
        mark = (f"{check.state.value:>11}", _COLOURS[check.state])
        emit(row, as_json=as_json, lines=[f"  {check.what}: {check.detail}"], mark=mark)
    if any(check.state is State.FAILED for check in checks):
        sys.exit(REFUSED)


def _files(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, by their names in it: those too that are not a report's."""
    found = {}
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    found[path.relative_to(folder).as_posix()] = file.read(2 * MAX_BYTES + 1)
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{error.filename}: {error.strerror}") from error
    return found


def _asking(
    found: Opened, kept: Path | None, *, quiet: bool
) -> Callable[[ExchangeClient, ClientConfig], Awaitable[list[Check]]]:
    """Return what asks the exchange about a report."""
    payload = found.payload

    async def job(client: ExchangeClient, _settings: ClientConfig) -> list[Check]:
        try:
            auditor = await client.auditor(payload.origin)
        except Unavailable:
            raise
        except ExchangeError as error:
            others = [Check(what, State.NOT_CHECKED, "there is no such log") for what in (WHO, GROWN, COUNTED)]
            return [failed(TREE, error), *others]
        return [
            await _check(WHO, lambda: _signer(auditor, found)),
            await _check(TREE, lambda: _tree(auditor, payload)),
            await _check(GROWN, lambda: _grown(auditor, payload)),
            await _check(COUNTED, lambda: _count(auditor, payload, kept, quiet=quiet)),
        ]

    return job


async def _check(what: str, asking: Callable[[], Awaitable[str]]) -> Check:
    """Return what came of a check; a hub that cannot be asked now is no answer, and raised."""
    try:
        return Check(what, State.HOLDS, await asking())
    except Unavailable:
        raise
    except ExchangeError as error:
        return failed(what, error)


async def _signer(auditor: Auditor, found: Opened) -> str:
    payload, signer = found.payload, found.payload.signer
    note = payload.directory_checkpoint.encode()
    then, _ = await auditor.directory_at(note)
    key = then.key(found.envelope.key_id)
    if key is None or not key.in_force_at(then.size):
        raise VerificationFailed(Reason.WRONG_KEY, "its key was not in force in the directory that it names")
    if (key.member, key.role.word) != (signer.member, signer.role) or key.role not in SIGNERS:
        raise VerificationFailed(Reason.WRONG_KEY, f"its key is {key.member}'s, as {key.role.word}")
    if then.is_suspended(key.member) or not (then.in_community(key.member, payload.origin) or _runs(then, key.member)):
        raise VerificationFailed(Reason.WRONG_KEY, f"{key.member} did not take part in {payload.origin}")
    now = auditor.directory.key(found.envelope.key_id)
    later = "" if now is None or not now.revoked else "; the key has been revoked since"
    return f"{key.member}, {key.role.word}{later}"


def _runs(directory: Directory, member: str) -> bool:
    return directory.members[member].member_class is MemberClass.OPERATOR


async def _tree(auditor: Auditor, payload: Payload) -> str:
    tree = auditor.opened(payload.checkpoint.encode())
    return f"{payload.origin}, {tree.size:,} entries, root {tree.checkpoint.root.hex()[:16]}…"


async def _grown(auditor: Auditor, payload: Payload) -> str:
    now = await auditor.check_grown(auditor.opened(payload.checkpoint.encode()))
    return f"{now.size:,} entries today"


async def _count(auditor: Auditor, payload: Payload, kept: Path | None, *, quiet: bool) -> str:
    tree = auditor.opened(payload.checkpoint.encode())
    first, last = date.fromisoformat(payload.first_day), date.fromisoformat(payload.last_day)
    until_ms = (day_number(last) + 1) * DAY_MS
    directory, _ = await auditor.directory_at(payload.directory_checkpoint.encode(), until_ms=until_ms)
    async with read_ledger(auditor, tree, kept, until_ms=until_ms, quiet=quiet) as ledger:
        chosen = election_of(ledger, payload.election.id) if payload.election else None
        if election_line(chosen) != payload.election:
            raise Rejected(Reason.INVALID, "the ledger has other facts of the election")
        latest_ms = max(min(until_ms, wall_ms() + SKEW_MS), ledger.position.received_at_ms)
        if not ledger.position.received_at_ms <= payload.as_at_ms <= latest_ms:
            raise Rejected(Reason.INVALID, "it is counted up to a time that is not in the period, or not yet")
        wanted = Wanted(payload.origin, first, last, chosen, payload.as_at_ms, payload.deadline_hours)
        figures = figures_of(await counted(ledger, directory, wanted), payload.least)
        size = ledger.size
        await _check_all_of_it(auditor, tree, ledger, payload)
    different = list(_differences(msgspec.to_builtins(payload.figures), msgspec.to_builtins(figures)))
    if different:
        more = f", and {len(different) - 3} more" if len(different) > 3 else ""
        raise Rejected(Reason.INVALID, f"{'; '.join(different[:3])}{more}")
    return f"{size:,} entries of the period"


async def _check_all_of_it(auditor: Auditor, tree: Tree, ledger: Ledger, payload: Payload) -> None:
    """Return if the log holds nothing that it had received by when it was counted, and that is not in its tree."""
    if ledger.size < tree.size:
        return  # what follows in that tree itself was received after the period
    now = await auditor.check_grown(tree)
    async with aclosing(auditor.entries(now, start=ledger.position, until_ms=payload.as_at_ms)) as pages:
        async for page in pages:
            if page:
                left = f"entry {page[0].leaf.index} and perhaps more, received before it was counted, are left out"
                raise VerificationFailed(Reason.ROLLED_BACK, left)


def _differences(said: object, found: object, where: str = "figures") -> Iterator[str]:
    """Yield where two sets of figures differ, and how."""
    if isinstance(said, dict) and isinstance(found, dict) and said.keys() == found.keys():
        for name in said:
            yield from _differences(said[name], found[name], f"{where}.{name}")
    elif isinstance(said, list | tuple) and isinstance(found, list | tuple) and len(said) == len(found):
        for place, (one, other) in enumerate(zip(said, found, strict=True)):
            name = one.get("id") or one.get("name") or place if isinstance(one, dict) else place
            yield from _differences(one, other, f"{where}.{name}")
    elif said != found:
        yield f"{where} says {str(said)[:60]}, and the ledger {str(found)[:60]}"
