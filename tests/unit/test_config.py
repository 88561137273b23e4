"""The hub's configuration, as `load` reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.config import load

_LEAST = """
exchange = "a.exchange"
data = "data"
listen = "127.0.0.1:7443"
{more}
[tls]
certificate = "pki/hub.pem"
key = "pki/hub.key"
client_authority = "pki/ca.pem"
"""


@pytest.mark.parametrize("more", ["", 'keys = ""\nmarks = ""'])
def test_an_empty_folder_is_one_that_was_left_out(tmp_path: Path, more: str) -> None:
    (tmp_path / "hub.toml").write_text(_LEAST.format(more=more))
    config = load(tmp_path / "hub.toml")
    assert config.keys_folder == tmp_path / "data" / "keys"
    assert config.marks is None


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(_LEAST.format(more='keys = "k"\nmarks = "/m"'))
    config = load(tmp_path / "hub.toml")
    assert (config.data, config.keys, config.marks) == (tmp_path / "data", tmp_path / "k", Path("/m"))
    assert config.tls.key == tmp_path / "pki" / "hub.key"
