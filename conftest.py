"""Skipped tests are said aloud everywhere, and fail the run on CI: a machine that lacks something proves nothing.

Only what is an extra by its own words may be left out there: vector sets that are too large to ship, or the real form
of a fault whose pretended form runs everywhere.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

EXTRA = "extra:"

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No example is judged by the clock, nor is the making of it: a busy machine is no bug.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """On CI, make the run fail when a test was skipped (`-ra` has said which, and why)."""
    missing = []
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if EXTRA not in reason:
            missing.append(report.nodeid)
    session = terminalreporter._session  # noqa: SLF001 - the only way from the summary to the exit status
    if missing and os.environ.get("CI") and session is not None:
        terminalreporter.write_line(f"{len(missing)} tests were skipped, and this is CI: that is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
