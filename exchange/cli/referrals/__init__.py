"""``exchange referrals``: cases that a platform refers to an authority, and notes between members."""

from __future__ import annotations

import click

from exchange.cli.referrals import saying, showing, watching


@click.group()
def referrals() -> None:
    """Cases that a platform refers to an authority, and notes between members who may see them.

    If somebody's life is in danger now, call 999 first: a referral is read when somebody is at a desk.

    Content never passes through the hub: a referral names your own reference, your desk, and your own portal.

    \b
    Examples:
      exchange referrals refer --authority met-police --label violence_threats --urgency priority \\
          --respond-within-hours 24 --case-ref T-1042 --contact mailto:referrals@alpha.example \\
          --community uk-elections --client alpha/liaison/client.toml
      exchange referrals list --open --community uk-elections --client met-police/authority/client.toml
      exchange referrals watch --mail-to desk@police.example --mail-from exchange@police.example \\
          --smtp mail.police.example:587 --community uk-elections --client met-police/authority/client.toml
    """


for command in (
    saying.refer,
    saying.acknowledge,
    saying.ask,
    saying.answer,
    saying.close,
    saying.note,
    showing.list_referrals,
    showing.show,
    showing.notes,
    showing.contacts,
    watching.watch,
):
    referrals.add_command(command)
