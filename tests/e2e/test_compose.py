"""What docs/deploy.md says of containers, done without them: every command of it, and of every service in the file."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.compose import ROOT, Stack
from tests.e2e import warm_command_line
from tests.e2e.command_line import lines, pdq_line, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DEADLINE_S = 60.0
_RUN = "docker compose run --rm operator "
_UP = re.compile(r"docker compose (?:--profile \w+ )?up -d --wait (.+)")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path / "compose")
    yield made
    made.kill()


def documented() -> Iterator[str]:
    """Yield the lines that set everything up, in their order."""
    text = (ROOT / "docs" / "deploy.md").read_text().partition("## In containers")[2]
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


def up(stack: Stack, names: list[str]) -> None:
    """Start services, each when what it depends on is healthy, and wait until all are."""
    starting = list(names)
    end = time.monotonic() + DEADLINE_S
    while starting or not all(map(stack.healthy, names)):
        assert time.monotonic() < end, {name: stack.log(name)[-2_000:] for name in names}
        for name in [each for each in starting if all(map(stack.healthy, stack.services[each].get("depends_on", ())))]:
            stack.start(name)
            starting.remove(name)
        time.sleep(0.05)


def do(stack: Stack, line: str) -> None:
    """Do a documented line."""
    if line.startswith(_RUN):
        line = line.replace("172.30.", f"127.{stack.second}.")
        line = re.sub(r'"\$\(sed .* hub\.toml\)"', lambda _: shlex.quote(store_of(stack)), line)
        run(*(stack.here("operator", word) for word in shlex.split(line.removeprefix(_RUN))))
    elif found := _UP.fullmatch(line):
        up(stack, found[1].split())
    elif not line.startswith(("cd ", "docker compose build ")):
        stack.shell(line)


def store_of(stack: Stack) -> str:
    (found,) = re.findall(r'^store = "(.*)"', (stack.folder / "hub.toml").read_text(), re.MULTILINE)
    return str(found)


def test_the_documented_commands_bring_everything_up_and_it_works_together(stack: Stack) -> None:
    prepare = stack.folder / "prepare.sh"
    prepare.write_text(
        prepare.read_text().replace("down-after-milliseconds exchange 5000", "down-after-milliseconds exchange 500")
    )
    for line in documented():
        do(stack, line)
    for name in ("hub-1", "hub-2"):
        run("check-config", "--config", stack.folder / f"{name}.toml")
        assert stack.healthy(name)
    run(
        "pseudonyms", "check-config", "--config", stack.folder / "state" / "exchange" / "pseudonyms" / "pseudonyms.toml"
    )
    client = stack.folder / "state" / "exchange" / "alpha" / "pipeline" / "client.toml"
    where = ("--community", "uk-elections", "--json", "--client")
    said = run("publish", "-", *where, client, stdin=pdq_line("a1"))
    at_two = client.with_name("two.toml")
    at_two.write_text(client.read_text().replace(stack.address("hub-1"), stack.address("hub-2")))
    seen = run("watch", "--cursor", lines(said.stdout)[0]["index"], "--limit", 1, *where, at_two)
    assert lines(seen.stdout)[0]["publisher"] == "alpha"
    lose_the_master(stack)
    assert set(stack.stop().values()) == {0}


def lose_the_master(stack: Stack) -> None:
    """Kill the first server: Sentinels may promote another, by what its users may do, and hubs may ask them who that is."""
    lost = stack.running.pop("valkey-1")
    lost.kill()
    lost.wait()
    doctor = ("doctor", "--config", stack.folder / "hub-2.toml", "--json")
    replicas = {stack.address(name) for name in ("valkey-2", "valkey-3")}
    end = time.monotonic() + DEADLINE_S
    while not any(f"{each}:6379, 1 replica" in warm(doctor) for each in replicas):
        assert time.monotonic() < end, warm(doctor)


def warm(words: tuple[object, ...]) -> str:
    """Run a command that may find something wrong; return what it says."""
    return warm_command_line.run([*map(str, words)], stdin="", timeout_s=DEADLINE_S).stdout
