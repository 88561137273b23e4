"""The command line: everything an operator, a pipeline in any language, or an auditor does by hand.

Commands print for people by default and JSON with ``--json``. Errors go to stderr with what to do next; the exit code
is 0 for success, 1 for a refusal or failed check, 2 for wrong usage, 3 when a hub or store cannot be used now;
`publish` and `accounts index` end with 130 or 143 after a signal, `accounts check` with 4 when something matches.
"""

from __future__ import annotations

from importlib import import_module

import click

from exchange import __version__
from exchange.cli.output import Failing

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
#: Each command's module and name there: only the one that is asked for is imported, and what it needs.
_COMMANDS = {
    "accounts": "accounts:accounts",
    "backup": "backup:backup",
    "check-config": "hub:check_config",
    "checkpoint": "checkpoint:checkpoint",
    "client": "client:client",
    "community": "community:community",
    "debts": "reports:debts",
    "dispose": "life:dispose",
    "doctor": "doctor:doctor",
    "election": "election:election",
    "erase": "life:erase",
    "guidance": "guidance:guidance",
    "guide": "guide:guide",
    "init": "hub:init",
    "key": "key:key",
    "lag": "reports:lag",
    "member": "member:member",
    "migrate": "migrate:migrate",
    "opine": "life:opine",
    "pki": "pki:pki",
    "proposals": "proposals:proposals",
    "pseudonyms": "pseudonyms:pseudonyms",
    "publish": "publish:publish",
    "quarantine": "life:quarantine",
    "recover": "restore:recover",
    "referrals": "referrals:referrals",
    "release": "life:release",
    "report": "progress.making:report",
    "restore": "restore:restore",
    "retract": "life:retract",
    "serve": "hub:serve",
    "sign": "sign:sign",
    "signal": "reports:signal",
    "submit": "sign:submit",
    "verify": "verify:verify",
    "verify-report": "progress.verifying:verify_report",
    "watch": "watch:watch",
}


class _Commands(Failing):
    """Imports a command when it is asked for. So also for a process of a pool, which begins by importing this."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        """Return their names, in order."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command; None when there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"exchange.cli.{module}"), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="exchange")
def main() -> None:
    """Share hashed signals of breaching content between platforms, over a ledger that everyone can check.

    EXCHANGE_CLIENT may stand for --client, and EXCHANGE_CONFIG for --config.

    \b
    A first hub:
      exchange init --exchange my.exchange --operator my-org --folder hub
      exchange serve --config hub/hub.toml
    """
