"""An exchange of two operators, and a member with keys and certificates of its own: founded and joined by commands."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange_client import ClientConfig
from tests.e2e.command_line import Place, lines, pdq_line, run, serve
from tests.e2e.exchange_fixture import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NAME = "two.exchange"
FOUND = ("init", "--exchange", NAME, "--operator", "op")


def made(*command: object) -> dict[str, str]:
    """Run a command that prints one JSON object."""
    (told,) = lines(run(*command, "--json").stdout)
    return told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[str, str], Path]]:
    """A serving hub of two operators, what `init` told, and the second one's client file."""
    folder = tmp_path_factory.mktemp("founding")
    second = folder / "second"
    key = made("key", "new", second / "signing.seed")
    assert stat.S_IMODE((second / "signing.seed").stat().st_mode) == 0o600
    address = f"127.0.0.1:{free_port()}"
    ports = ("--listen", address, "--ops-listen", f"127.0.0.1:{free_port()}")
    operators = ("--operator-key", key["public_key"], "--threshold", 2)
    found = made(*FOUND, "--folder", folder / "hub", *operators, *ports)
    hub = Place(folder, serve(folder / "hub" / "hub.toml"))
    pki = folder / "hub" / "pki"
    told = made(
        "client",
        *("--exchange", NAME, "--member", "op", "--role", "operator", "--genesis", found["genesis"]),
        *("--certificate", pki / "op-operator.pem", "--key", pki / "op-operator-key.pem"),
        *("--hub", address, "--authority", pki / "ca.pem", "--folder", second),
    )
    # The key that was made before is not replaced.
    assert told["public_key"] == key["public_key"]
    yield hub, {**found, "address": address}, Path(told["client"])
    hub.stop()


def both(hub: Place, second: Path, *command: object) -> None:
    """Have a change signed by both operators, and said."""
    file = hub.folder / "change.jsonl"
    run(*command, "--client", hub.operator, "--to-sign", file)
    run("sign", file, "--client", second, "--yes")
    run("submit", file, "--client", hub.operator)
    file.unlink()


def test_a_guarded_change_takes_both_operators(place: tuple[Place, dict[str, str], Path]) -> None:
    hub, _, second = place
    create = ("community", "create", "uk", "--config", hub.config)
    alone = run(*create, "--client", hub.operator, code=1)
    assert "signatures of 2 operator keys" in alone.stderr
    both(hub, second, *create)
    assert "in force" in run("key", "status", "--client", second).stdout


def test_a_member_joins_with_a_key_and_a_certificate_of_its_own(place: tuple[Place, dict[str, str], Path]) -> None:
    hub, found, second = place
    pki, folder = hub.folder / "hub" / "pki", hub.folder / "alpha" / "pipeline"
    issued = made("pki", "issue", "--member", "alpha", "--role", "pipeline", "--folder", pki)
    arguments = (
        "client",
        *("--exchange", NAME, "--member", "alpha", "--role", "pipeline", "--genesis", found["genesis"]),
        *("--certificate", issued["certificate"], "--key", issued["key"], "--authority", pki / "ca.pem"),
        *("--hub", found["address"], "--hub", "localhost:1", "--folder", folder),
    )
    told = made(*arguments)
    before = Path(told["client"]).read_text()
    assert "exists already" in run(*arguments, code=1).stderr
    assert Path(told["client"]).read_text() == before
    assert told["operator_command"] == f"exchange member add alpha --key pipeline={told['public_key']}"
    both(hub, second, *told["operator_command"].split()[1:], "--role", "pipeline", "--community", "uk")
    said = run("publish", "--community", "uk", "--client", told["client"], "--json", stdin=pdq_line("5f"))
    assert lines(said.stdout)[0]["index"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--threshold", 2), 2, "takes as many operators"),
        (("--threshold", 0), 2, "0 is not in the range"),
        (("--operator-key", "5f" * 31), 1, "64 hexadecimal characters"),
        (("--operator-key", "5f" * 32, "--operator-key", "5F" * 32), 2, "stands there twice"),
    ],
)
def test_what_cannot_be_founded_leaves_nothing(
    tmp_path: Path, arguments: tuple[object, ...], code: int, why: str
) -> None:
    refused = run(*FOUND, "--folder", tmp_path / "hub", *arguments, code=code)
    assert why in refused.stderr
    assert not (tmp_path / "hub").exists()


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run("key", "new", tmp_path / "file" / "in-it" / "signing.seed", code=3)
    assert f"File exists: '{tmp_path / 'file'}'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_paths_are_as_they_were_given(tmp_path: Path) -> None:
    """A link may lead to another certificate tomorrow; and a path is any text."""
    odd = tmp_path / 'a "quoted" \U0001f511 \x7f \\ folder'
    odd.mkdir()
    for name in ("today.pem", "ca.pem"):
        (odd / name).write_text("")
    (odd / "tls.pem").symlink_to(odd / "today.pem")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (odd / "alpha").symlink_to(tmp_path / "elsewhere" / "deep")
    told = made(
        "client",
        *("--exchange", NAME, "--member", "alpha", "--role", "authority", "--genesis", "5f" * 32),
        *("--certificate", odd / "tls.pem", "--key", odd / "tls.pem", "--authority", odd / "ca.pem"),
        *("--hub", "localhost:1", "--folder", odd / "alpha"),
    )
    config = ClientConfig.load(Path(told["client"]))
    assert config.certificate.resolve() == (odd / "today.pem").resolve()
    assert config.certificate.name == "tls.pem"
    assert told["operator_command"].startswith("exchange member add alpha --class authority --key authority=")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--hub", "localhost", "is not host:port"),
        ("--genesis", "5f", "64 hexadecimal characters"),
        ("--member", "No Name", "must be a name"),
        ("--certificate", "missing.pem", "does not exist"),
    ],
)
def test_a_client_file_with_something_wrong_is_not_written(tmp_path: Path, option: str, value: str, why: str) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("")
    options = {
        "--exchange": NAME,
        "--member": "alpha",
        "--role": "pipeline",
        "--hub": "localhost:1",
        "--genesis": "5f" * 32,
        "--certificate": str(pem),
        "--key": str(pem),
        "--authority": str(pem),
        "--folder": str(tmp_path / "alpha"),
    }
    options[option] = value
    refused = run("client", *(part for pair in options.items() for part in pair), code=2)
    assert why in refused.stderr
    assert not (tmp_path / "alpha").exists()
