"""``exchange accounts remove`` and ``status``: what of a platform's accounts is indexed, and no more."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import click

from exchange.cli.accounts.places import folder_of, index_option
from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.domain.key_epochs import EpochState, KeyEpochEntry
from exchange.ops.clocks import wall_ms
from exchange_client import AccountIndexes, AccountSignals, ClientConfig, ExchangeClient
from exchange_client.account_index import AccountIndex
from exchange_client.pseudonyms import EpochKey


@click.command()
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@client_option
@index_option
@json_option
def remove(references: tuple[str, ...], client_path: Path, folder: Path | None, *, as_json: bool) -> None:
    """Forget accounts of yours, by your own references: in every index, and in what check has noted.

    They are overwritten in the files, not merely unlinked. What is not there is no error.

    \b
    Examples:
      exchange accounts remove u1042 u1043 --client beta/pipeline/client.toml
    """
    settings = ClientConfig.load(client_path)
    place = folder_of(settings, folder)

    async def job() -> int:
        with closing(AccountIndexes(place)) as indexes:
            removed = await indexes.remove(references)
        for path in sorted(place.glob("*.signals.sqlite")):
            origin = origin_of(settings.exchange, path.name.removesuffix(".signals.sqlite"))
            with closing(AccountSignals(path, origin)) as signals:
                await signals.forget_told(references)
        return removed

    removed = asyncio.run(job())
    emit({"removed": removed}, as_json=as_json, lines=[f"{removed:,} identifiers removed"])


@click.command()
@community_option
@client_option
@index_option
@json_option
def status(name: str, client_path: Path, folder: Path | None, *, as_json: bool) -> None:
    """Show each index, what its key epoch is, and which live key epoch has none.

    \b
    Examples:
      exchange accounts status --community uk-elections --client beta/pipeline/client.toml
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        epochs = (await client.key_epochs(origin_of(settings.exchange, name))).entries.values()
        known = {EpochKey(entry.epoch.number, entry.epoch.public_key): entry for entry in epochs}
        with closing(AccountIndexes(folder_of(settings, folder))) as indexes:
            for index in indexes.all:
                await _show(index, known.pop(index.epoch, None), as_json=as_json)
        for epoch, entry in known.items():
            if _state(entry) in ("live", "coming"):
                data = {"key_epoch": epoch.number, "state": _state(entry), "ends_ms": entry.epoch.ends_ms, "path": None}
                emit(data, as_json=as_json, lines=[f"key epoch {epoch.number}, {_state(entry)}: not indexed"])

    with_client(client_path, job)


async def _show(index: AccountIndex, entry: KeyEpochEntry | None, *, as_json: bool) -> None:
    size = await index.size()
    state = "unknown" if entry is None else _state(entry)
    data = {
        "key_epoch": index.epoch.number,
        "state": state,
        "ends_ms": None if entry is None else entry.epoch.ends_ms,
        "accounts": size.accounts,
        "identifiers": size.identifiers,
        "bytes": index.path.stat().st_size,
        "path": str(index.path),
    }
    told = f"key epoch {index.epoch.number}, {state}: {size.identifiers:,} identifiers of {size.accounts:,} accounts"
    emit(data, as_json=as_json, lines=[f"{told}, {index.path}"])
    if state == "ended" and not as_json:
        say("  nothing that is live names an account under it any more: the file may be deleted, with its key")


def _state(entry: KeyEpochEntry) -> str:
    state = entry.state(wall_ms())
    return (EpochState.ENDED if state is EpochState.DESTROYED else state).value
