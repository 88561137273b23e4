"""Getting in: TLS, an ACL user with the rights that the docs name, its password from a file; what is refused."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from exchange.errors import Fatal, Reason, Unavailable
from exchange.ops.certificates import authority_files, create_authority, issue, issued_files
from exchange.stores.redis import RedisStore
from exchange.stores.redis_place import RedisPlace, parse_place
from exchange.stores.redis_reader import RedisLog
from exchange.stores.redis_withholding import withheld, withhold
from tests.contract.builders import ORIGIN, Chain, commit, erased, read_all
from tests.contract.redis_server import RedisServer, has_tls, running
from tests.contract.redis_wires import wired

PASSWORD = "correct-horse-battery-staple"
_ROOT = Path(__file__).parents[2]


def user_of_the_docs() -> str:
    """Return the user as docs/redis.md has it."""
    (found,) = re.findall(r"^ *user (hub on >PASSWORD .*)$", (_ROOT / "docs" / "redis.md").read_text(), re.MULTILINE)
    return str(found).replace("PASSWORD", PASSWORD)


@asynccontextmanager
async def secured(folder: Path) -> AsyncIterator[tuple[RedisServer, int]]:
    """Run a server that only the user can use, and a TLS port of it: its own, else one in front of it."""
    pki = folder / "pki"
    create_authority(pki, "example")
    issue(pki, "redis", "server", kind="server", hosts=("localhost", "127.0.0.1"))
    issue(pki, "hub", "pipeline")
    files, authority = issued_files(pki, "redis", "server", "server"), authority_files(pki).certificate
    (folder / "password").write_text(f"{PASSWORD}\n")
    others = "default on nopass -@all +ping +client|list"
    users = ("--user", *user_of_the_docs().split(), "--user", *others.split())
    if not has_tls():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
        context.load_cert_chain(files.certificate, files.key)
        context.verify_mode = ssl.CERT_REQUIRED
        async with running(folder / "server", *users) as server, wired(server.port, context) as wire:
            yield server, wire.port
        return
    server = RedisServer(folder / "server")
    port = RedisServer(folder).port
    tls = ("--tls-cert-file", str(files.certificate), "--tls-key-file", str(files.key))
    async with running(
        folder / "server", *users, "--tls-port", str(port), *tls, "--tls-ca-cert-file", str(authority)
    ) as server:
        yield server, port


def place(folder: Path, port: int, query: str, *, user: str = "hub") -> str:
    return f"rediss://{user}@127.0.0.1:{port}?{query}"


async def opened(url: str, folder: Path, *, create: bool = False) -> RedisStore:
    return await RedisStore.open(parse_place(url, folder), folder / "news", origin=ORIGIN, create=create)


def listeners(where: RedisPlace, folder: Path) -> int:
    with closing(RedisLog(where, folder / "news", ORIGIN)) as log:
        return log.listeners()


async def test_a_log_over_tls_as_the_user_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.stores.redis.PATIENCE_S", 0.3)
    async with secured(tmp_path) as (server, port):
        own = issued_files(tmp_path / "pki", "hub", "pipeline")
        authority = authority_files(tmp_path / "pki").certificate
        shown = f"certificate={own.certificate}&key={own.key}"
        good = f"password_file=password&ca={authority}&{shown}"
        store = await opened(place(tmp_path, port, good), tmp_path, create=True)
        assert b"user=hub" in await server.ask("CLIENT", "LIST")
        chain = await commit(store, Chain(), 300)
        await store.erase({299: erased(chain.entries[299])})
        assert await store.archive(256) == 256
        assert [each.index for each in await read_all(store, 256)] == list(range(256, 300))
        where = parse_place(place(tmp_path, port, good), tmp_path)
        async with asyncio.timeout(20):
            while await asyncio.to_thread(listeners, where, tmp_path) != 1:
                await asyncio.sleep(0.02)
        await store.aclose()
        for was, now in ((b"", b"moved\nelsewhere\n"), (b"moved\nelsewhere\n", b"")):
            await withhold(where, ORIGIN, was, now, chain.head)
            assert await withheld(where, ORIGIN) == now
        (tmp_path / "wrong").write_text("not the password")
        with pytest.raises(Fatal, match="does not let this hub in") as refused:
            await opened(place(tmp_path, port, good.replace("password_file=password", "password_file=wrong")), tmp_path)
        assert refused.value.reason is Reason.CONFIG
        for wrong in (
            f"password_file=password&{shown}",
            f"{good}&server_name=elsewhere.example",
            good.split("&cert", maxsplit=1)[0],
        ):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await opened(place(tmp_path, port, wrong), tmp_path)
        with pytest.raises(Unavailable):
            await opened(f"redis://hub@127.0.0.1:{port}?password_file=password", tmp_path)
