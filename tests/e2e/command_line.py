"""An exchange founded and used by the command line alone: real processes, as people and pipelines start them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e import warm_command_line
from tests.e2e.exchange_fixture import free_port
from tests.e2e.warm_command_line import Serving

EXCHANGE = str(Path(sys.executable).parent / "exchange")
DEADLINE_S = 30.0


@dataclass
class Place:
    """A founded exchange with a serving hub."""

    folder: Path
    hub: Serving

    @property
    def config(self) -> Path:
        return self.folder / "hub" / "hub.toml"

    @property
    def operator(self) -> Path:
        return self.folder / "hub" / "operator" / "client.toml"

    def ready(self) -> tuple[int, str]:
        """Return what ``/readyz`` answers."""
        listen = tomllib.loads(self.config.read_text())["ops"]["listen"]
        try:
            with urllib.request.urlopen(f"http://{listen}/readyz", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> None:
        self.hub.send_signal(signal.SIGTERM)
        assert self.hub.wait(DEADLINE_S) == 0

    def client(self, member: str, role: str = "pipeline") -> Path:
        return self.folder / member / role / "client.toml"


def run(*arguments: object, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    done = warm_command_line.run([*map(str, arguments)], stdin=stdin, timeout_s=DEADLINE_S)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def serve(config: Path, *flags: str) -> Serving:
    log = config.parent / "serve.log"
    before = log.read_text().count('"serving"') if log.exists() else 0
    with log.open("ab") as stderr:
        hub = Serving(("serve", "--config", str(config), *flags), stderr=stderr)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and hub.poll() is None:
        if log.read_text().count('"serving"') > before:
            return hub
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def founded(folder: Path) -> Iterator[Place]:
    """An exchange with a community and two members, and its hub serving, in this folder."""
    made = run(
        "init",
        "--exchange", "cli.exchange",
        "--operator", "op",
        "--folder", folder / "hub",
        "--listen", f"127.0.0.1:{free_port()}",
        "--ops-listen", f"127.0.0.1:{free_port()}",
        "--json",
    )  # fmt: skip
    assert len(lines(made.stdout)[0]["genesis"]) == 64
    found = Place(folder, serve(folder / "hub" / "hub.toml"))
    run("community", "create", "uk", "--config", found.config, "--client", found.operator)
    for member in ("alpha", "beta"):
        run(
            "member", "add", member,
            "--community", "uk",
            "--client", found.operator,
            "--development-pki", folder / "hub" / "pki",
            "--folder", folder / member,
        )  # fmt: skip
    yield found
    found.stop()


def pdq_line(byte: str, **fields: object) -> str:
    return json.dumps(
        {
            "label": "harassment_targeted",
            "indicators": [{"type": "pdq", "value": byte * 32}],
            "expires_in_days": 30,
            **fields,
        }
    )
