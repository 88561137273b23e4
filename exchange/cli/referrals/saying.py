"""``exchange referrals refer``, ``acknowledge``, ``ask``, ``answer``, ``close`` and ``note``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import click

from exchange.cli.output import say
from exchange.cli.referrals.speaking import RunToMembers
from exchange.cli.speaking import Asked, said_by_arguments, saying_options, words_option
from exchange.domain.addressed import ReferralOutcome, ReferralUrgency
from exchange.domain.bodies import TargetClass
from exchange.domain.labels import Label

_EMERGENCY = "danger to life is no referral: in an emergency, call 999 first"
_REFERRAL = click.argument("referral", metavar="[REFERRAL]", required=False)
_REFERENCE = click.option("--reference", metavar="REF", help="Your own reference, without spaces.")
_AT = click.option("--at", help="When it was so: a time with its zone, or Unix milliseconds. Default: now.")
_TEXT = click.option("--text", help="Written as a note before it: plain text, at most 1,000 characters.")
_HOURS = click.option("--respond-within-hours", type=click.IntRange(1, 2160), help="By when an answer is hoped for.")
_BY = click.option("--respond-by", help="The same as a time with its zone, or Unix milliseconds.")


def _say(
    what: str,
    name: str,
    client_path: Path,
    *,
    lines: BinaryIO | None,
    rejects: Path | None,
    as_json: bool,
    **values: object,
) -> None:
    said = said_by_arguments(values, times=("at", "respond_by"))
    RunToMembers(what, Asked(name, client_path, said, lines, rejects, as_json)).say()


@click.command()
@click.option("--authority", metavar="MEMBER", help="To whom: an authority member of the community.")
@click.option("--label", metavar="LABEL", type=click.Choice([label.word for label in Label]), help="The harm.")
@words_option("urgency", ReferralUrgency, "How soon. Default: routine.")
@_HOURS
@_BY
@click.option("--case-ref", metavar="REF", help="Your own reference of the case, without spaces.")
@click.option("--contact", metavar="ADDRESS", help="Your desk to ask for the material: mailto:, https: or tel:.")
@click.option("--handover", metavar="URL", help="Your own portal, where the material is handed over.")
@click.option("--election", metavar="ID", help="The election that it is about, in hexadecimal.")
@words_option("target-class", TargetClass, "Whom the abuse is aimed at.")
@click.option("--signal", "signal_ids", metavar="ID", multiple=True, help="A signal that it is about. Repeat for more.")
@saying_options
def refer(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Refer a case to an authority: the police, an electoral or a security body.

    If somebody's life is in danger now, call 999 first. A referral holds no content: the authority asks your desk for
    the material, by your reference, and gets it through your own portal and your own rules. Only the authority reads
    what it says; everybody sees that you have said something of this kind.

    \b
    A line of --lines (what a line leaves out, the arguments say):
      {"authority": "met-police", "label": "violence_threats", "urgency": "priority",
       "respond_within_hours": 24, "case_ref": "T-1042", "contact": "mailto:referrals@alpha.example"}
    Examples:
      exchange referrals refer --authority met-police --label violence_threats --urgency priority \\
          --respond-within-hours 24 --case-ref T-1042 --contact mailto:referrals@alpha.example \\
          --community uk-elections --client alpha/liaison/client.toml
      my-pipeline | exchange referrals refer --lines - --authority met-police \\
          --community uk-elections --client alpha/pipeline/client.toml --json
    """
    if not said["as_json"]:
        say(_EMERGENCY, err=True)
    _say("refer", name, client_path, **said)


@click.command()
@_REFERRAL
@_REFERENCE
@_AT
@saying_options
def acknowledge(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Say, as the authority, that you have a referral.

    \b
    A line of --lines:
      {"referral": "<64 hex>", "reference": "PS/1042"}
    Example:
      exchange referrals acknowledge 5f1c... --reference PS/1042 \\
          --community uk-elections --client met-police/authority/client.toml
    """
    _say("acknowledge", name, client_path, **said)


@click.command()
@_REFERRAL
@_TEXT
@_HOURS
@_BY
@_REFERENCE
@_AT
@saying_options
def ask(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Ask, as the authority, the platform something; the question is written as a note.

    Ask for material at the platform's desk, not here: content never passes through the hub.

    \b
    Example:
      exchange referrals ask 5f1c... --text "Which time zone are your times in?" --respond-within-hours 48 \\
          --community uk-elections --client met-police/authority/client.toml
    """
    _say("ask", name, client_path, **said)


@click.command()
@_REFERRAL
@_TEXT
@click.option("--authority", metavar="MEMBER", help="Who asked. Only a pipeline, which reads none, must say it.")
@_REFERENCE
@_AT
@saying_options
def answer(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Answer, as the platform, what the authority asked; the answer is written as a note.

    \b
    Example:
      exchange referrals answer 5f1c... --text "UTC." --community uk-elections --client alpha/liaison/client.toml
    """
    _say("answer", name, client_path, **said)


@click.command()
@_REFERRAL
@words_option("outcome", ReferralOutcome, "What came of it.")
@_TEXT
@_REFERENCE
@_AT
@saying_options
def close(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Close a referral, as the authority.

    \b
    A line of --lines:
      {"referral": "<64 hex>", "outcome": "taken_up", "reference": "PS/1042"}
    Example:
      exchange referrals close 5f1c... --outcome taken_up --reference PS/1042 \\
          --community uk-elections --client met-police/authority/client.toml
    """
    _say("close", name, client_path, **said)


@click.command()
@click.argument("target", metavar="[REFERRAL_OR_SIGNAL]", required=False)
@click.option("--text", help="Plain text, at most 1,000 characters. Never content, names or account identifiers.")
@click.option("--to", "audience", multiple=True, metavar="MEMBER", help="On a dispute: to whom. Repeat for more.")
@saying_options
def note(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Write a short note on a referral, or on a signal that is disputed.

    On a referral its two parties read it. On a dispute, those that you name: the signal's publisher, members that
    published an opinion of it, operators.

    \b
    Examples:
      exchange referrals note 5f1c... --text "Material was handed over." \\
          --community uk-elections --client alpha/liaison/client.toml
      exchange referrals note 9ab0... --to alpha --text "We read this as satire." \\
          --community uk-elections --client beta/liaison/client.toml
    """
    _say("note", name, client_path, **said)
