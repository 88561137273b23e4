"""Keeps what this release writes, for all later ones to open: `python -m tests.compat.keep`, once, when it is released.

Writes tests/compat/<version>/: `files.tar.xz` with an exchange as its hub left it when it was killed, clients' folders with
something unsent, a matcher's file, indices of accounts, a pseudonym service's files, a backup, and the same log as it lies in
Redis; `wire.json`, what was said on the wire; `protos.binpb`, the form of all of that; and `facts.json`, what a later
release must find in it. The keys in it were made for it and are used nowhere. Certificates are left out: they end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any

from clients.python.tests.fake_service import EPOCH, Service, email
from exchange import __version__
from exchange.domain.identifiers import IndicatorType
from exchange.ops.clocks import wall_ms
from exchange.pseudonyms.budget import Reserved
from exchange.stores.budget_book import BudgetFile
from exchange.stores.epoch_keys import EpochKeys
from exchange.v1 import ledger_pb2
from exchange_client import AccountIndex, ClientConfig, ExchangeClient, Indicator, MatcherFile, Own
from exchange_client.account_signals import AccountSignals
from exchange_client.outbox import Outbox
from exchange_client.pseudonyms import Pseudonyms
from tests.compat.recording import recorded
from tests.contract.redis_server import RedisServer, running
from tests.e2e.command_line import Place, lines, run, serve
from tests.e2e.exchange_fixture import free_port
from tests.e2e.sdk_clients import a_signal

HERE = Path(__file__).parent
EXCHANGE = "earlier.exchange"
UK = f"{EXCHANGE}/uk"
#: As long as a community may keep anything: what is kept here must not be over when it is opened.
DAYS = 3_649
SIGNALS = 280
CONFIDENCES = ("low", "moderate", "high")
SEVERITIES = ("info", "warning", "suspicious", "severe", "apocalypse")
#: Of the matcher, which comes no further: what it has not seen waits for a later release.
SEEN = 270


def a_line(number: int) -> str:
    """A line of a statement of its own: no two have all that stands in a header."""
    indicators = [{"type": "pdq", "value": f"{number:064x}"}, {"type": "image_sha256", "value": f"{number + 1:064x}"}]
    line = {"label": "harassment_targeted", "indicators": indicators, "expires_in_days": DAYS - 1 - number // 15}
    line |= {"confidence": CONFIDENCES[number % 3], "severity": SEVERITIES[number // 3 % 5]}
    return json.dumps(line | {"case_ref": f"T-{number}"})


def found(folder: Path) -> Place:
    """Found an exchange with a community whose entries last, and its members."""
    listen = ("--listen", f"127.0.0.1:{free_port()}", "--ops-listen", f"127.0.0.1:{free_port()}")
    run("init", "--exchange", EXCHANGE, "--operator", "op", "--folder", folder / "hub", *listen)
    place = Place(folder, serve(folder / "hub" / "hub.toml"))
    days = ("--retention-days", DAYS + 1, "--max-expiry-days", DAYS, "--replay-window-days", DAYS)
    run("community", "create", "uk", *days, "--config", place.config, "--client", place.operator)
    for member, more in (("alpha", ()), ("beta", ()), ("police", ("--class", "authority"))):
        made = ("--development-pki", folder / "hub" / "pki", "--folder", folder / member)
        run("member", "add", member, *more, "--community", "uk", "--client", place.operator, *made)
    return place


def speak(place: Place) -> dict[str, Any]:
    """Say something of most kinds; return which signals it was about."""

    def said(*words: object, member: str = "alpha", role: str = "pipeline", stdin: str = "") -> list[dict[str, Any]]:
        where = ("--community", "uk", "--client", place.client(member, role), "--json")
        return lines(run(*words, *where, stdin=stdin).stdout)

    def ids(rows: list[dict[str, Any]]) -> list[str]:
        return [row["signal_id"] for row in rows]

    window = ("--begins", "2028-09-01T00:00:00Z", "--polling-ends", "2029-05-03T21:00:00Z")
    run("election", "create", "uk-2029", *window, "--community", "uk", "--client", place.operator)
    many = ids(said("publish", "-", stdin="\n".join(map(a_line, range(SIGNALS)))))
    restricted = ids(said("publish", "-", stdin=json.dumps(json.loads(a_line(SIGNALS)) | {"audience": ["beta"]})))
    said("opine", many[1], "--category", "negative_class", "--reason", "false_positive", member="beta")
    said("dispose", many[2], "--state", "actioned", "--action", "removed", member="beta")
    said("retract", many[2], "--reason", "error")
    said("erase", many[3], "--reason", "on_request")
    desk = ("--contact", "mailto:desk@alpha.example", "--respond-within-hours", 24, "--case-ref", "T-1")
    (referred,) = said(
        "referrals", "refer", "--authority", "police", "--label", "violence_threats", *desk, role="liaison"
    )
    return {"signals": many[:10], "restricted": restricted, "referral": referred["id"]}


async def receive(place: Place) -> dict[str, Any]:
    """Let beta follow with a matcher, an index of its accounts, and a watch of its own; return what is known then."""
    folder = place.folder / "beta" / "pipeline"
    config = ClientConfig.load(folder / "client.toml")
    matcher = MatcherFile(folder / "matcher.sqlite")
    matcher.matcher.add_content([("mine", [Indicator(IndicatorType.PDQ, (7).to_bytes(32, "big"))])])
    accounts = AccountSignals(config.state / "accounts" / "uk.signals.sqlite", UK)
    async with ExchangeClient(config) as client:
        for positions in (matcher, accounts, None):
            async with aclosing(client.subscribe(UK, positions=positions)) as deliveries:
                async for delivery in deliveries:
                    if positions is matcher:
                        matcher.matcher.add(delivery)
                    if positions is accounts:
                        accounts.take(delivery)
                    if delivery.index + 1 == SEEN:
                        client.acknowledge(delivery)
                        break
    known = len(matcher.matcher)
    for file in (matcher, accounts):
        file.close()

    async def own() -> Any:
        yield Own("user-7", email("7@example.org"))

    async with Pseudonyms(Service().evaluate, EPOCH) as pseudonyms:
        index = AccountIndex(config.state / "accounts" / "epoch-1-00.sqlite", pseudonyms)
        await index.add(own())
        index.close()
        (pseudonym,) = await pseudonyms.of([email("7@example.org")])
    return {"seen": SEEN, "known": known, "pseudonym": pseudonym.hex()}


async def pseudonym_service(folder: Path) -> None:
    """Write what a pseudonym service keeps."""
    EpochKeys(folder / "keys").create(1, 1_000, 2_000, {"unicode": "15"})
    book = await BudgetFile.open(folder / "data" / "budgets.sqlite")
    await book.write(1, "alpha", Reserved(90, 10, 20_000), day=20_000, count=10)
    await book.note_told(UK, 20_000)
    await book.aclose()


async def leave_unsent(place: Place, facts: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Kill the hub under alpha's publisher; return what was said before on the wire, and what waits in the outbox."""
    lasts = wall_ms() + (DAYS - 1) * 86_400_000
    async with (
        ExchangeClient(ClientConfig.load(place.client("alpha"))) as client,
        client.publisher(UK) as publisher,
    ):
        await publisher.publish([a_signal(expires_at_ms=lasts, case_ref="T-sent")])
        wire = await recorded(place, facts)
        place.hub.kill()
        place.hub.wait()
        waiting = asyncio.create_task(publisher.publish([a_signal(expires_at_ms=lasts, case_ref="T-unsent")]))
        outbox = Outbox(client._state, UK)
        while not await outbox.pending():
            await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return wire, [statement.payload.hex() for statement in await outbox.pending()]


async def in_redis(place: Place, folder: Path) -> list[dict[str, Any]]:
    """Restore the backup into Redis; return every key that is there then."""
    async with running(folder / "server") as server:
        shutil.copytree(place.folder / "hub", folder / "hub", ignore=shutil.ignore_patterns("logs", "marks"))
        config = folder / "hub" / "hub.toml"
        config.write_text(f'store = "{server.url}"\nbundles = "{folder}/bundles"\n{config.read_text()}')
        kept = (place.folder / "backup", "--record-keys", place.folder / "record-keys")
        await asyncio.to_thread(run, "restore", *kept, "--adopt", "--config", config)
        shutil.copytree(folder / "bundles", place.folder / "bundles")
        return await keys_of(server)


async def keys_of(server: RedisServer) -> list[dict[str, Any]]:
    """Return each key with its fields and their values."""
    rows = []
    for key in sorted(await server.ask("KEYS", "*")):
        pairs = iter(await server.ask("HGETALL", key))
        rows.append(
            {"key": key.hex(), "fields": {name.hex(): value.hex() for name, value in zip(pairs, pairs, strict=True)}}
        )
    return rows


def checkpoint_size(row: dict[str, Any]) -> int:
    """Return the size in the signed checkpoint that was answered."""
    note = ledger_pb2.GetCheckpointResponse.FromString(bytes.fromhex(row["answers"][0])).checkpoint
    return int(note.decode().splitlines()[1])


def stopped(place: Place) -> None:
    """Stop the hub, so that its write-ahead logs are small."""
    place.hub.terminate()
    assert place.hub.wait(30) == 0


def pack(folder: Path, target: Path) -> None:
    """Put the files into an archive that is the same for the same files; certificates and logs of processes stay out."""

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(entry.name)
        if "pki" in name.parts or name.suffix in {".pem", ".log"} or name.name.endswith(("-shm", "lock")):
            return None
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(target, "w:xz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=kept)


async def keep(target: Path, folder: Path) -> None:
    """Make everything in a folder, and keep it."""
    place = await asyncio.to_thread(found, folder / "place")
    try:
        facts: dict[str, Any] = {"exchange": EXCHANGE, "said": await asyncio.to_thread(speak, place)}
        facts["beta"] = await receive(place)
        kept = (place.folder / "backup", "--record-keys", place.folder / "record-keys", "--config", place.config)
        await asyncio.to_thread(run, "backup", *kept)
        stopped(place)
        place.hub = await asyncio.to_thread(serve, place.config)
        wire, facts["unsent"] = await leave_unsent(place, facts)
    finally:
        place.hub.kill()
    await pseudonym_service(place.folder / "pseudonyms")
    (uk,) = [row for row in wire if row["rpc"].endswith("GetCheckpoint")]
    facts["size"] = checkpoint_size(uk)
    facts["genesis"] = ClientConfig.load(place.operator).genesis.hex()
    target.mkdir(parents=True)
    (place.folder / "redis.json").write_text(json.dumps(await in_redis(place, folder / "redis")))
    (target / "wire.json").write_text(json.dumps(wire, indent=1) + "\n")
    (target / "facts.json").write_text(json.dumps(facts) + "\n")
    pack(place.folder, target / "files.tar.xz")


def main() -> None:
    """Keep this release, which must not be kept yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default=__version__)
    target = HERE / parser.parse_args().version
    if target.exists():
        sys.exit(f"{target.name} is kept already: what a release wrote is never written again")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(keep(target, Path(folder)))
    buf = Path(sys.executable).with_name("buf")
    protos = ("build", "--exclude-source-info", "--output", target / "protos.binpb")
    subprocess.run([buf, *protos], cwd=HERE.parents[1], check=True)
    print(f"kept {sum(path.stat().st_size for path in target.iterdir()):,} bytes in {target.name}")


if __name__ == "__main__":
    main()
