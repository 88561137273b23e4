"""The SDK as the members of the tests use it: a client's configuration, and something to say."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

from exchange.domain.identifiers import IndicatorType
from exchange.domain.kinds import Role
from exchange.domain.labels import Label
from exchange.ops.certificates import authority_files, issued_files
from exchange.ops.clocks import wall_ms
from exchange_client import ClientConfig, Indicator, Signal
from tests.e2e.exchange_fixture import NAME, Exchange


def client_config(
    exchange: Exchange, port: int, member: str, state: Path, role: Role = Role.PIPELINE, **changes: object
) -> ClientConfig:
    """Return how a member's workload reaches the hub on this port; what it keeps lies in ``state``."""
    files = issued_files(exchange.pki, member, role.word)
    seed = state / "signing.seed"
    state.mkdir(parents=True, exist_ok=True)
    seed.write_text(exchange.keys[member, role]._key.private_bytes_raw().hex())
    config = ClientConfig(
        addresses=(f"localhost:{port}",),
        exchange=NAME,
        member=member,
        role=role.word,
        certificate=files.certificate,
        key=files.key,
        authority=authority_files(exchange.pki).certificate,
        signing_key=seed,
        genesis=exchange.pin,
        state=state / "state",
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def a_signal(**changes: object) -> Signal:
    """Return a good signal about something new, with changes to it."""
    plain = Signal(
        label=Label.HARASSMENT_TARGETED,
        indicators=(Indicator(IndicatorType.IMAGE_SHA256, secrets.token_bytes(32)),),
        expires_at_ms=wall_ms() + 86_400_000,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]
