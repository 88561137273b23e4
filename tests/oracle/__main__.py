"""`make oracle`: many runs, each with a seed of its own; whatever differs can be replayed by its seed."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import repeat

from tests.oracle.bugs import BUGS
from tests.oracle.operations import OPERATIONS
from tests.oracle.runs import hunt, one

#: So many steps take each kind of step.
ENOUGH = 20_000


def main() -> int:
    """Run; return 1 where product and model differ, or where a mutant is not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--mutants", action="store_true", help="hunt mutants of the product instead")
    parser.add_argument("--every", type=int, default=1, help="hunt only every so many of them")
    options = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.oracle.runs"])  # what is imported once need not be three times
    with ProcessPoolExecutor(options.processes, context) as pool:
        if options.mutants:
            return mutants(pool, tuple(BUGS)[:: options.every])
        return product(pool, range(options.seed, options.seed + options.seeds), options.steps)


def product(pool: Executor, seeds: range, steps: int) -> int:
    """Run seeds on the product, and print which steps were taken."""
    started, failed = time.monotonic(), 0
    total: Counter[str] = Counter()
    for outcome in pool.map(one, seeds, repeat(steps)):
        total += outcome.steps
        failed += bool(outcome.found)
        print(f"seed {outcome.seed}: {'DIFFERS' if outcome.found else 'holds'} ({outcome.seconds:.1f} s)", flush=True)
        if outcome.found:
            print(f"{outcome.found}\nreplay: make oracle SEED={outcome.seed} STEPS={steps}", flush=True)
    never = [name for name in OPERATIONS if not total[name]]
    if never and not failed and len(seeds) * steps >= ENOUGH:
        print(f"never taken: {', '.join(never)}")
        failed += 1
    print(f"{len(seeds)} seeds of {steps} steps in {time.monotonic() - started:.0f} s; steps taken:")
    for name, count in sorted(total.items()):
        print(f"  {count:>7}  {name}")
    return 1 if failed else 0


def mutants(pool: Executor, hunted: Sequence[str]) -> int:
    """Print after how many steps each mutant was found."""
    missed = 0
    for name, (taken, how) in zip(hunted, pool.map(hunt, hunted), strict=True):
        missed += not taken
        print(f"{name}: {f'found after {taken} steps' if taken else 'NOT FOUND'}\n  {how[:160]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
