"""`exchange init`: what goes together, before anything is made."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from exchange.cli.hub import init


def test_a_folder_for_bundles_goes_with_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    words = ["--exchange", "my.exchange", "--operator", "my-org", "--folder", str(folder), "--bundles", str(tmp_path)]
    done = CliRunner().invoke(init, words)
    assert done.exit_code == 2
    assert "--bundles goes with --store" in done.stderr
    assert not folder.exists()
