"""What the plain port says of a hub: every service that there is."""

from __future__ import annotations

import re
from pathlib import Path

from exchange.ops.grpc_ops import HUB, PSEUDONYMS

PROTOS = Path(__file__).parents[3] / "proto" / "exchange" / "v1"


def test_every_service_is_named_once() -> None:
    found = [
        f"exchange.v1.{name}"
        for path in PROTOS.glob("*.proto")
        for name in re.findall(r"^service (\w+)", path.read_text(), re.MULTILINE)
    ]
    assert sorted(found) == sorted([*HUB, *PSEUDONYMS])
