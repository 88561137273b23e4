"""The directory is verified once: the next start reads what is new, and trusts nothing that its own key did not sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from clients.python.tests.fake_hub import DIRECTORY, FakeHub, client_of
from exchange.domain.bodies import (
    Key,
    Member,
    State,
    Suspension,
)
from exchange.domain.kinds import MemberClass, Role
from exchange.errors import CursorAboveSize, Reason, VerificationFailed
from exchange.ledger.ed25519 import SigningKey
from exchange.ledger.snapshot import Snapshot
from exchange_client import directory as reader
from exchange_client import remembered
from exchange_client.state import StateFile

ALPHA = SigningKey(b"alpha".ljust(32, b"."))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LEAST_GROWTH", 4)


def busy_hub(count: int = 20) -> FakeHub:
    hub = FakeHub()
    for number in range(count):
        hub.say(Member("alpha", f"Alpha {number}", MemberClass.PLATFORM, (Role.PIPELINE,)))
    return hub


async def read(hub: FakeHub, folder: Path, *, pin: bytes = b"") -> tuple[dict[str, Any], list[int]]:
    """Read the directory as a client that starts now; return what it holds, and from where entries were asked for."""
    client, transport = client_of(hub, folder, pin=pin)
    asked: list[int] = []
    honest: Callable[..., Any] = transport.entries

    async def entries(origin: str, start: int) -> Any:
        asked.append(start)
        if start > len(hub.directory.entries):
            raise CursorAboveSize(len(hub.directory.entries))
        return await honest(origin, start)

    transport.entries = entries
    async with client:
        return dict(vars(await client.directory())), asked


def change(folder: Path, snapshot: bytes) -> None:
    connection = apsw.Connection(str(folder / "state" / "client.sqlite"))
    connection.execute("UPDATE folds SET snapshot = ?", (snapshot,))
    connection.close()


def kept(folder: Path) -> bytes:
    connection = apsw.Connection(str(folder / "state" / "client.sqlite"))
    row = connection.execute("SELECT snapshot FROM folds WHERE origin = ?", (DIRECTORY,)).fetchone()
    connection.close()
    assert row is not None
    return bytes(row[0])


async def test_the_next_start_reads_only_what_is_new(tmp_path: Path) -> None:
    hub = busy_hub()
    size = len(hub.directory.entries)
    first, asked = await read(hub, tmp_path)
    assert asked[0] == 0
    again, asked = await read(hub, tmp_path)
    assert (again, asked) == (first, [size])
    hub.say(Suspension("beta", 0, State.ACTIVE, "a test"))
    suspended, asked = await read(hub, tmp_path)
    assert set(asked) == {size}
    assert suspended["members"]["beta"].suspended


async def test_wherever_it_was_left_the_directory_is_the_same(tmp_path: Path) -> None:
    hub = busy_hub()
    everything = list(hub.directory.entries)
    whole, _ = await read(hub, tmp_path / "whole")
    for cut in range(4, len(everything)):
        hub.directory.entries[:] = everything[:cut]
        await read(hub, tmp_path / str(cut))
        hub.directory.entries[:] = everything
        again, asked = await read(hub, tmp_path / str(cut))
        assert (again, asked[0]) == (whole, cut)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: good.sealed(SigningKey(bytes(32))),
        lambda good: good.sealed(ALPHA)[:-1],
        lambda good: replace(good, release="99").sealed(ALPHA),
        lambda good: replace(good, format=99).sealed(ALPHA),
        lambda good: replace(good, origin="other.exchange/directory").sealed(ALPHA),
        lambda good: replace(good, size=good.size - 1).sealed(ALPHA),
        lambda good: replace(good, root=bytes(32)).sealed(ALPHA),
        lambda good: replace(good, rows=good.rows.partition(b"\n")[2]).sealed(ALPHA),
        lambda good: replace(good, rows=b"no JSON").sealed(ALPHA),
        lambda good: replace(good, rows=b'["x"]').sealed(ALPHA),
        lambda good: b"",
    ],
    ids=[
        "another key", "damaged", "another release", "another format", "another log", "another size", "another root",
        "no end", "no rows", "no end but a row", "nothing",
    ],
)  # fmt: skip
async def test_what_is_not_as_it_should_be_is_ignored(tmp_path: Path, spoil: Callable[[Snapshot], bytes]) -> None:
    hub = busy_hub()
    first, _ = await read(hub, tmp_path)
    good = kept(tmp_path)
    change(tmp_path, spoil(Snapshot.opened(good, ALPHA.public_key)))
    again, asked = await read(hub, tmp_path)
    assert (again, asked[0]) == (first, 0)
    assert kept(tmp_path) == good


async def test_what_another_release_kept_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = busy_hub()
    await read(hub, tmp_path)
    monkeypatch.setattr(remembered, "__version__", "99.0.0")
    _, asked = await read(hub, tmp_path)
    assert asked[0] == 0


async def test_what_the_next_key_signed_is_taken_while_both_are_held(tmp_path: Path) -> None:
    hub = busy_hub()
    first, _ = await read(hub, tmp_path)
    following = SigningKey(b"f" * 32)
    change(tmp_path, Snapshot.opened(kept(tmp_path), ALPHA.public_key).sealed(following))
    client, _ = client_of(hub, tmp_path)
    client._config.next_signing_key.write_text((b"f" * 32).hex())
    again, asked = await read(hub, tmp_path)
    assert (again, asked) == (first, [len(hub.directory.entries)])


async def test_another_pin_than_the_one_it_was_read_from_is_refused(tmp_path: Path) -> None:
    hub = busy_hub()
    await read(hub, tmp_path)
    with pytest.raises(VerificationFailed, match="pin"):
        await read(hub, tmp_path, pin=bytes(32))


async def test_a_directory_that_shrinks_or_forks_is_found_out(tmp_path: Path) -> None:
    hub = busy_hub()
    await read(hub, tmp_path)
    last = hub.directory.entries.pop()
    with pytest.raises(VerificationFailed) as caught:
        await read(hub, tmp_path)
    assert caught.value.reason is Reason.ROLLED_BACK
    hub.directory.places.clear()
    hub.say(Suspension("alpha", 0, State.ACTIVE, "another history"))
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="fork"):
            await read(hub, tmp_path)
        hub.directory.places.clear()
        hub.say(Key("alpha", Role.PIPELINE, SigningKey(b"n" * 32).public_key, State.ACTIVE))
    del hub.directory.entries[-3:]
    hub.directory.entries.append(last)
    _, asked = await read(hub, tmp_path)
    assert asked == [len(hub.directory.entries)]


async def test_a_state_file_of_schema_1_is_brought_up_to_date(tmp_path: Path) -> None:
    hub = busy_hub()
    first, _ = await read(hub, tmp_path)
    path = tmp_path / "state" / "client.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("DROP TABLE folds; DROP TABLE ended; DROP TABLE lag")
    connection.pragma("user_version", 1)
    connection.close()
    again, asked = await read(hub, tmp_path)
    assert (again, asked[0]) == (first, 0)
    await StateFile(path).aclose()
