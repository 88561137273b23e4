"""Whether what was written is on every server that could be the master next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exchange.errors import Unavailable
from exchange.stores.redis_finding import Found, text_of
from exchange.stores.redis_place import Server


class Unsafe(Unavailable):
    """What was written is not on every server that could be the master next."""


@dataclass(frozen=True, slots=True)
class Replication:
    """What a master says of its replicas."""

    is_master: bool
    #: Those that follow it now.
    connected: frozenset[Server]


def read_replication(text: Any) -> Replication:  # noqa: ANN401 - an answer of RESP 2
    """Read the answer to ``INFO replication``."""
    found: dict[str, str] = {}
    for line in text_of(text).splitlines():
        name, _, value = line.partition(":")
        found[name] = value
    count = int(found.get("connected_slaves", "0"))
    connected = set()
    for number in range(count):
        said = dict(part.partition("=")[::2] for part in found.get(f"slave{number}", "").split(","))
        if said.get("state") == "online":
            connected.add(Server(said["ip"], int(said["port"])))
    return Replication(found.get("role") == "master", frozenset(connected))


def missing(found: Found, acknowledged: int, now: Replication) -> str:
    """Say what keeps a write from being safe: nothing, where every replica that counts has it.

    Every replica that the master has must have acknowledged, so that it does not matter which ones were counted; and
    those that could be promoted must be among them.
    """
    gone = sorted(found.promotable - now.connected)
    if gone:
        return f"{', '.join(map(str, gone))} could be promoted and is not connected"
    if len(now.connected) < found.least:
        return f"{found.least} replicas are said to be promotable, {len(now.connected)} are connected"
    if acknowledged < len(now.connected):
        return f"{acknowledged} of {len(now.connected)} replicas have it"
    return ""
