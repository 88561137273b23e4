"""`make fuzz`: targets under a coverage-guided fuzzer, one after the other, and a table of what came of it.

Inputs start from the seeds, the kept findings, and what earlier runs have grown (in `.fuzz`, which is not committed).
A new finding is saved among the kept ones, with the command that replays it. With `--into`, nothing but that folder is
written, and nothing grown before is read: with `--runs` and `--seed`, such a run is the same each time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from tests.fuzz.target import Target
from tests.fuzz.targets import MODULES, TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
GROWN = ROOT / ".fuzz"
MISSING = (
    "atheris has no wheel for this Python and platform: no coverage-guided fuzzing here.\n"
    "It has one for CPython 3.11 to 3.14 on Linux x86_64. `make test` tries the same targets unguided, everywhere."
)
#: How long a child may take to start and to end.
SPARE_S = 120
_RUNS = re.compile(rb"^(?:stat::number_of_executed_units:\s*|#)(\d+)", re.MULTILINE)
_COVERED = re.compile(rb"cov: (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What came of one target."""

    name: str
    executions: int
    covered: int
    findings: tuple[Path, ...]
    #: The end of what the child has said, where it did not end well.
    trouble: str = ""


@dataclass(frozen=True)
class Run:
    """How each target is run, and where what comes of it goes."""

    seconds: int
    #: For the fuzzer itself, beside the time.
    flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    found: Path = CORPUS
    grown: Path = GROWN


def fuzz(target: Target, run: Run) -> Outcome:
    """Run one target in a process of its own."""
    found, grown = run.found / target.name, run.grown / target.name
    before = set(found.glob("*"))
    fast = Path("/dev/shm")
    with TemporaryDirectory(prefix="fuzz-", dir=fast if fast.is_dir() else None) as name:
        folder = Path(name)
        given = folder / "given"
        for each in (given, grown, found):
            each.mkdir(parents=True, exist_ok=True)
        (folder / "grown").symlink_to(grown.absolute())
        for data in (*target.seeds, *(path.read_bytes() for path in (CORPUS / target.name).glob("*"))):
            (given / sha256(data).hexdigest()).write_bytes(data)
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.guided",
            MODULES[target.name],
            target.name,
            str(run.seconds),
            name,
            str(found.absolute()),
        ]
        environment = {**os.environ, **run.environment, "TMPDIR": name}
        with (folder / "said").open("w+b") as said:
            ended = _run([*command, *run.flags], environment, said, run.seconds + SPARE_S)
            said.seek(0)
            text = said.read()
    findings = tuple(sorted(set(found.glob("*")) - before))
    if not any(found.iterdir()):
        found.rmdir()
    runs, covered = _RUNS.findall(text), _COVERED.findall(text)
    well = ended == 0 or findings
    return Outcome(
        target.name,
        max(map(int, runs), default=0),
        max(map(int, covered), default=0),
        findings,
        "" if well else f"{ended}\n{text.decode(errors='replace')[-2_000:]}",
    )


def _run(command: list[str], environment: dict[str, str], said: BinaryIO, most_s: float) -> int | str:
    """Return how the child has ended; one that hangs has said where, and the next target is not kept waiting."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT, timeout=most_s, check=False
        )
    except subprocess.TimeoutExpired:
        return "it did not end"
    return done.returncode


def report(outcomes: list[Outcome]) -> bool:
    """Print the table and the findings; return whether there are none."""
    print(f"\n{'target':<22} {'executions':>12} {'branches':>9} {'findings':>9}")
    for outcome in outcomes:
        print(f"{outcome.name:<22} {outcome.executions:>12,} {outcome.covered:>9,} {len(outcome.findings):>9}")
    for outcome in outcomes:
        for path in outcome.findings:
            kept = CORPUS / outcome.name / path.name
            if kept != path:
                print(f"\nfound: {path}\n  keep it: cp {path} {kept.relative_to(ROOT)}")
            else:
                print(f"\nfound: {kept.relative_to(ROOT)}")
            print(f"  replay: make test ARGS='-k {path.name}'")
        if outcome.trouble:
            print(f"\n{outcome.name} did not end well:\n{outcome.trouble}")
    return not any(outcome.findings or outcome.trouble for outcome in outcomes)


def _asked_run(asked: argparse.Namespace) -> Run:
    """Return what the command line asks for; a fixed seed fixes the order of Python's sets too."""
    limits = {"runs": asked.runs, "seed": asked.seed}
    flags = tuple(f"-{name}={value}" for name, value in limits.items() if value is not None)
    environment = {} if asked.seed is None else {"PYTHONHASHSEED": str(asked.seed)}
    if asked.into is None:
        return Run(asked.seconds, flags, environment)
    return Run(asked.seconds, flags, environment, found=asked.into / "found", grown=asked.into / "grown")


def main() -> int:
    """Fuzz the named targets, or all."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=30, help="for each target, at most")
    parser.add_argument("--runs", type=int, help="inputs for each target (default: as many as the time allows)")
    parser.add_argument("--seed", type=int, help="of the choice of inputs (default: another each time)")
    parser.add_argument("--into", type=Path, help="folder for findings and grown inputs, instead of the kept ones")
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"of: {', '.join(TARGETS)}")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    chosen = [TARGETS[name] for name in asked.names or TARGETS]
    outcomes: list[Outcome] = []
    run = _asked_run(asked)
    for number, target in enumerate(chosen, 1):
        print(f"fuzz: {number} of {len(chosen)}, {target.name}, {run.seconds} s", flush=True)
        outcomes.append(fuzz(target, run))
    return 0 if report(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
