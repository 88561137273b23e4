"""Metrics: one table, low cardinality, a registry for each."""

from __future__ import annotations

import re
from typing import get_type_hints

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from exchange.ops.metrics import MetricRow, Metrics, create_metrics, metric_rows, render

ALLOWED_LABELS = {"certificate", "code", "method", "origin", "outcome", "python", "reason", "version"}
#: What a member uses of its evaluations is on the ledger; epochs are one a year.
OF_LAG = {"origin", "stage", "receiver"}
OF_EVALUATIONS = {"member", "epoch", "outcome"}


@pytest.mark.parametrize("row", metric_rows(), ids=lambda row: row.name)
def test_rows_follow_the_conventions(row: MetricRow) -> None:
    assert re.fullmatch(r"signal_exchange_[a-z_]+", row.name)
    assert (row.kind is Counter) == row.name.endswith("_total")
    assert row.help.endswith(".") or "runbook" in row.help
    allowed = OF_EVALUATIONS if "evaluations" in row.name else OF_LAG if "lag" in row.name else ALLOWED_LABELS
    assert set(row.labels) <= allowed, "a new label needs a thought about cardinality and identifiers"


def test_names_are_unique_and_fields_have_the_type_of_their_row() -> None:
    rows = metric_rows()
    assert len({row.name for row in rows}) == len(rows)
    hints = [hint for name, hint in get_type_hints(Metrics).items() if name != "registry"]
    assert hints == [row.kind for row in rows]


def test_registries_do_not_share_anything() -> None:
    first, second = create_metrics(), create_metrics()
    first.rejected.labels("invalid").inc()
    assert first.registry.get_sample_value("signal_exchange_rejected_total", {"reason": "invalid"}) == 1
    assert second.registry.get_sample_value("signal_exchange_rejected_total", {"reason": "invalid"}) is None


def test_render_shows_every_row() -> None:
    metrics = create_metrics()
    metrics.publish_seconds.labels("example/abuse").observe(0.02)
    body, content_type = render(metrics)
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {row.name.removesuffix("_total") for row in metric_rows()} <= families
    assert content_type.startswith("text/plain")
    assert b'signal_exchange_publish_seconds_count{origin="example/abuse"} 1.0' in body


def test_counts_are_added_to_a_histogram_as_they_are() -> None:
    metrics = create_metrics()
    labels = {"origin": "example/abuse", "stage": "delivered", "receiver": "beta"}
    for counts in ([0, 0, 3], [1, 0, 2, *[0] * 28, 4]):
        metrics.lag_seconds.add(tuple(labels.values()), counts)

    def value(name: str, **more: str) -> float | None:
        return metrics.registry.get_sample_value(f"signal_exchange_lag_seconds_{name}", labels | more)

    assert value("count") == 10
    assert [value("bucket", le=bound) for bound in ("0.001", "0.002", "0.004", "0.008", "1073741.824", "+Inf")] == [
        1, 1, 6, 6, 6, 10,
    ]  # fmt: skip
    assert value("sum") == pytest.approx(0.0005 + 5 * 0.003 + 4 * 1_073_741.824)
    body, _ = render(metrics)
    (family,) = [each for each in text_string_to_metric_families(body.decode()) if "lag_seconds" in each.name]
    assert family.type == "histogram"
    assert len(family.samples) == 32 + 2
