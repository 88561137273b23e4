"""A real browser. Where there is none, that is said aloud; on CI (CI is set) the tests then fail instead."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ABSENT = CHROMIUM is None and not os.environ.get("CI")
collect_ignore_glob = ["test_*.py"] if ABSENT else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run, and why."""
    if ABSENT:
        terminalreporter.section("the guide in a browser: NOT TESTED", sep="!")
        terminalreporter.line("There is no chromium on this machine: apt-get install chromium, then make e2e again.")
