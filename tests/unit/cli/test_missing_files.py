"""A file that is not where a command looks for it: what names it is told, and from which folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from exchange.cli import main


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("serve --config hub/hub.toml", "--config or EXCHANGE_CONFIG names it"),
        ("check-config", "--config or EXCHANGE_CONFIG names it"),
        ("pseudonyms check-config", "--config or EXCHANGE_PSEUDONYMS names it"),
        ("member list", "--client or EXCHANGE_CLIENT names it, from the folder that you are in"),
    ],
)
def test_what_names_a_missing_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner(env={"EXCHANGE_CLIENT": "alpha/client.toml"}).invoke(main, command.split())
    assert done.exit_code == 1
    assert "cannot be read: No such file or directory" in done.stderr
    assert hint in done.stderr
    assert "prints what is in force" not in done.stderr
