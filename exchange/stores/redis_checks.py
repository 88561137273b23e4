"""What a server must be set to before the store's promises hold on it. Asked at every opening of a connection."""

from __future__ import annotations

from exchange.errors import Fatal, Reason
from exchange.stores.redis_finding import pairs, text_of
from exchange.stores.redis_link import Link, answer

OLDEST = (7, 0)
#: Each with why.
_NEEDED = {
    "appendonly": ("yes", "else nothing is on disk"),
    "appendfsync": ("always", "else what was acknowledged can be lost with the power"),
    "no-appendfsync-on-rewrite": ("no", "else what is acknowledged during a rewrite is not on disk"),
    "maxmemory-policy": ("noeviction", "else entries vanish when memory is short"),
    "save": ("", "else snapshots on disk keep what was erased"),
}


async def require(link: Link) -> None:
    """Return if the server is fit to hold logs. Raises `Fatal` (CONFIG) that names everything that is not so."""
    server, settings = await link.call(("INFO", "server"), ("CONFIG", "GET", *_NEEDED))
    lines = text_of(answer(link.server, server)).splitlines()
    versions = [line.partition(":")[2] for line in lines if line.startswith("redis_version:")]
    version = versions[0] if versions else "unknown"
    found = pairs(answer(link.server, settings))
    wrong = [
        f"{name} is {found.get(name)!r} and must be {value!r}: {why}"
        for name, (value, why) in _NEEDED.items()
        if found.get(name) != value
    ]
    if not _new_enough(version):
        wrong.insert(0, f"its version is {version}; the oldest that will do is {OLDEST[0]}.{OLDEST[1]}")
    if wrong:
        raise Fatal(
            f"{link.server}: not fit to hold a ledger: {'; '.join(wrong)}",
            reason=Reason.CONFIG,
            hint="docs/redis.md has a configuration to start from",
        )


def _new_enough(version: str) -> bool:
    numbers = version.split(".")[:2]
    return all(part.isdecimal() for part in numbers) and tuple(map(int, numbers)) >= OLDEST
