"""``make bench-privacy``: what each party can reverse of shared account identifiers, and at what cost.

Shares random telephone numbers in three ways and attacks each, measures what a candidate costs, and asks the budgets
for all that they give. Prints a table and writes ``build/privacy.json``; the full run (three minutes) also writes
docs/privacy.md. ``--quick`` takes some seconds. The exit status tells whether each attack came to what it must.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from exchange.privacy.voprf import EvaluationKey, blind, blind_evaluate, finalize
from exchange.pseudonyms.budget import Terms
from exchange_client import AccountIndex, Own
from exchange_client.pseudonyms import BATCH
from tests.bench.figures import machine, number
from tests.bench.privacy.attacks import (
    Attack,
    alone,
    asking,
    in_an_epochs_life,
    keyed,
    plain,
    service,
    stolen,
    with_the_services_key,
)
from tests.bench.privacy.page import page
from tests.bench.privacy.spaces import Space, spaces
from tests.unit.builders import ALPHA, OPERATOR

ROOT = Path(__file__).parents[3]
#: Members of two sizes, as a service's file may have them.
MEMBERS = {"small": Terms(100_000, 1_000), "large": Terms(30_000_000, 30_000)}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    #: Numbers that are shared, in a range of so many, and what the member may have evaluated.
    shared: int
    range: int
    budget: int
    #: Candidates for a rate: of what takes a microsecond, and of what takes hundreds.
    fast: int
    slow: int
    repetitions: int


FULL = Plan(shared=20, range=100_000, budget=5_000, fast=1_000_000, slow=4_000, repetitions=3)
QUICK = Plan(shared=10, range=5_000, budget=600, fast=50_000, slow=300, repetitions=1)


async def reversal(plan: Plan, phones: Space, folder: Path) -> dict[str, Any]:
    """Share some numbers in each way, and attack them as each party can."""
    start = random.SystemRandom().randrange(phones.size - plan.range)
    numbers = range(start, start + plan.range)
    inputs = list(phones.inputs(numbers))
    chosen = random.SystemRandom().sample(inputs, plan.shared)
    key, members_key = EvaluationKey.generate(os.urandom), os.urandom(32)
    ways: dict[str, Callable[[bytes], bytes]] = {
        "plain hash": plain,
        "one key": keyed(members_key),
        "pseudonyms": with_the_services_key(key),
    }
    shared = {way: {value(said) for said in chosen} for way, value in ways.items()}
    own = EvaluationKey.generate(os.urandom)
    attacks: list[dict[str, Any]] = []

    def came(who: str, way: str, attack: Attack) -> None:
        told = {"who": who, "way": way, "tried": attack.tested, "found": len(attack.found)}
        attacks.append(told | {"seconds": attack.seconds})

    came("outsider", "plain hash", alone(inputs, plain, shared["plain hash"]))
    came("outsider, with a key of its own", "one key", alone(inputs, keyed(os.urandom(32)), shared["one key"]))
    came("any member", "one key", alone(inputs, ways["one key"], shared["one key"]))
    few = inputs[: plan.budget]
    came("outsider, with a key of its own", "pseudonyms", alone(few, with_the_services_key(own), shared["pseudonyms"]))
    accounts = phones.accounts(numbers)
    for who, actor in (("hub's operator", OPERATOR), ("member, with its budget", ALPHA)):
        terms = Terms(plan.budget, 0)
        async with service(folder / actor.member, key, terms, actor.workload) as pseudonyms:
            came(who, "pseudonyms", await asking(accounts, pseudonyms, shared["pseudonyms"]))
    came("who has the service's key", "pseudonyms", alone(inputs, ways["pseudonyms"], shared["pseudonyms"]))
    came("thief of an index of accounts, one row", "pseudonyms", await theft(phones, numbers, folder, key, chosen[0]))
    return {"shared": plan.shared, "range": plan.range, "budget": plan.budget, "attacks": attacks}


async def theft(phones: Space, numbers: range, folder: Path, key: EvaluationKey, said: bytes) -> Attack:
    """Index one account as a platform does, and read its files as a thief does."""
    (account,) = [account for account in phones.accounts(numbers) if account.to_bytes() == said]

    async def owned() -> Any:
        yield Own("customer-1", account)

    async with service(folder / "platform", key, Terms(1, 0), ALPHA.workload) as pseudonyms:
        with closing(AccountIndex(folder / "index.sqlite", pseudonyms)) as index:
            await index.add(owned())
    (row,) = stolen(folder / "index.sqlite")
    return alone(phones.inputs(numbers), row.value(), {row.digest})


def rates(plan: Plan, known: dict[str, Space]) -> dict[str, float]:
    """Return candidates a second, and what the parties of an evaluation do a second of their processor's time."""
    key = EvaluationKey.generate(os.urandom)
    found = {}
    for name, space in known.items():
        start = random.SystemRandom().randrange(space.size - plan.fast)
        for way, value, count in (
            ("plain", plain, plan.fast),
            ("keyed", keyed(os.urandom(32)), plan.fast),
            ("offline", with_the_services_key(key), plan.slow),
        ):
            found[f"{name}.{way}"] = count / alone(space.inputs(range(start, start + count)), value, ()).seconds
    index = keyed(os.urandom(32), b"a reference of the platform's own")
    found["index"] = plan.fast / alone(known["phone"].inputs(range(plan.fast)), index, ()).seconds
    members, services = 0.0, 0.0
    for at in range(0, plan.slow, BATCH):
        inputs = list(known["phone"].inputs(range(at, at + BATCH)))
        began = time.process_time()
        blinds = blind(inputs, os.urandom)
        sent = time.process_time()
        evaluation = blind_evaluate(key, [each.element for each in blinds], os.urandom)
        answered = time.process_time()
        finalize(blinds, evaluation, key.public_key)
        members += sent - began + time.process_time() - answered
        services += answered - sent
    evaluated = -(-plan.slow // BATCH) * BATCH
    found |= {"member": evaluated / members, "service": evaluated / services}
    return found | {"product": _products(plan.slow)}


def _products(count: int) -> float:
    """Return how many products with a secret OpenSSL makes a second: the least of all that a pseudonym takes."""
    curve = ec.SECP256R1()
    secret, peer, ecdh = ec.generate_private_key(curve), ec.generate_private_key(curve).public_key(), ec.ECDH()
    began = time.process_time()
    for _ in range(count):
        secret.exchange(ecdh, peer)
    return count / (time.process_time() - began)


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Measure everything."""
    known = spaces()
    lives = {who: await in_an_epochs_life(folder / who, terms) for who, terms in MEMBERS.items()}
    found = {
        "machine": machine(),
        "spaces": {name: {"said": space.said, "size": space.size} for name, space in known.items()},
        "members": {
            who: {"users": terms.users, "daily": terms.daily, "evaluations": lives[who]}
            for who, terms in MEMBERS.items()
        },
        "reversal": await reversal(plan, known["phone"], folder),
    }
    taken = [rates(plan, known) for _ in range(plan.repetitions)]
    return found | {"rates": {name: [each[name] for each in taken] for name in taken[0]}}


def wrong(found: dict[str, Any]) -> list[str]:
    """Return which attacks came to something else than they must."""
    said = found["reversal"]
    everything, nothing, budget = (said["range"], said["shared"]), 0, said["budget"]
    must = {
        ("outsider", "plain hash"): everything,
        ("outsider, with a key of its own", "one key"): (said["range"], nothing),
        ("any member", "one key"): everything,
        ("outsider, with a key of its own", "pseudonyms"): (budget, nothing),
        ("hub's operator", "pseudonyms"): (0, nothing),
        ("member, with its budget", "pseudonyms"): (budget, None),
        ("who has the service's key", "pseudonyms"): everything,
        ("thief of an index of accounts, one row", "pseudonyms"): (said["range"], 1),
    }
    came = {(each["who"], each["way"]): (each["tried"], each["found"]) for each in said["attacks"]}
    return [
        f"{who} against {way}: {came.get((who, way))}, not {(tried, hits)}"
        for (who, way), (tried, hits) in must.items()
        if came.get((who, way), (None,))[0] != tried or hits not in (None, came[who, way][1])
    ]


def report(found: dict[str, Any]) -> None:
    """Print what was measured."""
    for each in found["reversal"]["attacks"]:
        print(f"{each['who']:<42} {each['way']:<11} tried {each['tried']:>9,}, found {each['found']:>3}", end="")
        print(f" in {number(each['seconds'])} s")
    for name, samples in found["rates"].items():
        print(f"{name:<16} {number(min(samples)):>12} to {number(max(samples))} a second")
    for who, terms in found["members"].items():
        print(f"{who} member: {terms['evaluations']:,} evaluations in an epoch")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="make bench-privacy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some seconds: a small range, one repetition, no page")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "privacy.json", help="where the figures go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signal-exchange-privacy-") as folder:
        found = asyncio.run(run(QUICK if options.quick else FULL, Path(folder)))
    report(found)
    failed = wrong(found)
    written = json.dumps(found, indent=1) + "\n"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(written)
    print("\n".join(["came to something else:", *failed] if failed else ["every attack came to what it must"]))
    if not failed and not options.quick:
        (ROOT / "docs" / "privacy.json").write_text(written)
        (ROOT / "docs" / "privacy.md").write_text(page(found))
    print(f"figures: {options.output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
