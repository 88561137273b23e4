"""Health: nothing is ready before it says so, and being alive is another question."""

from __future__ import annotations

import json

import pytest

from exchange.ops.health import Health


def test_everything_begins_not_ready_but_alive() -> None:
    health = Health(["store", "tail"])
    assert not health.ready
    assert health.readyz().status == 503
    assert health.readyz().body == {"status": "not ready", "waiting": {"store": "starting", "tail": "starting"}}
    assert health.livez().status == 200


def test_ready_when_every_component_serves_and_not_when_one_stops() -> None:
    health = Health(["store", "tail"])
    health.serving("store")
    health.serving("tail")
    assert health.ready
    assert health.readyz().status == 200
    health.not_serving("store", "disk full")
    assert health.readyz().body == {"status": "not ready", "waiting": {"store": "disk full"}}


def test_what_one_part_says_does_not_clear_what_another_said() -> None:
    health = Health(["store"])
    health.not_serving("store", "uk: an old copy", "uk")
    health.not_serving("store", "side: disk full", "side")
    health.serving("store")
    assert health.readyz().body["waiting"] == {"store": "uk: an old copy; side: disk full"}
    health.serving("store", "uk")
    assert health.readyz().body["waiting"] == {"store": "side: disk full"}
    health.serving("store", "side")
    assert health.ready


def test_draining_is_for_good() -> None:
    health = Health(["store"])
    health.serving("store")
    health.drain()
    health.serving("store")
    assert not health.ready
    assert health.readyz().status == 503
    assert health.readyz().body["status"] == "draining"
    assert health.livez().status == 200


def test_answers_are_plain_data() -> None:
    health = Health(["store"])
    for answer in (health.livez(), health.readyz()):
        assert json.loads(json.dumps(answer.body)) == answer.body
    assert [component.name for component in health.components()] == ["store"]


def test_misuse_is_an_error() -> None:
    health = Health(["store"])
    with pytest.raises(ValueError, match="no component; known: store"):
        health.serving("stroe")
    with pytest.raises(ValueError, match="needs a reason"):
        health.not_serving("store", "")
