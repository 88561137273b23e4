"""A platform that is killed in the middle: it follows a community, and prints which of its own content is matched.

Run with the client's configuration, its file, and how much content it has, as one JSON object in the first argument.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from exchange.domain.identifiers import IndicatorType
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, ExchangeClient, Indicator, MatcherFile, content_matches


def content_of(number: int) -> Indicator:
    """What a piece of content is known by."""
    return Indicator(IndicatorType.IMAGE_SHA256, b"%032d" % number)


def config_to_json(config: ClientConfig) -> dict[str, Any]:
    """What this process needs of a configuration."""
    paths = ("certificate", "key", "authority", "signing_key", "state")
    plain = {"exchange": config.exchange, "member": config.member, "role": config.role}
    return plain | {
        "addresses": list(config.addresses),
        "genesis": config.genesis.hex(),
        "paths": {name: str(getattr(config, name)) for name in paths},
    }


async def follow(given: dict[str, Any]) -> None:
    paths: dict[str, Any] = {name: Path(path) for name, path in given["paths"].items()}
    config = ClientConfig(
        addresses=tuple(given["addresses"]),
        exchange=given["exchange"],
        member=given["member"],
        role=given["role"],
        genesis=bytes.fromhex(given["genesis"]),
        **paths,
    )
    file = MatcherFile(Path(given["file"]))
    file.matcher.add_content((str(number), [content_of(number)]) for number in range(given["content"]))
    await file.save()
    position = await file.load(given["origin"])
    print(json.dumps({"from": position.range.size if position else 0, "known": len(file.matcher)}), flush=True)
    async with (
        ExchangeClient(config) as client,
        aclosing(client.subscribe(given["origin"], positions=file)) as deliveries,
    ):
        async for match in content_matches(file.matcher, deliveries, now_ms=wall_ms):
            print(json.dumps({"reference": match.reference, "index": match.match.index}), flush=True)


if __name__ == "__main__":
    asyncio.run(follow(json.loads(sys.argv[1])))
