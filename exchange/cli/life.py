"""``exchange retract``, ``erase``, ``opine``, ``dispose``, ``quarantine`` and ``release``: the life of signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click

from exchange.cli.cosigning import to_sign_option
from exchange.cli.saying import say_of_signals
from exchange.cli.speaking import Asked, F, said_by_arguments, saying_options, words_option
from exchange.domain.bodies import (
    DispositionReason,
    DispositionState,
    ErasureReason,
    OpinionCategory,
    OpinionReason,
    QuarantineReason,
    RetractionReason,
    SourceAction,
)
from exchange.domain.kinds import Kind

_CASE = click.option(
    "--case-ref", "--case", "case_ref", metavar="REF", help="All signals that you published under this case."
)
_IDS = click.argument("signal_ids", metavar="[SIGNAL_ID]...", nargs=-1)


def _time(name: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name}", help=f"{text}: a time with its zone, or Unix milliseconds.")


def _say(
    kind: Kind,
    name: str,
    client_path: Path,
    *,
    lines: BinaryIO | None,
    rejects: Path | None,
    as_json: bool,
    to_sign: Path | None = None,
    **values: object,
) -> None:
    """Say what the arguments say, or the lines."""
    said = said_by_arguments(values, times=("decided_at", "matched_at", "actioned_at"))
    say_of_signals(kind, Asked(name, client_path, said, lines, rejects, as_json), to_sign)


@click.command()
@_IDS
@_CASE
@words_option("reason", RetractionReason, "Why they are taken back.")
@_time("decided-at", "When that was decided")
@saying_options
@to_sign_option
def retract(name: str, client_path: Path, *, to_sign: Path | None, **said: Any) -> None:  # noqa: ANN401 - click's
    """Take signals back: receivers forget them, and owe an answer where they acted on them.

    Signals are named by their ids, or by your case. A case is known to the client whose state folder its signals were
    published from; asked for again, it takes back only what is left. An operator may take back anybody's, with as many
    operators' signatures as the exchange asks for: --to-sign hub and `exchange proposals`, or --to-sign FILE and
    `exchange sign`, `exchange submit`.

    \b
    A line of --lines (what a line leaves out, the arguments say):
      {"case_ref": "T-1042", "reason": "overturned_on_appeal", "decided_at": "2026-11-02T09:00:00Z"}
      {"signal_ids": ["<64 hex>"], "reason": "error"}
    Examples:
      exchange retract --case-ref T-1042 --reason error --community uk-elections --client alpha/pipeline/client.toml
      appeals | exchange retract --lines - --reason overturned_on_appeal \\
          --community uk-elections --client alpha/pipeline/client.toml --json
    """
    _say(Kind.RETRACTION, name, client_path, to_sign=to_sign, **said)


@click.command()
@_IDS
@_CASE
@words_option("reason", ErasureReason, "Why they are erased.")
@saying_options
@to_sign_option
def erase(name: str, client_path: Path, *, to_sign: Path | None, **said: Any) -> None:  # noqa: ANN401 - click's
    """Let salt and data of signals leave every store before their time. Their entries and proofs stay.

    It also ends them; on_request opens a debt at whoever was given them. Named as for `exchange retract`.

    \b
    A line of --lines:
      {"case_ref": "T-1042", "reason": "on_request"}
    Example:
      exchange erase --case-ref T-1042 --reason on_request --community uk-elections --client alpha/pipeline/client.toml
    """
    _say(Kind.ERASURE, name, client_path, to_sign=to_sign, **said)


@click.command()
@_IDS
@words_option("category", OpinionCategory, "What you think of them.")
@words_option("reason", OpinionReason, "What that rests on.")
@saying_options
def opine(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Say what you think of signals of others; your last opinion of each counts.

    \b
    A line of --lines:
      {"signal_ids": ["<64 hex>"], "category": "negative_class", "reason": "false_positive"}
    Example:
      exchange opine 5f1c... --category negative_class --reason false_positive \\
          --community uk-elections --client beta/pipeline/client.toml
    """
    _say(Kind.OPINION, name, client_path, **said)


@click.command()
@_IDS
@words_option("state", DispositionState, "How it stands.")
@words_option("action", SourceAction, "What you did: with actioned and upheld.")
@words_option("reason", DispositionReason, "Why: mandatory with not_actioned and upheld.")
@_time("matched-at", "When you found your own content or account by it")
@_time("actioned-at", "When you acted, or undid it")
@saying_options
def dispose(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Say what you did with signals of others. After a retraction, that closes what you owe.

    reversed: you undid what you had done. not_actioned: there was nothing to undo. upheld, said afterwards: you keep
    it on grounds of your own.

    \b
    A line of --lines:
      {"signal_ids": ["<64 hex>"], "state": "actioned", "action": "removed",
       "matched_at": "2026-11-02T09:00:00Z", "actioned_at": "2026-11-02T09:05:00Z"}
    Examples:
      exchange dispose 5f1c... --state reversed --actioned-at 2026-11-02T09:00:00Z \\
          --community uk-elections --client beta/pipeline/client.toml
      my-pipeline | exchange dispose --lines - --community uk-elections --client beta/pipeline/client.toml --json
    """
    _say(Kind.DISPOSITION, name, client_path, **said)


@click.command()
@click.argument("member", required=False, default="")
@click.option("--from-index", type=click.IntRange(min=0), default=0, show_default=True, help="From this entry on.")
@words_option("reason", QuarantineReason, "Why it is flagged.")
@saying_options
def quarantine(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """Flag a member's entries: matchers hold them back until release. Nothing is withheld, and order holds.

    \b
    A line of --lines:
      {"member": "alpha", "from_index": 1042, "reason": "burst"}
    Example:
      exchange quarantine alpha --from-index 1042 --reason burst \\
          --community uk-elections --client hub/operator/client.toml
    """
    _say(Kind.QUARANTINE, name, client_path, **said)


@click.command()
@click.argument("member", required=False, default="")
@saying_options
def release(name: str, client_path: Path, **said: Any) -> None:  # noqa: ANN401 - click's
    """End a member's quarantine: what was held back of it matches again.

    \b
    A line of --lines:
      {"member": "alpha"}
    Example:
      exchange release alpha --community uk-elections --client hub/operator/client.toml
    """
    _say(Kind.RELEASE, name, client_path, **said)
