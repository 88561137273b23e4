"""`exchange accounts`: how far it has come, where its files lie, and what wrong usage is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from exchange.cli import main
from exchange.cli.accounts.gauge import Gauge
from exchange.cli.accounts.places import folder_of, signals_file
from exchange_client import ClientConfig, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_bar_tells_rate_and_what_is_to_go() -> None:
    clock = Clock()
    gauge = Gauge(lambda: 10_000.0, clock)
    for step in range(1, 41):
        clock.now += 1
        gauge.show(Progress(read=step * 100, evaluated=step * 90))
    told = "[#########---------------]  40%  4,000 read, 3,600 evaluated, 100/s, 60 s to go"
    assert gauge.text(Progress(4_000, 3_600)) == told
    assert "2,000 left" in gauge.text(Progress(4_000, 2_000, 2_000))
    # Beyond what was thought, or at the end: never above the whole.
    assert gauge.text(Progress(11_000, 11_000)).startswith("[########################] 100%")


def test_a_rate_is_that_of_the_last_moments() -> None:
    clock = Clock()
    gauge = Gauge(lambda: 1_000_000.0, clock)
    for step in range(1, 61):  # half an hour of work is skipped in a minute, and then it goes on slowly
        clock.now += 1
        gauge.show(Progress(read=step * 10_000))
    for step in range(1, 61):
        clock.now += 1
        gauge.show(Progress(read=600_000 + step * 10))
    assert " 10/s, 11.1 h to go" in gauge.text(Progress(600_600))


def test_a_pipe_has_no_end_to_tell_of() -> None:
    clock = Clock()
    assert Gauge(lambda: None, clock).text(Progress(5, 4)) == "5 read, 4 evaluated, 0/s"


def test_on_a_pipe_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    gauge = Gauge(lambda: None, clock)
    for step in range(100):
        clock.now += 0.25
        gauge.show(Progress(step, step))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("39 read")


def test_files_lie_beside_the_state_unless_they_are_named(tmp_path: Path) -> None:
    none = Path()
    config = ClientConfig(("h:1",), "x", "beta", "pipeline", none, none, none, none, bytes(32), tmp_path / "state")
    assert folder_of(config, None) == tmp_path / "state" / "accounts"
    assert folder_of(config, tmp_path) == tmp_path
    assert signals_file(tmp_path, "x/uk") == tmp_path / "uk.signals.sqlite"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["index", "."], "Is a directory"),
        (["index", "nothing.csv"], "No such file"),
        (["index"], "Missing argument"),
        (["check", "--identifier", "email", "x", "--follow"], "asks once"),
        (["check", "--identifier", "email", "x", "--new"], "asks once"),
        (["remove"], "Missing argument"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(arguments: Sequence[str], why: str, tmp_path: Path) -> None:
    further = [] if arguments[0] == "remove" else ["--community", "uk"]
    done = CliRunner().invoke(main, ["accounts", *arguments, *further, "--client", str(tmp_path / "client.toml")])
    assert done.exit_code == 2
    assert why in done.output
