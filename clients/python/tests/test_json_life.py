"""What is said about signals, as JSON and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.python.tests.fake_hub import UK
from exchange import codec
from exchange.domain import bodies
from exchange.domain.bodies import (
    Acknowledgement,
    Disposition,
    Election,
    Erasure,
    LagCell,
    Life,
    Opinion,
    Quarantine,
    Release,
    Retraction,
)
from exchange.domain.kinds import Kind
from exchange.domain.labels import Label
from exchange.domain.statement import Header
from exchange.errors import Reason, Rejected
from exchange_client import Delivery, Signals
from exchange_client.json_life import KEYS, LifeLine, life_from_json, life_to_json
from exchange_client.jsonl import delivery_to_json

IDS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3).map(tuple)
TIMES = st.integers(0, 2_000_000_000_000)
SAID = st.one_of(
    st.builds(Retraction, IDS, st.sampled_from(bodies.RetractionReason), TIMES),
    st.builds(Erasure, IDS, st.sampled_from(bodies.ErasureReason)),
    st.builds(Opinion, IDS, st.sampled_from(bodies.OpinionCategory), st.sampled_from(bodies.OpinionReason)),
    st.builds(
        Disposition,
        IDS,
        st.sampled_from(bodies.DispositionState),
        st.sampled_from([0, *bodies.SourceAction]),
        st.sampled_from([0, *bodies.DispositionReason]),
        TIMES,
        TIMES,
    ),
    st.builds(Quarantine, st.sampled_from(["alpha", "beta"]), TIMES, st.sampled_from(bodies.QuarantineReason)),
    st.builds(Release, st.sampled_from(["alpha", "beta"])),
)
ID = "ab" * 32


@given(SAID)
def test_what_is_written_is_read_as_it_was(
    body: Retraction | Erasure | Opinion | Disposition | Quarantine | Release,
) -> None:
    kind = codec.kind_of(body)
    data = json.loads(json.dumps(life_to_json(body)))
    assert data.keys() <= KEYS[kind]
    assert life_from_json(data, kind) == LifeLine(body)
    assert life_from_json(data | {"kind": kind.name.lower()}, kind) == LifeLine(body)


def test_a_case_stands_in_place_of_signals() -> None:
    line = life_from_json({"case_ref": "T-1", "reason": "error"}, Kind.RETRACTION)
    assert line == LifeLine(Retraction((), bodies.RetractionReason.ERROR), "T-1")


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        (Kind.RETRACTION, {"reason": "error"}, "`signal_ids`, or a `case_ref`"),
        (Kind.RETRACTION, {"reason": "error", "signal_ids": [ID], "case_ref": "T-1"}, "name what it is about"),
        (Kind.RETRACTION, {"signal_ids": [ID]}, "reason is missing"),
        (Kind.RETRACTION, {"signal_ids": [ID], "reason": "ERROR"}, "not known"),
        (Kind.RETRACTION, {"signal_ids": ID, "reason": "error"}, "a list of signal ids"),
        (Kind.RETRACTION, {"signal_ids": ["ab"], "reason": "error"}, "64 hexadecimal"),
        (Kind.RETRACTION, {"kind": "erasure", "signal_ids": [ID], "reason": "error"}, "its `kind` is not retraction"),
        (Kind.RETRACTION, {"signal_ids": [ID], "reason": "error", "decided_at": "yesterday"}, "`decided_at` must be"),
        (Kind.OPINION, {"case_ref": "T-1", "reason": "reviewed"}, "`case_ref` is not a known key of a opinion"),
        (Kind.OPINION, {"signal_ids": [ID], "reason": "reviewed"}, "category is missing"),
        (Kind.DISPOSITION, {"signal_ids": [ID]}, "state is missing"),
        (Kind.QUARANTINE, {"reason": "burst"}, "name the `member`"),
        (Kind.QUARANTINE, {"member": 7, "reason": "burst"}, "`member` must be text"),
        (Kind.RELEASE, {}, "name the `member`"),
        (Kind.QUARANTINE, {"member": "a", "from_index": -1, "reason": "burst"}, "`from_index` must be an index"),
        (Kind.QUARANTINE, {"member": "a", "from_index": True, "reason": "burst"}, "`from_index` must be an index"),
        (Kind.RELEASE, {"member": "a", "reason": "burst"}, "`reason` is not a known key"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(kind: Kind, data: dict[str, object], why: str) -> None:
    with pytest.raises(Rejected, match=why) as refused:
        life_from_json(data, kind)
    assert refused.value.reason is Reason.INVALID


def test_a_delivery_tells_what_was_said_with_its_times_in_milliseconds() -> None:
    def told(body: Life) -> dict[str, object]:
        header = Header(UK, codec.kind_of(body), "beta", 5, bytes(16), (), body)
        data = delivery_to_json(Delivery(UK, 3, b"", 7, False, header, "present", Signals(), 8, True))
        return {key: data[key] for key in data.keys() - {"origin", "index", "publisher", "late", "state", "covered"}}

    common = {"created_at_ms": 5, "received_at_ms": 7, "delivered_at_ms": 8, "signals": []}
    assert told(Retraction((b"i" * 32,), 1, 9)) == common | {
        "kind": "retraction",
        "signal_ids": [(b"i" * 32).hex()],
        "reason": "error",
        "decided_at_ms": 9,
    }
    cell = LagCell("alpha", Label.MISLEADING_SCAM, b"", False, (0, 2))
    assert told(Acknowledgement(3, -5, 2, (cell,))) == common | {
        "kind": "acknowledgement",
        "processed_through": 3,
        "clock_offset_ms": -5,
        "clock_error_ms": 2,
        "lag": [
            {"publisher": "alpha", "label": "misleading_scam", "election": None, "retraction": False, "counts": [0, 2]}
        ],
    }
    assert told(Election("uk-2027", "General election", 9, 10, (1,), 1_000, 0, 30)) == common | {
        "kind": "election",
        "name": "uk-2027",
        "title": "General election",
        "begins_at_ms": 9,
        "polling_ends_at_ms": 10,
        "target_classes": ["candidate"],
        "lag_target_ms": 1_000,
        "lag_alert_ms": 0,
        "keep_days": 30,
    }
    assert told(Retraction((), 99)) == common | {"kind": "retraction", "reason": 99}
