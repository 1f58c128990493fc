"""Counts and money for people."""

import pytest

from proxy.cli import formats


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (1_500_000_000, "1.50"),
        (1_000_000_000, "1.00"),
        (123_456_789_012_345_678, "123,456,789.012345678"),
        (-1, "-0.000000001"),
        (-1_250_000_000, "-1.25"),
        (2**63, "9,223,372,036.854775808"),
    ],
)
def test_money_is_exact(nano, text):
    assert formats.money(nano) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1023.9 KiB"),
        (2**20, "1.0 MiB"),
        (5 * 2**40, "5.0 TiB"),
    ],
)
def test_sizes(number, text):
    assert formats.size(number) == text


def test_unknown_is_a_dash_and_zero_is_zero():
    assert (formats.text(None), formats.text(0), formats.text("")) == ("–", "0", "")


def test_names_are_sorted_as_people_count():
    names = ["ci-10", "CI-9", "ci-2", "b", "ci", "ci-2-x", "10", "9", "ci-02"]
    assert sorted(names, key=formats.natural) == [
        "9", "10", "b", "ci", "ci-02", "ci-2", "ci-2-x", "CI-9", "ci-10",
    ]  # fmt: skip


def test_a_time_says_its_zone():
    assert formats.moment(0) == "1970-01-01 00:00 UTC" and formats.moment(None) == "–"
