"""What indexing a platform's accounts costs, at the platform and at the service: ``python -m tests.bench.accounts``.

Real parts throughout: a file of accounts, the SDK's reader, its processes and its index; the service's evaluator in a
process of its own. Between them lies no network: a batch of 256 is two messages of 9 KB. CPU time is counted process by
process, so that other work on the machine does not change it much.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from exchange.privacy.voprf import EvaluationKey
from exchange.pseudonyms.evaluator import Evaluator
from exchange_client import AccountIndex, Progress
from exchange_client.account_sources import Refused, accounts_of
from exchange_client.pseudonyms import EpochKey, Pseudonyms

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_FINDS = 2_000
TELL_EVERY_S = 20.0


def write_accounts(path: Path, count: int) -> None:
    """Write so many made-up accounts, seven in ten by e-mail and three by telephone."""
    chance = random.Random(1)
    with path.open("w") as file:
        file.write("reference,type,value,joined\n")
        for number in range(count):
            if chance.random() < 0.7:
                said = f"email,{chance.choice(('sam', 'alex', 'kit'))}.{number:x}@mail-{number % 500}.example"
            else:
                said = f"phone,+447{chance.randrange(400_000_000, 600_000_000)}"
            file.write(f"u{number},{said},2024-01-01\n")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has had resident."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def children() -> set[int]:
    """Return our living children."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


class Telling:
    """Prints how far it has come, now and then."""

    def __init__(self) -> None:
        self.begun = self.last = time.monotonic()

    def hear(self, progress: Progress) -> None:
        """Take note of what is on disk."""
        now = time.monotonic()
        if now - self.last >= TELL_EVERY_S:
            self.last = now
            print(f"  {progress.read:,} read, {progress.read / (now - self.begun):,.0f}/s", flush=True)


async def index(folder: Path, source: Path, processes: int) -> dict[str, float]:
    """Index the accounts of a file, and return what it cost."""
    key = EvaluationKey.generate(os.urandom)
    refused: list[Refused] = []
    before = children()
    evaluator = Evaluator({1: key.secret()}, 1)
    await evaluator.evaluate(1, [key.public_key])  # starts its process
    service = children() - before
    async with Pseudonyms(evaluator.evaluate, EpochKey(1, key.public_key), processes=processes) as pseudonyms:
        kept = AccountIndex(folder / "epoch-1.sqlite", pseudonyms)
        own, begun = time.process_time(), time.monotonic()
        served = sum(map(cpu_s, service))
        done = await kept.add(accounts_of(source, refused.append), Telling().hear)
        took = time.monotonic() - begun
        workers = children() - before - service
        found = {
            "accounts": done.read,
            "refused": len(refused),
            "seconds": took,
            "per_second": done.evaluated / took,
            "member_cpu_s": time.process_time() - own + sum(map(cpu_s, workers)),
            "member_main_cpu_s": time.process_time() - own,
            "service_cpu_s": sum(map(cpu_s, service)) - served,
            "member_peak_mib": peak_mib(os.getpid()),
            "worker_peak_mib": max(map(peak_mib, workers)),
            "service_peak_mib": max(map(peak_mib, service)),
            "file_mib": kept.path.stat().st_size / 2**20,
        }
        own, begun = time.process_time(), time.monotonic()
        again = await kept.add(accounts_of(source, refused.append))
        assert again.evaluated == 0, "an account was evaluated twice"
        found |= {"again_s": time.monotonic() - begun, "again_cpu_s": time.process_time() - own}
        begun = time.monotonic()
        for _ in range(_FINDS):
            await kept.find(os.urandom(32))
        found["find_us"] = (time.monotonic() - begun) / _FINDS * 1e6
        kept.close()
    evaluator.close()
    return found


def main() -> None:
    """Measure, print, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=50_000)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="accounts-") as place, contextlib.suppress(KeyboardInterrupt):
        source = Path(place) / "accounts.csv"
        write_accounts(source, asked.accounts)
        found = asyncio.run(index(Path(place), source, asked.processes))
        print(json.dumps({name: round(value, 2) for name, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
