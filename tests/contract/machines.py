"""Machines that a network connects until it is cut: each is a network namespace, all hang on one switch.

A cut moves machines to another switch: what they send to the others goes nowhere, and nobody is told, as with a real
cable. Only root may make namespaces, and not on every system. Processes of a machine are reached through sockets that
are made inside of it, also while it is cut off: that is the test's own way, which no fault touches.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x4000_0000
_SWITCHES = ("whole", "apart")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a process runs: by itself this one, on loopback."""

    address: str = "127.0.0.1"
    namespace: str = ""

    @property
    def enter(self) -> tuple[str, ...]:
        """What goes before a command that is to run there."""
        return ("ip", "netns", "exec", self.namespace) if self.namespace else ()

    def connected(self, port: int) -> socket.socket:
        """Return a connection to a port on its loopback, made inside. Raises `OSError`."""
        made: list[socket.socket | OSError] = []

        def connect() -> None:
            try:
                with Path("/run/netns", self.namespace).open("rb") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.create_connection(("127.0.0.1", port), timeout=2))
            except OSError as error:
                made.append(error)

        # A namespace is a thread's: this one enters it, and ends.
        inside = threading.Thread(target=connect)
        inside.start()
        inside.join()
        (found,) = made
        if isinstance(found, OSError):
            raise found
        return found


#: The one that the tests run on.
HERE = Machine()


@dataclass(frozen=True, slots=True)
class Network:
    """Some machines, and this one."""

    name: str
    machines: tuple[Machine, ...]

    def cut(self, *apart: Machine) -> None:
        """Cut these off from all others; they still reach each other."""
        for each in apart:
            self._plug(each, "apart")

    def heal(self) -> None:
        """Connect all again."""
        for each in self.machines:
            self._plug(each, "whole")

    def _plug(self, machine: Machine, switch: str) -> None:
        _ip("-n", self.name, "link", "set", f"port{self.machines.index(machine)}", "master", switch)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@cache
def why_not() -> str:
    """Say why there can be no such machines here; nothing where there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    try:
        with _made(1) as network:
            network.machines[0].connected(9).close()
    except subprocess.CalledProcessError as error:
        return f"this system makes none: {error.stderr.decode().strip()}"
    except ConnectionRefusedError:
        return ""
    except OSError as error:
        return f"they cannot be entered: {error}"
    return "port 9 is taken"


@contextmanager
def connected(count: int) -> Iterator[Network]:
    """Run a network of so many machines, and this one, for the length of a block. Skips, aloud, where there is none."""
    if reason := why_not():
        pytest.skip(f"extra: a network cannot be cut here ({reason}); what kills and stops servers is tried everywhere")
    with _made(count) as network:
        yield network


@contextmanager
def _made(count: int) -> Iterator[Network]:
    name = f"sx{secrets.token_hex(3)}"
    net = f"10.{secrets.randbelow(200) + 40}.{secrets.randbelow(256)}"
    machines = tuple(Machine(f"{net}.{n + 1}", f"{name}-{n}") for n in range(count))
    try:
        _ip("netns", "add", name)
        for switch in _SWITCHES:
            _ip("-n", name, "link", "add", switch, "type", "bridge")
            _ip("-n", name, "link", "set", switch, "up")
        _ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "here", "netns", name)
        _ip("-n", name, "link", "set", "here", "master", "whole", "up")
        _ip("addr", "add", f"{net}.254/24", "dev", f"{name}h")
        _ip("link", "set", f"{name}h", "up")
        for n, each in enumerate(machines):
            _ip("netns", "add", each.namespace)
            end = ("peer", "name", "eth0", "netns", each.namespace)
            _ip("-n", name, "link", "add", f"port{n}", "type", "veth", *end)
            _ip("-n", name, "link", "set", f"port{n}", "master", "whole", "up")
            _ip("-n", each.namespace, "addr", "add", f"{each.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", each.namespace, "link", "set", link, "up")
        yield Network(name, machines)
    finally:
        subprocess.run(["ip", "link", "del", f"{name}h"], check=False, capture_output=True, timeout=30)
        for namespace in (name, *(each.namespace for each in machines)):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True, timeout=30)
