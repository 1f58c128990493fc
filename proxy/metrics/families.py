"""What one scrape collects: prometheus_client's metric families, in the order of definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from proxy.core.money import NANO
from proxy.metrics.definitions import PREFIX, SPECS
from proxy.metrics.histogram import Snapshot

_Labels = TypeVar("_Labels", bound=tuple[str | int, ...])


class Families:
    """One family for every metric of `definitions.py`, also for those without a sample.

    A name that is not defined there is a KeyError.
    """

    def __init__(self) -> None:
        self._values: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        self._histograms: dict[str, HistogramMetricFamily] = {}
        self._all: list[Metric] = []
        for spec in SPECS:
            name = PREFIX + spec.name
            if spec.kind == "histogram":
                self._all.append(
                    histogram := HistogramMetricFamily(name, spec.meaning, labels=spec.labels)
                )
                self._histograms[spec.name] = histogram
            else:
                value = (CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily)(
                    name, spec.meaning, labels=spec.labels
                )
                self._all.append(value)
                self._values[spec.name] = value

    def all(self) -> Iterable[Metric]:
        return self._all

    def add(self, name: str, labels: Sequence[str], value: float) -> None:
        """Add one sample of a counter or gauge; the label values in their declared order."""
        self._values[name].add_metric(labels, value)

    def nano(self, name: str, labels: Sequence[str], value_nano: int) -> None:
        """Add one sample of money. Only here an exact integer becomes a float."""
        self._values[name].add_metric(labels, value_nano / NANO)

    def counts(self, name: str, table: Mapping[_Labels, int]) -> None:
        """Add the samples of a whole table, keyed by label values. It must not change meanwhile."""
        add = self._values[name].add_metric
        for labels, count in table.items():
            add([str(value) for value in labels], count)

    def histogram(self, name: str, labels: Sequence[str], snapshot: Snapshot) -> None:
        """Add one histogram; here its buckets become cumulative."""
        bounds_s, counts, sum_s = snapshot
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound_s, count in zip((*bounds_s, "+Inf"), counts, strict=True):
            total += count
            buckets.append((str(bound_s), total))
        self._histograms[name].add_metric(labels, buckets, sum_s)
