"""The command line: everything an operator, a pipeline in any language, or an auditor does by hand.

Commands print for people by default and JSON with ``--json``. Errors go to stderr with what to do next; the exit code
is 0 for success, 1 for a refusal or failed check, 2 for wrong usage, 3 when a hub or store cannot be used now;
`publish` and `accounts index` end with 130 or 143 after a signal, `accounts check` with 4 when something matches.
"""

from __future__ import annotations

import click

from exchange import __version__
from exchange.cli import accounts, community, doctor, hub, key, member, pki, pseudonyms, publish, verify, watch
from exchange.cli.output import Failing

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Failing, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="exchange")
def main() -> None:
    """Share hashed signals of breaching content between platforms, over a ledger that everyone can check.

    EXCHANGE_CLIENT may stand for --client, and EXCHANGE_CONFIG for --config.

    \b
    A first hub:
      exchange init --exchange my.exchange --operator my-org --folder hub
      exchange serve --config hub/hub.toml
    """


for command in (
    hub.init,
    hub.serve,
    hub.check_config,
    doctor.doctor,
    pki.pki,
    community.community,
    member.member,
    key.key,
    publish.publish,
    pseudonyms.pseudonyms,
    watch.watch,
    accounts.accounts,
    verify.verify,
):
    main.add_command(command)
