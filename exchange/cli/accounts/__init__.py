"""``exchange accounts``: a platform's own accounts by their pseudonyms, and which of them live signals name."""

from __future__ import annotations

import click

from exchange.cli.accounts.checking import check
from exchange.cli.accounts.indexing import index
from exchange.cli.accounts.keeping import remove, status


@click.group()
def accounts() -> None:
    """Index a platform's own accounts, and see which of them the signals of others name.

    Identifiers (e-mail addresses, telephone numbers, handles) stay on this machine: what others know of an account is
    its pseudonym, which a pseudonym service makes without seeing the identifier. Nothing here bans an account: a match
    is advice, with where it comes from.
    """


for command in (index, check, remove, status):
    accounts.add_command(command)
