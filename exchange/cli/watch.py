"""``exchange watch``: the feed, verified, as lines; a sidecar for pipelines in any language."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from exchange.cli.connect import origin_of, with_client
from exchange.cli.output import client_option, community_option, emit, json_option, say
from exchange.domain.identifiers import IndicatorType
from exchange.domain.labels import Label
from exchange_client import ClientConfig, Delivery, ExchangeClient, Filter
from exchange_client.jsonl import delivery_to_json

_HEAD = f"{'index':>8}  {'publisher':<20} {'label or kind':<28} {'signals or state':<16} {'lag':>9}"


@click.command()
@community_option
@client_option
@click.option("--cursor", type=click.IntRange(min=0), help="Start here. Default: where the last watch ended.")
@click.option("--from-now", is_flag=True, help="Start at the sealed size: only what comes now.")
@click.option("--label", "labels", multiple=True, help="Records of these labels only. Repeat for more.")
@click.option("--type", "types", multiple=True, help="Records of these indicator types only. Repeat for more.")
@click.option("--skip", "skip", type=int, multiple=True, help="Go past this bad entry; the root is still checked.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many entries.")
@click.option("--acknowledge", is_flag=True, help="Tell the community up to where you have processed, with the lag.")
@json_option
def watch(
    name: str,
    client_path: Path,
    cursor: int | None,
    labels: tuple[str, ...],
    types: tuple[str, ...],
    skip: tuple[int, ...],
    limit: int | None,
    *,
    from_now: bool,
    acknowledge: bool,
    as_json: bool,
) -> None:
    """Follow a community's ledger, verifying everything, until interrupted.

    With --json each entry is one line: a pipeline in any language can read it as a sidecar. A line counts as
    processed once the next one has been taken, so after a crash nothing is missed and the last second may repeat.

    The position lies in the client's state folder. Who only wants to look gives --cursor or --from-now, which leaves a
    stored position alone, or uses a client file of their own. One watch of a pipeline gives --acknowledge.

    \b
    Examples:
      exchange watch --community uk-elections --client beta/pipeline/client.toml
      exchange watch --community uk-elections --client beta/pipeline/client.toml --json | my-pipeline
    """
    wanted = Filter(
        labels=frozenset(_number(Label, word, "label") for word in labels),
        indicator_types=frozenset(_number(IndicatorType, word, "indicator type") for word in types),
    )

    async def job(client: ExchangeClient, settings: ClientConfig) -> None:
        origin = origin_of(settings.exchange, name)
        seen = 0
        if not as_json:
            say(_HEAD)
        stream = client.subscribe(
            origin, cursor=cursor, from_now=from_now, wanted=wanted, skip=frozenset(skip), acknowledges=acknowledge
        )
        async with contextlib.aclosing(stream) as deliveries:
            async for delivery in deliveries:
                data = delivery_to_json(delivery)
                emit(data, as_json=as_json, lines=() if as_json else [_line(delivery, data)])
                seen += 1
                if limit is not None and seen >= limit:
                    client.acknowledge(delivery)
                    return

    with contextlib.suppress(KeyboardInterrupt):
        with_client(client_path, job)


def _number(words: type[Label | IndicatorType], word: str, what: str) -> int:
    try:
        return int(words[word.upper()])
    except KeyError as error:
        raise click.UsageError(
            f"{word!r} is no {what}; try one of: {', '.join(w.name.lower() for w in words)}"
        ) from error


def _line(delivery: Delivery, data: Mapping[str, Any]) -> str:
    what = data.get("label") or data.get("kind")
    count = f"{len(delivery.signals)} signals" if delivery.signals else delivery.state.replace("_", " ")
    return f"{delivery.index:>8}  {delivery.publisher:<20} {what!s:<28} {count:<16} {delivery.lag_ms:>6} ms"
