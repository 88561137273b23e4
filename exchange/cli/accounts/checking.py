"""``exchange accounts check``: the own accounts that live signals name, or whether one names this account."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from exchange.cli.accounts.places import folder_of, index_option, signals_file
from exchange.cli.connect import as_client, origin_of
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.errors import Reason, Rejected
from exchange.normal.accounts import Account
from exchange.ops.clocks import wall_ms
from exchange_client import AccountIndexes, AccountMatch, AccountMatches, AccountSignals, ClientConfig, ExchangeClient
from exchange_client.jsonl import account_of, naming_to_json
from exchange_client.pseudonyms import EpochKey

#: The exit code when something matches. Not 1: a refusal must not look like a match, nor either like nothing.
MATCHED = 4
_COLUMNS = ("reference", "publisher", "label", "severity", "confidence", "handling", "expires", "index", "signal id")
_ROW = "{:<24} {:<16} {:<28} {:<10} {:<10} {:<12} {:<10} {:>8}  {}"


@click.command()
@community_option
@client_option
@index_option
@click.option(
    "--identifier",
    nargs=2,
    metavar="TYPE VALUE",
    help="Ask about this one instead, such as: email someone@example.org. - reads VALUE from standard input.",
)
@click.option("--country", help="Where a telephone number without + is dialled, such as GB.")
@click.option("--follow", is_flag=True, help="Stay, and print what arriving signals name.")
@click.option("--new", "only_new", is_flag=True, help="Leave out what an earlier run with --new has printed.")
@json_option
def check(
    name: str,
    client_path: Path,
    folder: Path | None,
    identifier: tuple[str, str] | None,
    country: str | None,
    *,
    follow: bool,
    only_new: bool,
    as_json: bool,
) -> None:
    """Print every indexed account of yours that a live signal names, and which signal.

    Reads on in the ledger where the last check ended (the first time from its floor), verifying everything, and holds
    all live signals against all accounts: also signals from before an account was indexed. The position is one of its
    own; those of `exchange watch` and of other clients are left alone.

    With --identifier it asks whether a live signal names one account, say at sign-up: one evaluation for each live key
    epoch, and nothing is kept. A VALUE on a command line is seen by whoever lists processes; - avoids that.

    A match is advice from another member, and nothing was done about it: what follows is your own decision.

    \b
    Exit codes: 0 when no live signal names an account, 4 when one does, 1, 2 and 3 as everywhere. With --follow, 0
    when interrupted.
    Examples:
      exchange accounts check --community uk-elections --client beta/pipeline/client.toml
      exchange accounts check --community uk-elections --client beta/pipeline/client.toml --follow --new --json
      exchange accounts check --identifier email - --community uk-elections --client beta/pipeline/client.toml
    """
    if identifier and (follow or only_new):
        raise click.UsageError("--identifier asks once: it goes with neither --follow nor --new")
    settings = ClientConfig.load(client_path)
    origin = origin_of(settings.exchange, name)
    account = _account(identifier, country) if identifier else None
    with ExitStack() as stack:
        place = folder_of(settings, folder)
        indexes = stack.enter_context(closing(AccountIndexes(place)))
        signals = stack.enter_context(closing(AccountSignals(signals_file(place, origin), origin)))
        run = _Run(indexes, signals, follow=follow, only_new=only_new, as_json=as_json)
        if account is not None:
            as_client(settings, lambda client, _: run.ask(client, account))
        else:
            with suppress(KeyboardInterrupt):
                as_client(settings, lambda client, _: run.look(client))
    if run.matched and not follow:
        sys.exit(MATCHED)


def _account(identifier: tuple[str, str], country: str | None) -> Account:
    type_, value = identifier
    if value == "-":
        value = sys.stdin.readline().rstrip("\r\n")
    return account_of(type_, value, country)


@dataclass(slots=True)
class _Run:
    """One run of the command."""

    indexes: AccountIndexes
    signals: AccountSignals
    follow: bool
    only_new: bool
    as_json: bool
    matched: int = 0
    _headed: bool = field(default=False, init=False)

    async def look(self, client: ExchangeClient) -> None:
        """Hold all live signals against all accounts, and then, where it is to stay, what arrives."""
        await self._warn_of_gaps(client)
        matches = AccountMatches(client, self.signals, self.indexes)
        await matches.catch_up()
        async for page in matches.known(now_ms=wall_ms()):
            await self._tell(page)
        if not self.as_json:
            count = f"{self.matched:,} matches" if self.matched != 1 else "1 match"
            say(f"{count} with live signals: advice from other members, nothing was done", err=True)
        if self.follow:
            async for page in matches.arriving(now_ms=wall_ms):
                await self._tell(page)

    async def ask(self, client: ExchangeClient, account: Account) -> None:
        """Tell which live signals name one account."""
        async with client.pseudonyms(self.signals.origin) as making:
            (indicators,) = await making.of([account])
        await AccountMatches(client, self.signals, self.indexes).catch_up()
        found = await self.signals.naming([each.value for each in indicators], now_ms=wall_ms())
        await self._tell([AccountMatch("", signal) for signal in found])
        if not found and not self.as_json:
            say("no live signal names this account")

    async def _warn_of_gaps(self, client: ExchangeClient) -> None:
        """Say where nothing could be found. Raises `Rejected` (CONFIG) when that is everywhere."""
        if not self.indexes.all:
            raise Rejected(
                Reason.CONFIG,
                f"{self.indexes.folder}: no account is indexed",
                hint="begin with exchange accounts index",
            )
        there = {index.epoch for index in self.indexes.all}
        for entry in (await client.key_epochs(self.signals.origin)).live(wall_ms()):
            if EpochKey(entry.epoch.number, entry.epoch.public_key) not in there:
                say(f"key epoch {entry.epoch.number} is live and has no index: run exchange accounts index", err=True)

    async def _tell(self, found: Iterable[AccountMatch]) -> None:
        matches = list(found)
        if self.only_new:
            untold = await self.signals.untold({(each.signal.signal_id, each.reference) for each in matches})
            matches = [each for each in matches if (each.signal.signal_id, each.reference) in untold]
        for match in matches:
            data = {"reference": match.reference or None, **naming_to_json(match.signal)}
            if not self.as_json and not self._headed:
                say(_ROW.format(*_COLUMNS))
                self._headed = True
            emit(data, as_json=self.as_json, lines=() if self.as_json else [_row(match, data)])
        self.matched += len(matches)
        if self.only_new and matches:
            sys.stdout.flush()
            await self.signals.tell({(each.signal.signal_id, each.reference) for each in matches})


def _row(match: AccountMatch, data: Mapping[str, object]) -> str:
    expires = datetime.fromtimestamp(match.signal.expires_at_ms // 1000, UTC).date()
    words = (str(data[key]) for key in ("publisher", "label", "severity", "confidence", "handling"))
    return _ROW.format(match.reference or "-", *words, str(expires), match.signal.index, match.signal.signal_id.hex())
