"""Everything that a hub gives out of a log, held against its leaves."""

from __future__ import annotations

import grpc

from exchange.ledger.checkpoint import open_checkpoint
from exchange.ledger.merkle import leaf_hash
from exchange.ledger.proofs import verify_inclusion
from exchange.ledger.tiles import entries_path, tile_path
from exchange.v1 import ledger_pb2
from tests.contract.builders import naive_bundle, naive_tile
from tests.e2e.answers import get
from tests.e2e.child_hub import ChildHub
from tests.e2e.exchange_fixture import TIMEOUT_S, UK


async def served_by(hub: ChildHub, leaves: list[bytes], *, start: int, place: int) -> list[str]:
    """Ask for everything from ``start``; return what it would not give. What it gives must be right."""
    refused: list[str] = []
    beta = hub.party("beta")
    at, size = start, start
    while at < len(leaves):
        try:
            request = ledger_pb2.ListEntriesRequest(origin=UK, start=at)
            page = await beta.ledger.ListEntries(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            refused.append(f"entries from {at}: {error.details()}")
            at = 256 * (at // 256 + 1)
            continue
        assert [entry.leaf for entry in page.entries] == leaves[at : at + len(page.entries)]
        at, size = at + len(page.entries), page.sealed_size
    assert size >= len(leaves) or refused
    try:
        now = open_checkpoint(await beta.checkpoint(UK), hub.exchange.verifier(UK))
        proof = await beta.ledger.GetInclusionProof(
            ledger_pb2.GetInclusionProofRequest(origin=UK, index=place, size=now.size), timeout=TIMEOUT_S
        )
        assert proof.leaf_hash == leaf_hash(leaves[place])
        verify_inclusion(leaf_hash=proof.leaf_hash, index=place, size=now.size, proof=tuple(proof.proof), root=now.root)
    except grpc.aio.AioRpcError as error:
        refused.append(f"proof: {error.details()}")
    for path, right in (
        (entries_path(0), naive_bundle(leaves, 0)),
        (entries_path(1), naive_bundle(leaves, 1)),
        (tile_path(0, 1), naive_tile([leaf_hash(leaf) for leaf in leaves], 0, 1, 256)),
    ):
        status, body = await get(hub.tiles_port, f"/{UK}/{path}")
        if status == 200:
            assert body == right, path
        else:
            refused.append(f"{path}: {status}")
    return refused
