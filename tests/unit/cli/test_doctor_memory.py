"""What the doctor says of memory: what the logs that are here may take, as long as they are now."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from exchange.cli.doctor import machine
from exchange.config import TLS, Config

MIB = 2**20


def hub(folder: Path) -> Config:
    return Config("exchange.example", folder, "127.0.0.1:1", TLS(folder, folder, folder))


def file_of(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)


def said(settings: Config, logs: int) -> tuple[str, int, int]:
    """Return the finding's state, the MiB that the process may take, and how many of them are SQLite's."""
    found = machine._memory(settings, logs)
    numbers = re.search(r"may take (\d+) MiB, (\d+) of it SQLite's", found.detail)
    assert numbers is not None
    return found.state, int(numbers[1]), int(numbers[2])


@pytest.fixture(autouse=True)
def machine_with_a_gibibyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 4194304 kB\nMemAvailable: {1024 * 1024} kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", meminfo)


def test_a_connection_is_counted_with_its_cache_or_its_file_whichever_is_less(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    assert said(hub(tmp_path), 0)[2] == 0
    file_of(logs / "directory" / "ledger.sqlite", 1 * MIB)
    assert said(hub(tmp_path), 1)[2] == 2
    file_of(logs / "quiet" / "ledger.sqlite", 2 * MIB)
    file_of(logs / "quiet" / "folds" / "life", 1 * MIB)
    assert said(hub(tmp_path), 2)[2] == 2 + 2 * 2 + 3
    file_of(logs / "long" / "ledger.sqlite", 1024 * MIB)
    file_of(logs / "long" / "folds" / "life", 40 * MIB)
    assert said(hub(tmp_path), 3)[2] == 9 + 2 * 16 + 3 * 16


def test_long_communities_that_the_machine_cannot_hold_are_told(tmp_path: Path) -> None:
    state, before, _ = said(hub(tmp_path), 7)
    assert state == "ok"
    for number in range(7):
        file_of(tmp_path / "logs" / f"c{number}" / "ledger.sqlite", 1024 * MIB)
        file_of(tmp_path / "logs" / f"c{number}" / "folds" / "life", 1024 * MIB)
    assert said(hub(tmp_path), 7) == ("warning", before + 7 * 80, 7 * 80)
