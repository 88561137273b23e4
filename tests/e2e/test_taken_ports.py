"""A port that another program listens on: which setting names it, and who may be there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command_line import run

pytestmark = pytest.mark.e2e

FREE = "127.0.0.1:0"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taken") / "hub"
    free = ("--listen", FREE, "--ops-listen", FREE)
    run("init", "--exchange", "taken.exchange", "--operator", "op", "--folder", folder, *free)
    return folder / "hub.toml"


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("old", "new", "setting"),
    [
        (f'\nlisten = "{FREE}"\n\n', '\nlisten = "TAKEN"\n\n', "`listen`"),
        (f'[ops]\nlisten = "{FREE}"', '[ops]\nlisten = "TAKEN"', "`[ops] listen`"),
        ("[ops]", '[ops]\ngrpc_listen = "TAKEN"', "`[ops] grpc_listen`"),
        ("[ops]", '[tiles]\nlisten = "TAKEN"\n[ops]', "`[tiles] listen`"),
    ],
)
def test_the_setting_that_names_a_taken_port_is_told(
    config: Path, taken: str, old: str, new: str, setting: str
) -> None:
    text = config.read_text()
    assert text.count(old) == 1
    changed = config.with_name("changed.toml")
    changed.write_text(text.replace(old, new.replace("TAKEN", taken)))
    refused = run("serve", "--config", changed, code=3)
    assert f"cannot listen on {taken}" in refused.stderr
    assert f"hint: {setting} in the configuration names it" in refused.stderr
    assert "another hub" in refused.stderr
    assert "Traceback" not in refused.stderr
