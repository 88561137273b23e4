"""What is said by lines: a line is refused for what is wrong with it, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients.python.tests.fake_hub import UK, FakeHub, client_of
from exchange.cli.saying import _Run
from exchange.cli.speaking import Asked
from exchange.cli.tally import Given
from exchange.domain.bodies import Retraction, RetractionReason
from exchange.domain.kinds import Kind
from exchange_client import Distrusted, RejectFile, backoff
from exchange_client.json_life import LifeLine


async def test_a_hub_that_cannot_be_trusted_ends_it_and_no_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    client, transport = client_of(FakeHub(), tmp_path)
    transport.spoil_receipt = lambda receipt: replace(receipt, index=receipt.index + 1)
    asked = Asked("uk", tmp_path / "client.toml", {}, None, None, as_json=True)
    run = _Run(Kind.RETRACTION, asked)
    run.tally.refused = RejectFile(tmp_path / "rejects.jsonl")
    lines = [LifeLine(Retraction((bytes([n]) * 32,), RetractionReason.ERROR)) for n in range(3)]
    async with client, client.publisher(UK) as publisher:
        with pytest.raises(Distrusted):
            await run._bulk(publisher, [(Given({}), line) for line in lines])
        assert len(await publisher.outbox.pending()) == 3
    assert not run.tally.refused.path.exists()
    assert run.tally.failed == 0
