"""The main job, end to end, on this machine: one hub, three platforms as separate processes, real photographs.

Founds an exchange, starts the hub on the embedded store, publishes photographs from one platform, shows the others
receiving and matching altered copies, kills the hub with SIGKILL in the middle of it all, shows that nothing that was
acknowledged is lost. Then one platform suspends a user, whom the others find among their own under other spellings of
the same mailbox, by a pseudonym alone; an appeal is granted, and they let the user come back. A progress report and a
guide for candidates are made of all that. At last the ledger is verified from outside, and all that was written is
searched for the mailbox. Ends with 0 when everything was as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import accounts
import photographs

HERE = Path(__file__).resolve().parent
WORK = Path.cwd() / "build" / "demo"
BIN = Path(sys.executable).parent
EXCHANGE, COMMUNITY = "demo.exchange", "demo.exchange/uk-elections"
PLATFORMS = ("alpha", "beta", "gamma")
PIECES = 300
DEADLINE_S = 90.0


def say(text: str = "") -> None:
    """Print a line for the person watching."""
    print(text, flush=True)


def step(text: str) -> None:
    """Begin a part of the demo."""
    say(f"\n== {text}")


class Process:
    """A child whose JSON lines are collected as they come."""

    def __init__(self, name: str, *command: str) -> None:
        """Start it."""
        self.name = name
        self.events: list[dict[str, Any]] = []
        self._new: queue.Queue[None] = queue.Queue()
        self.log = WORK / f"{name}.log"
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=self.log.open("ab"),
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
                self._new.put(None)

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the events of one kind so far."""
        return [found for found in self.events if found["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the events of one kind as soon as there are so many; give up after the deadline."""
        end = time.monotonic() + DEADLINE_S
        while len(found := self.of(event)) < count:
            if self.child.poll() is not None and len(self.of(event)) < count:
                raise SystemExit(f"{self.name} ended early with {self.child.returncode}; see {self.log}")
            try:
                self._new.get(timeout=max(0.01, min(0.5, end - time.monotonic())))
            except queue.Empty:
                if time.monotonic() > end:
                    raise SystemExit(f"{self.name}: no {count} x {event!r} in time; see {self.log}") from None
        return found

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it and wait."""
        if self.child.poll() is None:
            self.child.send_signal(number)
            self.child.wait(30)


def exchange(*arguments: object) -> str:
    """Run one command of the command line; stop the demo when it fails."""
    command = [str(BIN / "exchange"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(name: str, config: Path, *command: str) -> Process:
    """Start a server and wait until it listens."""
    server = Process(name, str(BIN / "exchange"), *command, "--config", str(config))
    host, port = config.read_text().split('listen = "')[1].split('"')[0].rsplit(":", 1)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and server.child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return server
        time.sleep(0.05)
    raise SystemExit(f"the {name} did not start; see {server.log}")


def start_hub() -> Process:
    """Start the hub."""
    return start_server("hub", WORK / "hub" / "hub.toml", "serve")


def start_pseudonym_service() -> Process:
    """Set up the service that makes pseudonyms, with a key of its own, tell the platforms where it is, and start it."""
    folder, pki, operator = WORK / "notary", WORK / "hub" / "pki", WORK / "hub" / "operator" / "client.toml"
    address = f"127.0.0.1:{free_port()}"
    exchange(
        "member", "add", "notary", "--class", "operator", "--role", "pseudonyms", "--community", "uk-elections",
        "--client", operator, "--development-pki", pki, "--folder", folder,
    )  # fmt: skip
    exchange(
        "pseudonyms", "init", "--client", folder / "pseudonyms" / "client.toml", "--community", "uk-elections",
        "--folder", folder, "--development-pki", pki, "--listen", address, "--ops-listen", f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    exchange("pseudonyms", "epoch", "create", "--config", folder / "pseudonyms.toml")
    for name in PLATFORMS:
        with (WORK / name / "pipeline" / "client.toml").open("a") as file:
            file.write(f'pseudonyms = "{address}"\n')
    return start_server("pseudonym service", folder / "pseudonyms.toml", "pseudonyms", "serve")


def found(store: Sequence[str]) -> Process:
    """Found the exchange, start its hub, register the three platforms."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    hub_folder, operator = WORK / "hub", WORK / "hub" / "operator" / "client.toml"
    exchange(
        "init", "--exchange", EXCHANGE, "--operator", "operator", "--folder", hub_folder,
        "--listen", f"127.0.0.1:{free_port()}", "--ops-listen", f"127.0.0.1:{free_port()}", *store,
    )  # fmt: skip
    hub = start_hub()
    exchange("community", "create", "uk-elections", "--config", hub_folder / "hub.toml", "--client", operator)
    for name in PLATFORMS:
        exchange(
            "member", "add", name, "--community", "uk-elections", "--client", operator,
            "--development-pki", hub_folder / "pki", "--folder", WORK / name,
        )  # fmt: skip
    return hub


def platform(name: str, work: str = "") -> Process:
    """Start one platform's process."""
    client = WORK / name / "pipeline" / "client.toml"
    return Process(
        name, sys.executable, str(HERE / "demo_platform.py"), work or name, "--client", str(client),
        "--community", COMMUNITY, "--pieces", str(PIECES),
    )  # fmt: skip


def show_matches(receivers: list[Process]) -> list[str]:
    """Print what matched; return what is not as it must be."""
    wrong = []
    matched = {m["file"]: m for receiver in receivers for m in receiver.of("match")}
    for name in photographs.NAMES:
        for change in ("JPEG at quality 60", "half the size", "1 % cropped", "10 % cropped"):
            label = f"{name}: {change}"
            hit = matched.get(label)
            expected = name in photographs.PUBLISHED and change != "10 % cropped"
            verdict = f"match, {hit['distance']} of 256 bits differ" if hit else "no match"
            why = "" if name in photographs.PUBLISHED else "   (never published)"
            say(f"   {label:<44} {verdict}{why}")
            if (hit is not None) != expected:
                wrong.append(f"{label}: {verdict}")
    return wrong


def show_lag(alpha: Process, receivers: list[Process]) -> None:
    """Print the lag of each delivery of a photograph, and a summary of all."""
    published = {a["index"]: a["case"] for a in alpha.of("acknowledged")}
    for receiver in receivers:
        for event in receiver.of("delivered"):
            case = published.get(event["index"], "")
            if case in photographs.PUBLISHED:
                say(f"   {case:<24} alpha -> {receiver.name:<6} {event['lag_ms']:>6} ms")
    live = sorted(e["lag_ms"] for r in receivers for e in r.of("delivered"))
    say(f"   {len(live)} deliveries in all, the hub's death among them:")
    say(f"   median {statistics.median(live):.0f} ms, worst {live[-1]} ms")


def check_nothing_lost(alpha: Process, receivers: list[Process]) -> list[str]:
    """Compare what was acknowledged with what arrived; return what is not as it must be."""
    wrong = []
    acknowledged = {a["index"]: a["case"] for a in alpha.of("acknowledged")}
    for receiver in receivers:
        events = receiver.of("delivered")
        indices = [e["index"] for e in events]
        cases = {e["index"]: e["cases"] for e in events}
        lost = [i for i, case in acknowledged.items() if case not in cases.get(i, [])]
        ordered = indices == list(range(len(indices)))
        verdict = "in order, no gap, no repeat" if ordered else "NOT IN ORDER"
        say(f"   {receiver.name}: {len(indices)} entries, {verdict}; acknowledged but missing: {len(lost)}")
        if lost or not ordered:
            wrong.append(f"{receiver.name}: lost {lost[:5]}, indices in order: {ordered}")
    if len(acknowledged) != len(photographs.PUBLISHED) + PIECES:
        wrong.append(f"only {len(acknowledged)} signals were acknowledged")
    return wrong


def suspend_and_match(receivers: list[Process]) -> str:
    """Let alpha suspend its user, and print who finds that user; return the pseudonym."""
    alpha = platform("alpha", "suspender")
    (suspended,) = alpha.wait_for("suspended")
    address = accounts.ABUSER["alpha"][1]
    say(f"   alpha suspended {address}, and published entry {suspended['index']}: a pseudonym, no address")
    for receiver in receivers:
        found, *_ = receiver.wait_for("account")
        _, address = accounts.ABUSER[receiver.name]
        say(f"   {receiver.name} found {found['reference']} ({address}) {found['took_ms']} ms after alpha said it")
    return str(suspended["pseudonym"])


def undo(receivers: list[Process]) -> list[str]:
    """Let alpha grant the user's appeal, and print who undoes what, what was owed and how long all of it took."""
    for receiver in receivers:
        receiver.wait_for("acted")
    (retracted,) = platform("alpha", "appeal").wait_for("retracted")
    say(f"   alpha takes its signal back: entry {retracted['index']}, overturned on appeal")
    for receiver in receivers:
        (undone,) = receiver.wait_for("reversed")
        say(f"   {receiver.name} let {undone['reference']} come back {undone['took_ms']} ms after alpha said it")
    liaison = ("--community", "uk-elections", "--client", WORK / "beta" / "liaison" / "client.toml")
    debts = [json.loads(line) for line in exchange("debts", "--all", "--json", *liaison).splitlines()]
    say(exchange("debts", "--all", *liaison).rstrip())
    stages = ("reported", "delivered", "actioned", "migration", "undo_reported", "undone")
    say(exchange("lag", *(word for stage in stages for word in ("--stage", stage)), *liaison).rstrip())
    closed = {debt.get("member"): debt.get("open") for debt in debts if "member" in debt}
    expected = {receiver.name: False for receiver in receivers}
    return [] if closed == expected else [f"debts: {closed}"]


def tell_others() -> list[str]:
    """Make the progress report of all this and check it, and the guide for candidates; return what is wrong."""
    ours = ("--community", "uk-elections", "--client", WORK / "beta" / "liaison" / "client.toml")
    report, guide = WORK / "report", WORK / "guide"
    exchange("report", report, *ours)
    checked = exchange("verify-report", report, *ours[2:])
    say(checked.rstrip())
    exchange("guide", "build", guide, *ours)
    say(f"   the progress report:      {(report / 'report.html').relative_to(Path.cwd())}, and .pdf, .csv, .json")
    say(
        f"   the guide for candidates: {(guide / 'index.html').relative_to(Path.cwd())}, and guide-en.pdf, guide-cy.pdf"
    )
    total = f"{len(photographs.PUBLISHED) + PIECES + 1:,}"
    told = f"<td>{total}</td>" in (report / "report.html").read_text()
    return (
        []
        if told and checked.count("  holds  ") == 8
        else [f"the report does not tell of {total} signals, or does not hold"]
    )


def check_accounts(receivers: list[Process]) -> list[str]:
    """Compare who was found, when all is over; return what is not as it must be."""
    wrong = []
    for receiver in receivers:
        found = [event["reference"] for event in receiver.of("account")]
        if found != [accounts.ABUSER[receiver.name][0]]:
            wrong.append(f"{receiver.name} found {found}")
    reference, address = accounts.UNRELATED
    say(f"   {'others were found, too' if wrong else f'nobody found {reference} ({address}), nor anybody else'}")
    return wrong


def search_everything(pseudonym: str, expected: str) -> list[str]:
    """Search all that the demo wrote for identifiers; return what is not as it must be.

    The pseudonym itself must be ``expected`` somewhere, else the search proves nothing.
    """
    known = {"the pseudonym": bytes.fromhex(pseudonym)}
    wanted = accounts.traces()
    size, places = accounts.search(WORK, wanted | known)
    where = places.pop("the pseudonym", [])
    say(f"   {size / 1e6:.1f} MB of stores, ledger, outboxes, indexes and logs; {len(wanted)} texts and plain hashes")
    say(f"   found: {', '.join(places) or 'none of them'}; the pseudonym itself is in {len(where)} files")
    wrong = [f"{name} is in {', '.join(files)}" for name, files in places.items()]
    return wrong if any(name.startswith(expected) for name in where) else [*wrong, "the search finds nothing"]


def verify_everything() -> None:
    """Verify the ledger."""
    step("Verifying the whole ledger from its files, without the hub")
    pin = WORK / "beta" / "pipeline" / "client.toml"
    say(exchange("verify", "--config", WORK / "hub" / "hub.toml", "--genesis-of", pin).rstrip())


def asked_store() -> str:
    """Return the store that the command line names; empty for the embedded one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--store", default="", help="put the ledger into Redis or Valkey, such as redis://127.0.0.1:6379"
    )
    return str(parser.parse_args().store)


def main() -> None:
    """Run the demo."""
    store = asked_store()
    started = time.monotonic()
    step("Founding an exchange: directory, community, three platforms with their own keys and certificates")
    hub = found(("--store", store) if store else ())
    children = [hub, start_pseudonym_service()]
    try:
        receivers = [platform("beta"), platform("gamma")]
        children += receivers
        for receiver in receivers:
            receiver.wait_for("ready")
        step(f"alpha publishes {len(photographs.PUBLISHED)} photographs, then {PIECES} small files, over mutual TLS")
        alpha = platform("alpha")
        children.append(alpha)
        half = len(photographs.PUBLISHED) + PIECES // 2
        alpha.wait_for("acknowledged", half)
        step("SIGKILL to the hub, in the middle of it")
        before = len(alpha.of("acknowledged"))
        hub.stop(signal.SIGKILL)
        say(f"   {before} signals were acknowledged when it died")
        hub = start_hub()
        children.append(hub)
        alpha.wait_for("done")
        total = len(alpha.of("acknowledged"))
        say(f"   {total} are acknowledged now; alpha's outbox sent again what had no receipt")
        for receiver in receivers:
            receiver.wait_for("delivered", total)
        wrong = check_nothing_lost(alpha, receivers)
        step("What beta and gamma found among their own files")
        wrong += show_matches(receivers)
        step("Lag, from alpha's decision to the other platform's hands")
        show_lag(alpha, receivers)
        step("alpha suspends a user, who has accounts with the same mailbox at beta and gamma, written differently")
        pseudonym = suspend_and_match(receivers)
        step("alpha grants that user's appeal: who acted on its word undoes it, and says so on the ledger")
        wrong += undo(receivers)
        step("What others are told: a progress report that anybody here can count again, and a guide for candidates")
        wrong += tell_others()
        for child in children:
            child.stop()
        wrong += check_accounts(receivers)
        step("Searching everything for that mailbox")
        wrong += search_everything(pseudonym, "" if store else "hub/data")
        verify_everything()
    finally:
        for child in children:
            child.stop(signal.SIGKILL)
    say()
    for problem in wrong:
        say(f"NOT AS IT MUST BE: {problem}")
    took = time.monotonic() - started
    say(f"Demo {'FAILED' if wrong else 'passed'} in {took:.0f} s. Everything is in {WORK.relative_to(Path.cwd())}.")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
