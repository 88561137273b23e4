"""The Compose file is one by the specification's schema, and shuts everything in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from exchange.config import Drain
from tests.deploy.compose import DEPLOY, ROOT, read, variables

FILE = read((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = FILE["services"]
#: What serves, and so must say whether it is healthy and have time to go.
SERVING = sorted(SERVICES.keys() - {"operator"})
valid = fastjsonschema.compile(json.loads((Path(__file__).parent / "compose-spec.json").read_text()))


def test_it_is_a_compose_file_by_the_schema() -> None:
    valid(FILE)
    assert len([name for name in SERVICES if name.startswith("hub-")]) == 2
    assert len([name for name in SERVICES if name.startswith("valkey-")]) == 3
    assert len([name for name in SERVICES if name.startswith("sentinel-")]) == 3


def test_hubs_that_were_quiet_start_with_the_same_command_and_one_flag_more() -> None:
    over = read((DEPLOY / "accept-clock.yaml").read_text())
    valid(over)
    assert over["services"] == {
        name: {"command": [*service["command"], "--accept-clock"]}
        for name, service in SERVICES.items()
        if name.startswith("hub-")
    }


@pytest.mark.parametrize("change", [{"comand": []}, {"read_only": []}, {"healthcheck": {"test": 5}}, {"ports": "7443"}])
def test_a_mistake_in_it_would_be_noticed(change: dict[str, object]) -> None:
    wrong = FILE | {"services": SERVICES | {"hub-1": SERVICES["hub-1"] | change}}
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        valid(wrong)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_shut_in_and_has_no_secret_in_its_environment(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == variables()["RUN_AS"]
    assert not service["user"].startswith("0:")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"]["core"] == 0
    assert not service.keys() & {"environment", "env_file", "privileged", "cap_add", "network_mode", "pid"}


@pytest.mark.parametrize("name", SERVING)
def test_what_serves_says_whether_it_is_healthy_and_has_time_to_go(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    own = tomllib.loads((DEPLOY / "hub.toml").read_text()).get("drain", {}).get("grace_s", Drain().grace_s)
    assert grace_s > own


def test_what_hubs_say_of_themselves_is_for_their_health_checks_alone() -> None:
    listen = tomllib.loads((DEPLOY / "hub.toml").read_text())["ops"]["listen"]
    assert listen.startswith("127.0.0.1:")
    for name in SERVING:
        if name.startswith("hub-"):
            assert f"http://{listen}/readyz" in " ".join(SERVICES[name]["healthcheck"]["test"])


class Healthy(BaseHTTPRequestHandler):
    """A service that serves."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", [name for name in SERVING if "python" in SERVICES[name]["healthcheck"]["test"]])
def test_a_health_check_asks_its_own_service_whatever_proxy_the_environment_names(name: str) -> None:
    _, _, *words = SERVICES[name]["healthcheck"]["test"]
    named = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    named |= {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        here = [re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{server.server_port}", word) for word in words]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = subprocess.run([sys.executable, *here], env=named, capture_output=True, text=True, check=False)
        server.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr


def test_variables_are_those_of_the_example_and_none_is_a_secret() -> None:
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert used == variables().keys()
    assert not re.search(r"(?i)password|secret|token|(?<!val)key", "\n".join(variables()))


def test_what_the_image_is_built_from_is_there() -> None:
    lines = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert [name for line in lines for name in line.split() if not (ROOT / name).exists()] == []
    assert SERVICES["hub-1"]["build"] == {"context": "../..", "dockerfile": "deploy/compose/Dockerfile"}


def test_servers_and_their_users_are_as_the_page_for_operators_has_them() -> None:
    page = (ROOT / "docs" / "redis.md").read_text()
    prepare, conf = (DEPLOY / "prepare.sh").read_text(), (DEPLOY / "valkey.conf").read_text()
    (asked,) = re.findall(r"```conf\n(.*?)```", page, re.DOTALL)
    assert {line.strip() for line in asked.splitlines() if line.strip()} <= set(conf.splitlines())
    (rights,) = re.findall(r"user hub on >PASSWORD (.+)", page)
    assert f"user hub on >$hub {rights}\n" in prepare
    (watching,) = re.findall(r"Sentinels, .* need a user with `(.+)`", page)
    assert f"user hub on >$hub -@all {watching}\n" in prepare
