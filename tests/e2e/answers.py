"""Reading the hub's answers: refusals with their details, receipts with their proofs, pages of the plain ports."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from exchange import codec
from exchange.domain.statement import Leaf
from exchange.ledger.checkpoint import Checkpoint, open_checkpoint
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.note import Verifier
from exchange.ledger.proofs import verify_inclusion
from exchange.v1 import publish_pb2
from exchange.v1 import statement_pb2 as pb

MAX_STATUS_BYTES = 4_096
_DETAILS = "grpc-status-details-bin"


@dataclass
class Refusal:
    """How a call was refused: the code, our reason, and what came with it."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)
    retry_ms: int | None = None
    status_bytes: int = 0

    @property
    def fields(self) -> list[str]:
        """The fields named by the violations."""
        return [name for name, _ in self.violations]


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Return what an error says."""
    found = Refusal(error.code(), error.details() or "")
    for key, value in error.trailing_metadata():
        if key == _DETAILS:
            assert isinstance(value, bytes)
            _read_details(found, value)
    return found


def _read_details(found: Refusal, data: bytes) -> None:
    found.status_bytes = len(data)
    for detail in status_pb2.Status.FromString(data).details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            found.reason, found.metadata = info.reason, dict(info.metadata)
            assert info.domain == "signal-exchange"
        elif detail.Unpack(bad):
            found.violations = [(item.field, item.description) for item in bad.field_violations]
        elif detail.Unpack(retry):
            found.retry_ms = retry.retry_delay.ToMilliseconds()


async def refusal(call: Awaitable[Any]) -> Refusal:
    """Await a call that must be refused, and return how."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_refusal(caught.value)


def check_receipt(receipt: publish_pb2.Receipt, statement: pb.Statement, verifier: Verifier) -> tuple[Leaf, Checkpoint]:
    """Check a receipt whole: checkpoint signature, inclusion, and that the leaf holds what was sent."""
    checkpoint = open_checkpoint(receipt.checkpoint, verifier)
    verify_inclusion(
        leaf_hash=leaf_hash(receipt.leaf),
        index=receipt.index,
        size=checkpoint.size,
        proof=receipt.inclusion_proof,
        root=checkpoint.root,
    )
    leaf = codec.decode_leaf(receipt.leaf)
    assert leaf.index == receipt.index
    assert leaf.payload == statement.payload
    assert leaf.payload_type == statement.payload_type
    assert [(s.key_id, s.signature) for s in leaf.signatures] == [(s.key_id, s.signature) for s in statement.signatures]
    return leaf, checkpoint


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Fetch a page of a plain port: status and body."""

    def fetch() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(fetch)


async def is_ready(port: int) -> bool:
    """Whether a load balancer would send work to the hub with this port: a closed one says no as well."""
    try:
        return (await get(port, "/readyz"))[0] == 200
    except OSError:
        return False
