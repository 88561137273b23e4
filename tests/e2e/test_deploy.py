"""What `deploy/` holds is what systemd takes, and the hub speaks with a service manager as its unit says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command_line import DEADLINE_S, EXCHANGE, run, serve
from tests.e2e.exchange_fixture import free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
#: Of 10; systemd calls anything below 5 well protected.
MOST_EXPOSED = 1.5


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with the command where it is here."""
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is not installed")
        pytest.skip("systemd-analyze is not installed")
    folder = tmp_path_factory.mktemp("units")
    for unit in UNITS.iterdir():
        (folder / unit.name).write_text(unit.read_text().replace("/opt/signal-exchange/bin/exchange", EXCHANGE))
    return folder


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    done = analyze("verify", "--man=no", *sorted(path for path in units.iterdir() if path.suffix != ".conf"))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


SERVICES = ("signal-exchange", "signal-exchange-pseudonyms", "signal-exchange-backup")


@pytest.mark.parametrize("name", SERVICES)
def test_what_serves_is_shut_in(units: Path, name: str) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED * 10:.0f}", units / f"{name}.service")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_no_core_dump_and_no_swap_holds_keys_or_records(name: str) -> None:
    assert {"LimitCORE=0", "MemorySwapMax=0"} <= set((UNITS / f"{name}.service").read_text().splitlines())


def test_a_backup_may_make_files_beside_logs_that_no_hub_has_open() -> None:
    """SQLite opens a log in WAL mode, whose files a hub that ended has removed, on no read-only file system."""
    (state,) = re.findall(r"^StateDirectory=(.*)", (UNITS / "signal-exchange.service").read_text(), re.MULTILINE)
    (paths,) = re.findall(r"^ReadWritePaths=(.*)", (UNITS / "signal-exchange-backup.service").read_text(), re.MULTILINE)
    assert f"/var/lib/{state}" in paths.split()


def test_each_command_in_a_unit_is_one_of_ours() -> None:
    commands = [
        line.split()
        for unit in UNITS.glob("*.service")
        for line in re.findall(r"^ExecStart=(.*)", unit.read_text(), re.MULTILINE)
    ]
    assert len(commands) == 3
    for command, *words in commands:
        assert command == "/opt/signal-exchange/bin/exchange"
        options = [word for word in words if word.startswith("--")]
        names = [word for word in words[: words.index(options[0])] if not word.startswith("/")]
        told = run(*names, "--help").stdout
        assert all(option in told for option in options)


def test_a_service_manager_hears_that_the_hub_serves_is_alive_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(
        "init", "--exchange", "notify.exchange", "--operator", "op", "--folder", tmp_path / "hub",
        "--listen", f"127.0.0.1:{free_port()}", "--ops-listen", f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = tmp_path / "notify"
        manager.bind(str(address))
        manager.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        hub = serve(tmp_path / "hub" / "hub.toml")
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        threads = {int(folder.name) for folder in Path(f"/proc/{hub.pid}/task").iterdir()}
        beside = [os.sched_getscheduler(thread) for thread in threads - {hub.pid}]
        assert os.sched_getscheduler(hub.pid) == os.SCHED_OTHER
        assert os.SCHED_BATCH in beside  # the event loop's core is not taken by what wakes up
        hub.send_signal(signal.SIGTERM)
        heard = manager.recv(100)
        while heard == b"WATCHDOG=1":
            heard = manager.recv(100)
        assert heard == b"STOPPING=1"
        assert hub.wait(DEADLINE_S) == 0


def documented() -> list[str]:
    """Return the lines that docs/deploy.md has for one machine."""
    text = (ROOT / "docs" / "deploy.md").read_text().partition("## Under systemd")[2].partition("## In containers")[0]
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def test_what_a_unit_expects_to_be_there_is_made_by_the_documented_lines() -> None:
    """Of a folder for configuration systemd makes root the owner; one to write to must be there, or the unit fails."""
    made = " ".join(line for line in documented() if line.startswith("install -d"))
    for unit in (UNITS / "signal-exchange.service", UNITS / "signal-exchange-backup.service"):
        settings = dict(re.findall(r"^(ReadWritePaths|ConfigurationDirectory)=(.*)", unit.read_text(), re.MULTILINE))
        assert settings
        for folder in " ".join(settings.values()).split():
            assert (folder if folder.startswith("/") else f"/etc/{folder}") in made.split()


def test_the_documented_lines_found_an_exchange_that_the_units_serve_and_back_up(tmp_path: Path) -> None:
    members, ops = free_port(), free_port()
    file = tmp_path / "etc" / "signal-exchange" / "hub.toml"

    def here(line: str) -> str:
        """A line as it is for who is no root, below this test's folder."""
        line = re.sub(r" -[og] signal-exchange(-pseudonyms)?|runuser -u signal-exchange -- ", "", line)
        line = re.sub(r"(?<![\w.])/(etc|var)/", rf"{tmp_path}/\1/", line)
        line = line.replace(r"0\.0\.0\.0:7443/localhost:7443", rf"127\.0\.0\.1:{members}/localhost:{members}")
        return line.replace("/opt/signal-exchange/bin/exchange", EXCHANGE).replace(
            "0.0.0.0:7443", f"127.0.0.1:{members}"
        )

    lines = [line for line in documented() if line.startswith(("install -d", "runuser", "sed"))]
    asking = [line for line in lines if "--client" in line]
    assert (len(lines), len(asking)) == (9, 2)
    for line in lines:
        if line not in asking:
            subprocess.run(["sh", "-ec", here(line)], check=True, timeout=DEADLINE_S)
    file.write_text(file.read_text().replace("127.0.0.1:9464", f"127.0.0.1:{ops}"))
    serving, backing = (
        here(re.findall(r"^ExecStart=(.*)", (UNITS / f"{name}.service").read_text(), re.MULTILINE)[0])
        for name in ("signal-exchange", "signal-exchange-backup")
    )
    assert serving == f"{EXCHANGE} serve --config {file}"
    hub = serve(file)
    for line in asking:
        subprocess.run(["sh", "-ec", here(line)], check=True, timeout=DEADLINE_S)
    subprocess.run(backing.split(), check=True, timeout=DEADLINE_S)
    assert (tmp_path / "var" / "backups" / "signal-exchange" / "backup.json").exists()
    hub.send_signal(signal.SIGTERM)
    assert hub.wait(DEADLINE_S) == 0
