"""`exchange init`, `exchange community create`, `exchange pseudonyms init`: what goes together, and what they leave."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from exchange import pseudonym_config
from exchange.cli import main
from exchange.cli.client_files import client_toml
from exchange.cli.community import _log_key
from exchange.cli.hub import init
from exchange.cli.pseudonyms import pseudonyms
from exchange.config import TLS, Config
from exchange.domain.identifiers import Origin
from exchange.domain.kinds import Role
from exchange.ops.certificates import authority_files, create_authority, issue
from exchange.stores.folders import make_key
from exchange.stores.sqlite import SqliteStore


def test_a_folder_for_bundles_goes_with_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    words = ["--exchange", "my.exchange", "--operator", "my-org", "--folder", str(folder), "--bundles", str(tmp_path)]
    done = CliRunner().invoke(init, words)
    assert done.exit_code == 2
    assert "--bundles goes with --store" in done.stderr
    assert not folder.exists()


def test_a_folder_that_has_an_exchange_is_left_as_it_is_and_the_next_step_told(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    words = ["--exchange", "my.exchange", "--operator", "my-org", "--folder", str(folder)]
    assert CliRunner().invoke(init, words).exit_code == 0
    written = (folder / "hub.toml").read_bytes()
    again = CliRunner().invoke(main, ["init", *words])
    assert again.exit_code == 1
    assert "nothing was changed: " in again.stderr
    assert f"`exchange serve --config {folder}/hub.toml` runs it" in again.stderr
    assert (folder / "hub.toml").read_bytes() == written
    (folder / "hub.toml").unlink()
    again = CliRunner().invoke(main, ["init", *words])
    assert (again.exit_code, "exchange serve" in again.stderr) == (1, False), "it would not find its file"


def test_whatever_a_hub_is_founded_with_stands_in_its_file_as_it_was_given(tmp_path: Path) -> None:
    """Else a quote would end the text, and what comes behind it would be read as a setting."""
    folder, address = tmp_path / "hub", 'local"#\\host:1'
    words = ["--exchange", "my.exchange", "--operator", "my-org", "--folder", str(folder)]
    done = CliRunner().invoke(init, [*words, "--listen", address, "--ops-listen", address])
    written = tomllib.loads((folder / "hub.toml").read_text())
    assert (written["listen"], written["ops"]) == (address, {"listen": address}), done.output


@pytest.mark.parametrize("command", [["init", "--operator", "my-org"], ["pseudonyms", "init", "--community", "uk"]])
@pytest.mark.parametrize("option", ["--listen", "--ops-listen"])
@pytest.mark.parametrize("text", ["localhost", "localhost:65536", "::1:7443", "[::1:7443", "\udcff:1", "a\n:1"])
def test_a_service_is_not_set_up_to_listen_where_none_can(
    tmp_path: Path, command: list[str], option: str, text: str
) -> None:
    folder, client = tmp_path / "folder", tmp_path / "client.toml"
    client.touch()
    place = ["--client", str(client)] if "pseudonyms" in command else ["--exchange", "my.exchange"]
    done = CliRunner().invoke(main, [*command, *place, "--folder", str(folder), option, text])
    assert (done.exit_code, "is not host:port" in done.stderr) == (2, True), done.output
    assert not folder.exists()


async def test_a_log_of_which_there_is_the_key_alone_is_made_with_it(tmp_path: Path) -> None:
    """So it is where the command was killed after it had made the key, and before it made the log's folder."""
    tls, origin = TLS(tmp_path, tmp_path, tmp_path), Origin("my.exchange", "uk")
    settings = Config(origin.exchange, tmp_path / "data", "127.0.0.1:1", tls)
    begun = make_key(settings.folders.key(origin.log))
    for _ in range(2):  # again, where the log is there and its statement did not get through
        assert (await _log_key(settings, origin)).public_key == begun.public_key
    store = await SqliteStore.open(settings.folders.log(origin.log), origin=str(origin))
    await store.aclose()


def test_a_service_is_set_up_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """Its name goes into the service's file, where a quote would end the text, and a backslash change it."""
    pki, client = tmp_path / 'our "own" pki', tmp_path / "back\\slash" / "client.toml"
    create_authority(pki, "my.exchange")
    issue(pki, "notary", Role.PSEUDONYMS.word)
    client_toml(client, "my.exchange", "notary", Role.PSEUDONYMS, "localhost:1", pki, bytes(32))
    words = ["--client", str(client), "--community", "uk", "--folder", str(tmp_path / "service")]
    done = CliRunner().invoke(pseudonyms, ["init", *words, "--development-pki", str(pki)])
    assert done.exit_code == 0, done.output
    settings = pseudonym_config.load(tmp_path / "service" / "pseudonyms.toml")
    assert settings.client.resolve() == client
    assert settings.tls.client_authority.resolve() == authority_files(pki).certificate
    assert settings.communities == ("uk",)
    again = CliRunner().invoke(main, ["pseudonyms", "init", *words, "--development-pki", str(pki)])
    assert again.exit_code == 1
    assert f"`exchange pseudonyms serve --config {tmp_path}/service/pseudonyms.toml` runs it" in again.stderr
