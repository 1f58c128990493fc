"""The text format, read back by prometheus_client's own parser."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.exposition import Histogram, Page, Spec, nano, pairs

SPECS = (
    Spec("a_total", "counter", ("x", "y"), "things", 'Counts "things" \\ and\nmore.'),
    Spec("b_seconds", "histogram", ("x",), "seconds", "Times."),
    Spec("c", "gauge", (), "things", "Now."),
)


def read(page: Page) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = page.encode().decode()
    return {(sample.name, tuple(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.mark.parametrize("label", ["plain", "", 'quo"te', "back\\slash", "new\nline", "\\n", '\\"', "{a=b}", "表 中文", "a b, c"])
def test_labels_come_back_as_they_were(label):
    page = Page(SPECS, "t_")
    page.counts("a_total", ("x", "y"), {(label, 200): 7})
    assert read(page) == {("t_a_total", (("x", label), ("y", "200"))): 7}


def test_help_and_type_precede_the_samples_in_the_order_of_the_specs():
    page = Page(SPECS, "t_")
    page.add("c", "", 3)
    page.add("a_total", pairs(("x", "y"), ("1", "2")), 4)
    families = {family.name: family for family in text_string_to_metric_families(page.encode().decode())}
    assert {name: (family.type, family.documentation) for name, family in families.items()} == {
        "t_a": ("counter", SPECS[0].meaning), "t_b_seconds": ("histogram", "Times."), "t_c": ("gauge", "Now."),
    }
    lines = page.encode().decode().splitlines()
    assert lines.index('t_a_total{x="1",y="2"} 4') < lines.index("# TYPE t_b_seconds histogram") < lines.index("t_c 3")


def test_a_histogram_is_cumulative_and_its_bounds_belong_to_their_bucket():
    timer = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 2.0):
        timer.observe(seconds)
    page = Page(SPECS, "t_")
    page.histogram("b_seconds", pairs(("x",), ("up",)), timer.snapshot())
    assert {(name, dict(labels).get("le")): value for (name, labels), value in read(page).items()} == {
        ("t_b_seconds_bucket", "0.1"): 2, ("t_b_seconds_bucket", "1.0"): 3, ("t_b_seconds_bucket", "+Inf"): 4,
        ("t_b_seconds_sum", None): pytest.approx(2.65), ("t_b_seconds_count", None): 4,
    }


def test_a_histogram_without_labels():
    page = Page(SPECS, "t_")
    page.histogram("b_seconds", "", Histogram((math.pi,)).snapshot())
    assert read(page)["t_b_seconds_bucket", (("le", str(math.pi)),)] == 0


@pytest.mark.parametrize(
    ("value_nano", "written"),
    [(0, "0.000000000"), (1, "0.000000001"), (1_500_000_000, "1.500000000"), (-1, "-0.000000001"), (2**60 + 1, "1152921504.606846977")],
)
def test_money_is_exact(value_nano, written):
    assert nano(value_nano) == written


def test_a_name_that_utf8_cannot_carry_does_not_cost_the_page():
    page = Page(SPECS, "t_")
    page.counts("a_total", ("x", "y"), {("\ud800", "y"): 1})
    assert len(read(page)) == 1


def test_an_undeclared_name_is_a_bug():
    with pytest.raises(KeyError):
        Page(SPECS, "t_").add("d", "", 1)
