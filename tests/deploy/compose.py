"""The Compose file as it is read, and run without containers: what a service is told, in this machine's folders.

Each address of the file becomes one of loopback, each mount's target the folder that it is mounted from. The commands,
the configurations and what `prepare.sh` makes are otherwise as they are.
"""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.contract.redis_server import binary
from tests.e2e.command_line import EXCHANGE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "compose"
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def variables() -> dict[str, str]:
    """Return what `.env.example` sets."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def read(text: str) -> dict[str, Any]:
    """Return a Compose file, with variables as `.env.example` has them."""
    given = variables()
    found: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda match: given[match[1]], text))
    return found


@dataclass
class Stack:
    """A copy of the folder, whose services run here."""

    folder: Path
    #: Loopback has sixteen million addresses: nobody else's test has the same.
    second: int = field(default_factory=lambda: 1 + secrets.randbelow(254))
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the folder."""
        shutil.copytree(DEPLOY, self.folder, ignore=shutil.ignore_patterns("state", ".env"))
        for path in self.folder.iterdir():
            path.write_text(path.read_text().replace("172.30.", f"127.{self.second}."))

    @cached_property
    def services(self) -> dict[str, Any]:
        """The services, by name."""
        file = read((self.folder / "compose.yaml").read_text())
        self.secrets = {name: self.folder / secret["file"] for name, secret in file["secrets"].items()}
        return dict(file["services"])

    def address(self, name: str) -> str:
        """Return a service's address, the members' one where it has two."""
        networks = self.services[name]["networks"]
        return str((networks.get("members") or networks["store"])["ipv4_address"])

    def places(self, name: str) -> dict[str, Path]:
        """Return where what is mounted in a service lies here. It must be there."""
        service = self.services[name]
        found = {f"/run/secrets/{secret}": self.secrets[secret] for secret in service.get("secrets", ())}
        found |= {each["target"]: self.folder / each["source"] for each in service["volumes"]}
        assert [path for path in found.values() if not path.exists()] == []
        return found

    def here(self, name: str, text: str) -> str:
        """Return a command's word or a configuration's text with a service's paths as they are here."""
        places = self.places(name)
        targets = sorted(places, key=len, reverse=True)
        whole = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, targets))})(?![\w.-])")
        inside = whole.sub(lambda match: str(places[match[1]].resolve()), text)
        return inside.replace("0.0.0.0", self.address(name)).replace("127.0.0.1", self.address(name))

    def configured(self, name: str, word: str) -> str:
        """Return a word of a service's command; a configuration that it names is one with this machine's paths."""
        path = Path(self.here(name, word))
        if path.suffix not in {".toml", ".conf"} or not path.is_file():
            return self.here(name, word)
        text = self.here(name, path.read_text())
        if path.suffix == ".toml" and path.parent == self.folder.resolve():
            path = self.folder / f"{name}.toml"  # both hubs read one file
        path.write_text(text)
        return str(path)

    def command(self, name: str) -> list[str]:
        """Return what a service runs."""
        words = [self.configured(name, word) for word in self.services[name]["command"]]
        if words[0] == "valkey-server":
            return [binary(), *words[1:]]
        return [EXCHANGE, *words]

    def start(self, name: str) -> None:
        """Start a service that does not run."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(self.command(name), stdout=log, stderr=log)

    def log(self, name: str) -> str:
        """Return what a service has said."""
        return (self.folder / f"{name}.log").read_text()

    def healthy(self, name: str) -> bool:
        """Run a service's health check, if it can be run here; else look whether it listens."""
        test = self.services[name]["healthcheck"]["test"]
        if name not in self.running:
            return False
        assert self.running[name].poll() is None, self.log(name)
        if test[0] == "CMD" and test[1] == "python":
            words = [sys.executable, *(self.here(name, word) for word in test[2:])]
            return subprocess.run(words, capture_output=True, check=False).returncode == 0
        return _listens(self.address(name), 26379 if "sentinel" in name else 6379)

    def shell(self, line: str) -> None:
        """Run a line in the folder."""
        subprocess.run(["sh", "-ec", line], cwd=self.folder, check=True)

    def stop(self) -> dict[str, int]:
        """Have everything end, hubs first; return how each did within its grace."""
        ended = {}
        for name in reversed(self.running):
            self.running[name].terminate()
            grace = int(self.services[name]["stop_grace_period"].removesuffix("s"))
            ended[name] = self.running[name].wait(grace)
        return ended

    def kill(self) -> None:
        """End what still runs."""
        for process in self.running.values():
            process.kill()
            process.wait()


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False
