"""The one setting that says where a shared store is, read and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.errors import Reason, Rejected
from exchange.stores.redis_place import Form, Login, Server, anchored, is_redis, parse_place

BASE = Path("/etc/hub")


def test_every_form_is_read() -> None:
    one = parse_place("redis://store.example?replicas=2", BASE)
    assert (one.form, one.addresses, one.tls, one.replicas) == (
        Form.SINGLE,
        (Server("store.example", 6379),),
        False,
        2,
    )
    watched = parse_place("redis+sentinel://a,[2001:db8::1]:7,c:8/main?sentinel_user=s&sentinel_password_file=p", BASE)
    assert watched.addresses == (Server("a", 26379), Server("2001:db8::1", 7), Server("c", 8))
    assert (watched.form, watched.master, watched.sentinel_login) == (Form.SENTINEL, "main", Login("s", BASE / "p"))
    cluster = parse_place("redis+cluster://a:1,b:2", BASE)
    assert (cluster.form, cluster.addresses) == (Form.CLUSTER, (Server("a", 1), Server("b", 2)))


def test_tls_and_its_files() -> None:
    place = parse_place("rediss://hub@a:1?password_file=w&ca=ca.pem&certificate=/c.pem&key=k.pem&server_name=n", BASE)
    assert (place.tls, place.login, place.server_name) == (True, Login("hub", BASE / "w"), "n")
    assert (place.authority, place.certificate, place.key) == (BASE / "ca.pem", Path("/c.pem"), BASE / "k.pem")
    assert set(place.files()) == {f"store: {name}" for name in ("password_file", "ca", "certificate", "key")}


def test_relative_paths_become_whole_ones_and_nothing_else_changes() -> None:
    setting = "rediss://hub@a:1?password_file=w&ca=/ca.pem"
    whole = anchored(setting, BASE)
    assert whole == "rediss://hub@a:1?password_file=/etc/hub/w&ca=/ca.pem"
    assert parse_place(whole, Path("/elsewhere")) == parse_place(setting, BASE)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("http://a", "is none of"),
        ("redis+raft://a", "is none of"),
        ("redis+://a", "is none of"),
        ("redis://", "is not host:port"),
        ("redis://a:0", "is not host:port"),
        ("redis://a:65536", "is not host:port"),
        ("redis://a:x", "is not host:port"),
        ("redis://hub:secret@a", "a password must not stand in it"),
        ("redis://a,b", "several addresses"),
        ("redis://a/3", "database 0"),
        ("redis+cluster://a/main", "database 0"),
        ("redis+sentinel://a", "by name"),
        ("redis+sentinel://a/main?replicas=2", "say themselves"),
        ("redis+cluster://a?replicas=2", "say themselves"),
        ("redis://a?replicas=-1", "is a number"),
        ("redis://a?wait=1", "not a known option"),
        ("redis://a?replicas=1&replicas=2", "twice"),
        ("redis://a?ca=ca.pem", "without TLS"),
        ("rediss://a?certificate=c.pem", "go together"),
        ("rediss+sentinel://a/main", "TLS to Sentinels is not there yet"),
        ("rediss+cluster://a", "TLS to a Cluster is not there yet"),
    ],
)
def test_what_cannot_be_meant_is_refused(setting: str, says: str) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        parse_place(setting, BASE)
    assert refused.value.reason is Reason.CONFIG


@pytest.mark.parametrize(("setting", "yes"), [("redis://a", True), ("rediss+cluster://a", True), ("sqlite:x", False)])
def test_what_is_meant_for_it_is_recognised(setting: str, yes: bool) -> None:
    assert is_redis(setting) is yes
