"""The page says what the library's own writer says, and lets others run meanwhile."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.metrics import exposition


class Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def families(samples: int = 1) -> list[Metric]:
    counter = CounterMetricFamily(
        "requests_total", 'Help with "quotes", a back\\slash\nand a line.', labels=("team", "key")
    )
    for number in range(samples):
        counter.add_metric((f'a "b" \\ \n 中文 {number}', ""), 12345678.5)
    gauge = GaugeMetricFamily("bytes", "None.")
    gauge.add_metric((), 0)
    histogram = HistogramMetricFamily("wait_seconds", "Waits.", labels=("upstream",))
    histogram.add_metric(("up",), [("0.1", 2), ("+Inf", 3)], 1e-9)
    return [counter, gauge, histogram, GaugeMetricFamily("empty", "Nothing yet.")]


def test_it_says_what_the_library_says():
    registry = CollectorRegistry()
    registry.register(Fixed(families()))
    expected, found = generate_latest(registry).decode(), exposition.page(families()).decode()
    assert list(text_string_to_metric_families(found)) == list(
        text_string_to_metric_families(expected)
    )
    plain = [
        [line for line in page.splitlines() if "12345678" not in line and "1.2345" not in line]
        for page in (found, expected)
    ]
    assert plain[0] == plain[1], "line by line, but for the exponents of large numbers"


def test_others_run_while_it_is_written(monkeypatch: pytest.MonkeyPatch):
    rests: list[None] = []
    monkeypatch.setattr(exposition, "rest", lambda: rests.append(None))
    exposition.page(families(1000))
    assert len(rests) == 1000 // exposition.AT_A_TIME
