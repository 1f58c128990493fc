"""What is handed to prometheus_client, read back from the page it makes."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.metrics.definitions import PREFIX, SPECS
from proxy.metrics.families import Families


class Scrape(Collector):
    def __init__(self, families: Families) -> None:
        self.collect = families.all


def page(families: Families) -> str:
    registry = CollectorRegistry()
    registry.register(Scrape(families))
    return generate_latest(registry).decode()


def samples(families: Families) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Of all metrics: name without the prefix and sorted labels -> value."""
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page(families))
        for sample in family.samples
    }


def test_every_declared_metric_is_on_the_page_in_order_with_its_meaning_even_without_a_sample():
    families = list(text_string_to_metric_families(page(Families())))
    assert [(family.name, family.type, family.documentation) for family in families] == [
        (PREFIX + spec.name.removesuffix("_total"), spec.kind, spec.meaning) for spec in SPECS
    ]


@pytest.mark.parametrize(
    "value",
    ["plain", "", 'quo"te', "back\\slash", "new\nline", "\\n", '\\"', "{a=b}", "表 中文", "a b, c"],
)
def test_label_values_come_back_as_they_were(value):
    families = Families()
    families.counts("http_requests_total", {(value, 200): 7})
    families.add("key_expiry_timestamp_seconds", (value,), 1.5)
    assert samples(families) == {
        ("http_requests_total", (("code", "200"), ("route", value))): 7,
        ("key_expiry_timestamp_seconds", (("key", value),)): 1.5,
    }


def test_a_histogram_becomes_cumulative():
    families = Families()
    families.histogram("overhead_seconds", ("p",), ((0.0001, 0.1, 1.0), (2, 0, 1, 1), 2.65))
    families.histogram("journal_write_seconds", (), ((0.001,), (1, 0), 0.0005))
    assert samples(families) == {
        **{
            ("overhead_seconds_bucket", (("le", bound), ("phase", "p"))): count
            for bound, count in (("0.0001", 2), ("0.1", 2), ("1.0", 3), ("+Inf", 4))
        },
        ("overhead_seconds_count", (("phase", "p"),)): 4,
        ("overhead_seconds_sum", (("phase", "p"),)): 2.65,
        ("journal_write_seconds_bucket", (("le", "0.001"),)): 1,
        ("journal_write_seconds_bucket", (("le", "+Inf"),)): 1,
        ("journal_write_seconds_count", ()): 1,
        ("journal_write_seconds_sum", ()): 0.0005,
    }


@pytest.mark.parametrize(
    ("value_nano", "value"),
    [
        (0, 0.0),
        (1, 1e-9),
        (1_500_000_000, 1.5),
        (-1, -1e-9),
        (9_007_199_254_740_991, 9_007_199.254740991),
    ],
)
def test_money_leaves_as_the_nearest_float(value_nano, value):
    families = Families()
    families.nano("cost_total", ("t", "k", "m", "u", "USD"), value_nano)
    assert list(samples(families).values()) == [value]


@pytest.mark.parametrize(
    "add",
    [
        lambda families: families.add("journal_bites", (), 1),
        lambda families: families.histogram("journal_bytes", (), ((), (0,), 0.0)),
    ],
)
def test_an_undeclared_name_is_a_bug(add):
    with pytest.raises(KeyError):
        add(Families())
