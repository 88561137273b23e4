"""A Prometheus histogram that is given counts: what others have counted already is added, not observed one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class CountedHistogram(Collector):
    """Counts by labels and bucket. The sum is read from the buckets, each taken at its middle."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        *,
        registry: CollectorRegistry,
        buckets: Sequence[float],
    ) -> None:
        """``buckets`` are upper bounds; one more, without a bound, is behind them."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labelnames)
        self._bounds = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        registry.register(self)

    def add(self, labels: Sequence[str], counts: Sequence[int]) -> None:
        """Add counts, the lowest bucket's first; there may be fewer than buckets."""
        held = self._counts.setdefault(tuple(labels), [0] * (len(self._bounds) + 1))
        for bucket, count in enumerate(counts):
            held[bucket] += count

    def describe(self) -> Iterator[Metric]:
        """Yield the family without values."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the family as it stands."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        lows = (0.0, *self._bounds)
        for labels, counts in list(self._counts.items()):
            seen, total = 0, 0.0
            buckets: list[tuple[str, float]] = []
            for low, high, count in zip(lows, (*self._bounds, lows[-1]), counts, strict=True):
                seen += count
                total += count * (low + high) / 2
                buckets.append((str(high) if len(buckets) < len(self._bounds) else "+Inf", float(seen)))
            family.add_metric(list(labels), buckets, total)
        yield family
