"""Who could be promoted, of what Sentinels and Clusters say; and whether all of them have a write."""

from __future__ import annotations

import pytest

from exchange.errors import Unavailable
from exchange.stores.redis_finding import Found, read_nodes, read_sentinel
from exchange.stores.redis_place import Server
from exchange.stores.redis_replicas import Replication, missing, read_replication

A, B, C = (Server("10.0.0.1", port) for port in (1, 2, 3))


def test_a_sentinel_tells_whom_it_never_promotes() -> None:
    replicas = [
        {"ip": "10.0.0.1", "port": "2", "slave-priority": "100", "flags": "slave,s_down"},
        {"ip": "10.0.0.1", "port": "3", "slave-priority": "0"},
    ]
    view = read_sentinel({"ip": "10.0.0.1", "port": "1", "config-epoch": "7"}, replicas)
    assert (view.epoch, view.master) == (7, A)
    assert (set(view.promotable), set(view.others)) == ({B}, {C})


NODES = """\
aaa 10.0.0.1:1@11,one myself,master - 0 0 5 connected 0-5460 [77->-bbb]
bbb 10.0.0.2:1@11 master - 0 0 6 connected 5461-10922
ccc 10.0.0.1:2@12 slave aaa 0 0 5 connected
ddd 10.0.0.1:3@13 slave,nofailover aaa 0 0 5 connected
eee 10.0.0.1:9@19 slave,fail aaa 0 0 5 disconnected
fff 10.0.0.3:1@11 master,fail - 0 0 4 disconnected 10923
"""


def test_a_node_tells_who_has_a_slot_and_who_could() -> None:
    view = read_nodes(A, NODES, 77)
    assert (view.epoch, view.master) == (5, A)
    assert (set(view.promotable), set(view.others)) == ({B, Server("10.0.0.1", 9)}, {C})
    assert read_nodes(A, NODES, 5461).master == Server("10.0.0.2", 1)


@pytest.mark.parametrize("slot", [10_923, 10_924])
def test_a_slot_without_a_working_master_is_unavailable(slot: int) -> None:
    with pytest.raises(Unavailable, match="no working master"):
        read_nodes(A, NODES, slot)


def test_what_a_master_says_of_its_replicas() -> None:
    said = (
        b"# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"
        b"slave0:ip=10.0.0.1,port=2,state=online,offset=1,lag=0\r\nslave1:ip=10.0.0.1,port=3,state=wait_bgsave,lag=0\r\n"
    )
    assert read_replication(said) == Replication(is_master=True, connected=frozenset({B}))
    assert not read_replication(b"role:slave\r\n").is_master


@pytest.mark.parametrize(
    ("promotable", "others", "least", "connected", "acknowledged", "why"),
    [
        ({B, C}, set(), 0, {B, C}, 2, ""),
        ({B, C}, set(), 0, {B, C}, 1, "1 of 2 replicas have it"),
        ({B, C}, set(), 0, {B}, 1, "could be promoted and is not connected"),
        # It does not matter which ones were counted: all that are connected must have it.
        ({B}, {C}, 0, {B, C}, 1, "1 of 2 replicas have it"),
        ({B}, {C}, 0, {B}, 1, ""),
        (set(), set(), 2, {B}, 1, "2 replicas are said to be promotable, 1 are connected"),
        (set(), set(), 2, {B, C}, 2, ""),
        (set(), set(), 0, set(), 0, ""),
    ],
)
def test_a_write_is_safe_when_everyone_who_counts_has_it(
    promotable: set[Server], others: set[Server], least: int, connected: set[Server], acknowledged: int, why: str
) -> None:
    found = Found(A, frozenset(promotable), frozenset(others), least)
    said = missing(found, acknowledged, Replication(is_master=True, connected=frozenset(connected)))
    assert (why in said) if why else (said == "")
