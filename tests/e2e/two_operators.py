"""Two operators' keys and their command lines, over a hub whose exchange asks for both."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from exchange.domain.kinds import Role
from exchange.ledger.ed25519 import SigningKey
from exchange_client import ClientConfig
from tests.e2e.command_line import run
from tests.e2e.exchange_fixture import OPERATOR, World
from tests.e2e.sdk_clients import client_config


def client_file(config: ClientConfig, folder: Path) -> Path:
    """Write a configuration as a file."""
    keys = ("exchange", "member", "role", "certificate", "key", "authority", "signing_key", "state")
    said = {key: str(getattr(config, key)) for key in keys} | {"genesis": config.genesis.hex()}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items())
    path = folder / "client.toml"
    path.write_text(f"addresses = {json.dumps(list(config.addresses))}\n{text}")
    return path


def operator(world: World, folder: Path, key: SigningKey | None = None, *, member: str = OPERATOR) -> Path:
    """An operator's client file; with another of its keys."""
    config = client_config(world.exchange, world.app.port, member, folder, Role.OPERATOR)
    if key is not None:
        config.signing_key.write_text(key._key.private_bytes_raw().hex())
    return client_file(config, folder)


async def exchange(*arguments: object, **options: Any) -> Any:
    """Run a command beside the hub, which is in this process."""
    return await asyncio.to_thread(run, *arguments, **options)
