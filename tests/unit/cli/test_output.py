"""What others say is printed, and steers no terminal."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from exchange.cli.output import Failing, emit, end_progress, say, say_progress, visible, watched
from exchange.errors import InvalidStatement, Reason, Rejected, Violation

CLI = Path(__file__).parents[3] / "exchange" / "cli"
TITLE, CLEAR, C1, TURNED = "\x1b]0;owned\x07", "\x1b[2J\x1b[1;31m", "\x9b2J", "\u202egnp.exe\u2066"
HOSTILE = f"a{TITLE}b{CLEAR}c{C1}d{TURNED}e\x7ff\r\ng\u2028h"
SHOWN = (
    r"a\x1b]0;owned\x07b\x1b[2J\x1b[1;31mc\x9b2Jd\u202egnp.exe\u2066e\x7ff\r\ng\u2028h"
)  # fmt: skip


def run(act: Callable[[], None]) -> Result:
    """Run a command that does this, as on a terminal with colours."""
    group = Failing("exchange", commands=[click.Command("act", callback=act)])
    return CliRunner().invoke(group, ["act"], color=True)


def raising(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "act",
    [
        raising(Rejected(Reason.INVALID, HOSTILE, hint=HOSTILE)),
        raising(ExceptionGroup("several", [Rejected(Reason.INVALID, HOSTILE, hint=HOSTILE)])),
        raising(InvalidStatement((Violation("first", HOSTILE), Violation(HOSTILE, HOSTILE)))),
        lambda: emit({"name": HOSTILE, "names": [HOSTILE]}, as_json=False),
        lambda: emit({}, as_json=False, lines=[f"alpha  {HOSTILE}", HOSTILE], mark=(HOSTILE, "green")),
        lambda: say(HOSTILE, HOSTILE, err=True),
        lambda: logging.getLogger("exchange_client").error("refused: %s", HOSTILE),
    ],
    ids=["error", "errors", "violations", "values", "lines", "said", "logged"],
)
def test_what_would_steer_a_terminal_is_shown(act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    # The root logger of a command has no handler; that of a test run has one.
    monkeypatch.setattr(logging.getLogger("exchange_client"), "propagate", False)
    printed = run(act).output
    ours = printed
    for sequence in ("\x1b[31m", "\x1b[32m", "\x1b[0m"):
        ours = ours.replace(sequence, "")
    assert "owned" in ours
    assert "\\x1b]0;owned\\x07" in ours
    assert not [char for char in ours if char != "\n" and not visible_alone(char)]


def visible_alone(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"} and unicodedata.bidirectional(char) not in {
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    }  # fmt: skip


def test_it_is_one_line_that_tells_what_was_there() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("Größe 中文 👩‍👩‍👧 می‌خواهم ∑") == "Größe 中文 👩‍👩‍👧 می‌خواهم ∑"


@given(st.text(st.characters()))
def test_of_any_text_nothing_steers(text: str) -> None:
    assert all(map(visible_alone, visible(text)))


@given(st.text(st.characters()))
def test_json_is_plain_ascii_and_says_the_same(text: str) -> None:
    line = run(lambda: emit({text: [text]}, as_json=True)).stdout
    assert all(" " <= char <= "~" for char in line.removesuffix("\n"))
    assert json.loads(line) == {text: [text]}


def test_nothing_else_prints() -> None:
    places = {path.name for path in CLI.rglob("*.py") if re.search(r"\b(?:s?echo|print)\(", path.read_text())}
    assert places == {"output.py"}


def test_progress_is_said_to_watchers_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    say_progress("1 of 2")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    say_progress(f"1 of 2 {TITLE}")
    assert capsys.readouterr().err == "\r1 of 2 \\x1b]0;owned\\x07"


def test_a_line_of_progress_is_ended_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    say_progress("1 of 2")
    end_progress()
    end_progress()
    assert capsys.readouterr().err == "\r1 of 2\n"


def test_without_a_place_to_say_it_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert not watched()
    say_progress("1 in the ledger")
    end_progress()
