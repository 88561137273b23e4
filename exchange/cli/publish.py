"""``exchange publish``: signals from JSON lines into the ledger."""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import click

from exchange.app import wall_ms
from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import (
    REFUSED,
    client_option,
    community_option,
    emit,
    end_progress,
    json_option,
    say,
    say_progress,
)
from exchange.errors import ExchangeError, Reason, Rejected
from exchange_client import ClientConfig, ExchangeClient, Outcome, Publisher, RejectFile, Signal
from exchange_client.jsonl import signal_from_json

_BULK = 5_000
_LINGER_S = 0.02


@click.command()
@click.argument("source", type=click.File("rb"), default="-")
@community_option
@client_option
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where refused lines go, with the reasons. Default: next to the state.",
)
@json_option
def publish(source: BinaryIO, name: str, client_path: Path, rejects: Path | None, *, as_json: bool) -> None:
    """Publish signals, one JSON object a line, from SOURCE (a file, or - for standard input).

    Every line is checked before anything is signed; refused lines go to the rejects file and the rest goes on. What is
    acknowledged is in the ledger: the receipt's proof has been verified. What is interrupted is sent by the next run.

    \b
    A line:
      {"label": "harassment_targeted", "indicators": [{"type": "pdq", "value": "<64 hex>"}],
       "expires_in_days": 30, "case_ref": "T-1042"}
    Examples:
      exchange publish signals.jsonl --community uk-elections --client alpha/pipeline/client.toml
      my-pipeline | exchange publish - --community uk-elections --json
    """

    async def job(client: ExchangeClient, settings: ClientConfig) -> tuple[int, int]:
        refused = RejectFile(rejects or settings.state / "rejects.jsonl")
        done = failed = 0
        async with client.publisher(origin_of(settings.exchange, name)) as publisher:
            async for chunk in _chunks(source):
                ok, bad = await _publish_chunk(publisher, chunk, refused, as_json=as_json)
                done, failed = done + ok, failed + bad
                say_progress(f"{done:,} in the ledger, {failed:,} refused")
        end_progress()
        if failed:
            say(f"{failed} refused, see {refused.path}", err=True)
        return done, failed

    done, failed = with_client(client_path, job)
    if not as_json:
        say(f"{done} in the ledger, {failed} refused")
    if failed:
        sys.exit(REFUSED)


async def _chunks(source: BinaryIO) -> AsyncIterator[list[bytes]]:
    """Yield lines in bulks: what has come within a moment, so that a live pipe never waits for a full one.

    Bytes, because one line that is no text must not end them all. Raises `Rejected` (CONFIG) when reading fails, behind
    what was read before.
    """
    lines: queue.Queue[bytes | None] = queue.Queue(2 * _BULK)
    failed: list[OSError] = []

    def read() -> None:
        try:
            for line in source:
                lines.put(line)
        except OSError as error:
            failed.append(error)
        finally:
            lines.put(None)

    threading.Thread(target=read, name="read-lines", daemon=True).start()
    bulk: list[bytes] = []
    while (line := await asyncio.to_thread(lines.get)) is not None:
        bulk.append(line)
        await asyncio.sleep(_LINGER_S)
        ended = False
        while len(bulk) < _BULK and not lines.empty() and not ended:
            more = lines.get_nowait()
            ended = more is None
            bulk += [] if more is None else [more]
        yield [text for text in bulk if text.strip()]
        bulk = []
        if ended:
            break
    for error in failed:
        raise Rejected(Reason.CONFIG, f"the source cannot be read on: {error.strerror}") from error


async def _publish_chunk(
    publisher: Publisher, lines: list[bytes], refused: RejectFile, *, as_json: bool
) -> tuple[int, int]:
    signals: list[Signal] = []
    failed = 0
    # One moment for all: signals whose expiry is the same travel in one statement.
    now = wall_ms()
    for line in lines:
        try:
            signals.append(_parse(line, now))
        except ExchangeError as error:
            failed += 1
            refused.write_line(line.decode(errors="backslashreplace"), error)
    outcomes: list[Outcome] = await publisher.publish(signals) if signals else []
    done = 0
    for outcome in outcomes:
        if outcome.receipt is None or outcome.signal_id is None:
            failed += 1
            refused.write(outcome)
            continue
        done += 1
        if as_json:
            emit(
                {
                    "signal_id": outcome.signal_id.hex(),
                    "index": outcome.receipt.index,
                    "case_ref": outcome.signal.case_ref,
                    "repeated": outcome.receipt.repeated,
                },
                as_json=True,
            )
    return done, failed


def _parse(line: bytes, now_ms: int) -> Signal:
    try:
        data = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Rejected(Reason.MALFORMED, "not a JSON object")
    return signal_from_json(data, now_ms=now_ms)
