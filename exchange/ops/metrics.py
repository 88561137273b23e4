"""Every metric that the hub or the pseudonym service has: one row each, with its type, help and labels.

Labels come from small fixed sets (origins, reasons, methods, codes), and for evaluations and lag from the members: both
are on the ledger as well. Never an index or an identifier. Base units, `signal_exchange_` in front.
Nothing is made at import: `create_metrics` makes a registry of its own, so tests and several hubs can live together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from exchange.ops.counted_histogram import CountedHistogram

PREFIX = "signal_exchange_"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: As `exchange.domain.lag` has them, in seconds; what lies above the last is in the bucket without a bound.
_LAG = tuple(2**bucket / 1000 for bucket in range(31))
_STATEMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table."""

    name: str
    kind: type[Counter | Gauge | Histogram | CountedHistogram]
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


def _row(row: MetricRow) -> Any:  # noqa: ANN401 - a dataclass field is typed by its annotation
    return field(metadata={"row": row})


def _counter(name: str, text: str, *labels: str) -> Any:  # noqa: ANN401 - as _row
    return _row(MetricRow(PREFIX + name, Counter, text, labels))


def _gauge(name: str, text: str, *labels: str) -> Any:  # noqa: ANN401 - as _row
    return _row(MetricRow(PREFIX + name, Gauge, text, labels))


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Any:  # noqa: ANN401 - as _row
    return _row(MetricRow(PREFIX + name, Histogram, text, labels, buckets))


def _counted(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Any:  # noqa: ANN401 - as _row
    return _row(MetricRow(PREFIX + name, CountedHistogram, text, labels, buckets))


@dataclass(frozen=True, slots=True)
class Metrics:
    """The table, and the live metrics under the same names: ``metrics.statements.labels(origin, "accepted").inc()``."""

    registry: CollectorRegistry

    statements: Counter = _counter(
        "statements_total",
        "Statements that have a receipt: accepted, or repeated. Refusals are in `signal_exchange_rejected_total`.",
        "origin",
        "outcome",
    )
    records: Counter = _counter("records_total", "Records of accepted statements.", "origin")
    publish_seconds: Histogram = _histogram(
        "publish_seconds", "From a statement's arrival to its sealed receipt.", "origin"
    )
    group_statements: Histogram = _histogram(
        "group_statements", "Statements committed together.", "origin", buckets=_STATEMENTS
    )
    commit_seconds: Histogram = _histogram("commit_seconds", "One durable append to the store.", "origin")
    feed_streams: Gauge = _gauge("feed_streams", "Subscribers connected now.", "origin")
    feed_entries: Counter = _counter("feed_entries_total", "Entries written to live subscribers.", "origin")
    feed_messages: Counter = _counter("feed_messages_total", "Feed messages written.", "origin")
    checkpoint_size: Gauge = _gauge("checkpoint_size", "Size of the last sealed checkpoint.", "origin")
    last_seal_timestamp: Gauge = _gauge(
        "last_seal_timestamp_seconds", "Wall clock of the last seal by this process, Unix seconds.", "origin"
    )
    lag_seconds: CountedHistogram = _counted(
        "lag_seconds",
        "Lag of signals and retractions that new entries tell of, by stage as in `exchange lag`; the receiver is empty "
        "in stages that have none.",
        "origin",
        "stage",
        "receiver",
        buckets=_LAG,
    )
    life_behind: Gauge = _gauge(
        "life_behind_entries", "Sealed entries that the fold of a community's life has not taken yet.", "origin"
    )
    referrals_open: Gauge = _gauge("referrals_open", "Referrals that no authority has closed.", "origin")
    referrals_overdue: Gauge = _gauge(
        "referrals_overdue", "Open referrals that somebody should have answered by now.", "origin"
    )
    proposals: Counter = _counter(
        "proposals_total",
        "What became of proposals at this hub: prepared, signed, withdrawn, expired, published.",
        "outcome",
    )
    rejected: Counter = _counter("rejected_total", "Refusals, by the reason that the client was given.", "reason")
    rpcs: Counter = _counter("rpc_total", "Finished RPCs.", "method", "code")
    rpc_seconds: Histogram = _histogram("rpc_seconds", "Duration of unary RPCs.", "method")
    evaluations: Counter = _counter(
        "evaluations_total",
        "Elements sent to the pseudonym service, by what became of them: evaluated, over_budget, lost (charged for).",
        "member",
        "outcome",
    )
    evaluations_left: Gauge = _gauge(
        "evaluations_left", "Evaluations that a member had left when it last asked.", "member", "epoch"
    )
    key_epoch_end: Gauge = _gauge(
        "key_epoch_end_seconds", "Seconds until the newest key epoch ends; the next one is to be made well before."
    )
    certificate_expiry: Gauge = _gauge(
        "cert_expiry_seconds", "Seconds until a certificate of this process expires.", "certificate"
    )
    tls_files_failing: Gauge = _gauge(
        "tls_files_failing", "1 while the TLS files cannot be used as they are; the last good ones are, for a moment."
    )
    tls_closed: Gauge = _gauge("tls_closed", "1 while nobody is served, because the TLS files have stayed unusable.")
    ready: Gauge = _gauge("ready", "1 when the process is ready for work.")
    build_info: Gauge = _gauge("build_info", "Always 1; the labels tell what runs.", "version", "python")


def metric_rows() -> tuple[MetricRow, ...]:
    """Return the table: the documentation is made of it, and a test reads its conventions."""
    return tuple(item.metadata["row"] for item in fields(Metrics) if "row" in item.metadata)


def create_metrics() -> Metrics:
    """Make every metric of the table, in a registry of its own."""
    registry = CollectorRegistry()
    live: dict[str, Any] = {}
    for item in fields(Metrics):
        row: MetricRow | None = item.metadata.get("row")
        if row is None:
            continue
        options: dict[str, Any] = {"buckets": row.buckets} if row.buckets else {}
        live[item.name] = row.kind(row.name, row.help, row.labels, registry=registry, **options)
    return Metrics(registry=registry, **live)


def render(metrics: Metrics) -> tuple[bytes, str]:
    """Return the body and content type of ``/metrics``."""
    return generate_latest(metrics.registry), CONTENT_TYPE_LATEST
