"""What two operators must sign, by the command line: written by one, read and signed by the other, submitted once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.ledger.ed25519 import SigningKey
from exchange_client import ExchangeClient
from tests.e2e.command_line import lines
from tests.e2e.exchange_fixture import TIMEOUT_S, UK, World, open_world
from tests.e2e.sdk_clients import a_signal, client_config
from tests.e2e.two_operators import exchange, operator

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    opened = await open_world(tmp_path_factory.mktemp("two"), threshold=2)
    yield opened
    await opened.aclose()


async def test_a_retraction_takes_both(world: World, tmp_path: Path) -> None:
    alpha = client_config(world.exchange, world.app.port, "alpha", tmp_path / "alpha")
    (second_key,) = world.exchange.cosigners
    first, second = operator(world, tmp_path / "first"), operator(world, tmp_path / "second", second_key)
    async with ExchangeClient(alpha) as client:
        async with client.publisher(UK) as publisher:
            (outcome,) = await publisher.publish([a_signal()], timeout_s=TIMEOUT_S)
        assert outcome.signal_id is not None
        id_ = outcome.signal_id.hex()
        said = ("retract", id_, "--reason", "legal", "--community", UK, "--client", first)
        alone = await exchange(*said, code=1)
        assert "signatures of 2 operator keys" in alone.stderr
        file, copy = tmp_path / "retract.jsonl", tmp_path / "copy.jsonl"
        await exchange(*said, "--to-sign", file)
        assert "exists already" in (await exchange(*said, "--to-sign", file, code=1)).stderr
        assert (await client.signal(UK, outcome.signal_id)).retracted_at is None
        few = await exchange("submit", file, "--client", first, code=1)
        assert "signatures of 2 operator keys" in few.stderr
        copy.write_text(file.read_text())
        refused = await exchange("sign", copy, "--client", second, stdin="n\n", code=1)
        for part in ("RETRACTION in test.exchange/uk, in the name of operator", id_, "reason: legal (5)"):
            assert part in refused.stderr
        assert copy.read_text() == file.read_text()
        for _ in range(2):  # signed again it is the same
            await exchange("sign", copy, "--client", second, "--yes")
        submitted = lines((await exchange("submit", file, copy, "--client", first, "--json")).stdout)
        again = lines((await exchange("submit", copy, "--client", first, "--json")).stdout)
        assert [(each["index"], each["signatures"], each["repeated"]) for each in [*submitted, *again]] == [
            (submitted[0]["index"], 2, False),
            (submitted[0]["index"], 2, True),
        ]
        assert (await client.signal(UK, outcome.signal_id)).retracted_at == submitted[0]["index"]


async def test_a_new_member_takes_both_and_all_of_it_goes_into_one_file(world: World, tmp_path: Path) -> None:
    (second_key,) = world.exchange.cosigners
    first, second = operator(world, tmp_path / "first"), operator(world, tmp_path / "second", second_key)
    file = tmp_path / "delta.jsonl"
    key = SigningKey(b"k" * 32).public_key.hex()
    added = ("member", "add", "delta", "--role", "pipeline", "--key", f"pipeline={key}", "--community", "uk")
    await exchange(*added, "--client", first, "--to-sign", file)
    shown = await exchange("sign", file, "--client", second, "--yes")
    for part in ("MEMBER in", "display_name: delta", "member_class: platform (1)", "KEY in", key, "MEMBERSHIP in"):
        assert part in shown.stderr
    submitted = lines((await exchange("submit", file, "--client", first, "--json")).stdout)
    assert [each["signatures"] for each in submitted] == [2, 2, 2]
    listed = lines((await exchange("member", "list", "--client", first, "--json")).stdout)
    (delta,) = [each for each in listed if each["member"] == "delta"]
    assert (delta["live_keys"], delta["communities"]) == (1, [UK])


async def test_what_cannot_be_signed_or_submitted_is_refused(world: World, tmp_path: Path) -> None:
    first = operator(world, tmp_path / "first")
    stranger = operator(world, tmp_path / "stranger", SigningKey(b"s" * 32))
    file = tmp_path / "key.jsonl"
    key = SigningKey(b"q" * 32).public_key.hex()
    await exchange(
        "member", "key", "add", "alpha", "--role", "pipeline", "--public-key", key, "--client", first, "--to-sign", file
    )
    whole = json.loads(file.read_text())
    wrong = tmp_path / "wrong.jsonl"

    async def refusal(text: str, command: str = "submit") -> str:
        wrong.write_text(text)
        options = ("--yes",) if command == "sign" else ()
        return str((await exchange(command, wrong, "--client", first, *options, code=1)).stderr)

    assert "no envelope" in await refusal("nonsense", "sign")
    assert "no envelope" in await refusal(json.dumps(whole | {"payloadType": "other"}), "sign")
    assert "nothing to sign" in await refusal("", "sign")
    assert "line 1" in await refusal(json.dumps(whole | {"payload": "AAAA"}), "sign")
    assert "not signed it" in await refusal(json.dumps(whole | {"signatures": []}))
    spoilt = [{**whole["signatures"][0], "sig": "A" * 86 + "=="}]
    assert "error:" in await refusal(json.dumps(whole | {"signatures": spoilt}))
    pipeline = tmp_path / "pipeline.toml"
    pipeline.write_text(first.read_text().replace('role = "operator"', 'role = "pipeline"'))
    assert "no operator's" in (await exchange("sign", file, "--client", pipeline, "--yes", code=1)).stderr
    await exchange("sign", file, "--client", stranger, "--yes")
    assert "is in the directory" in (await exchange("submit", file, "--client", first, code=1)).stderr
