"""What a different record under a known id comes to."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.limits.decisions import Used
from proxy.core.records.corrections import (
    is_weaker,
    late_close,
    late_close_id,
    same,
    total,
    used_by,
)
from proxy.core.usage import Outcome, Source, UsageRecord
from tests.ledger.samples import START_MS, make_id, make_record

BOOKED = make_record(
    input_tokens=100,
    output_tokens=512,
    chunks=3,
    bytes_out=900,
    outcome=Outcome.INTERRUPTED,
    source=Source.ESTIMATED,
)


# booked, late -> adjustment: a difference where both are known, the late number where it is the
# first, nothing where it is unknown
@pytest.mark.parametrize(
    ("name", "booked", "late", "adjustment"),
    [
        ("output_tokens", 512, 300, -212),
        ("output_tokens", 512, 700, 188),
        ("output_tokens", 512, 512, 0),
        ("cached_tokens", None, 40, 40),
        ("cached_tokens", None, 0, 0),
        ("cached_tokens", 40, None, None),
        ("reasoning_tokens", None, None, None),
        ("cost_nano", 1_000, 400, -600),
        ("charge_nano", None, 700, 700),
        ("bytes_out", 900, 1000, 100),
        ("chunks", 3, 2, -1),
    ],
)
def test_numbers_become_differences(
    name: str, booked: int | None, late: int | None, adjustment: int | None
) -> None:
    change: dict[str, Any] = {name: late}
    before: dict[str, Any] = {name: booked}
    correction = late_close(make_record(**before), [], make_record(**change))
    assert getattr(correction, name) == adjustment


def test_it_counts_where_the_booked_record_counts_and_tells_what_the_late_one_says() -> None:
    late = make_record(
        started_at_ms=START_MS + 3_600_000, key_id="bob", team="other", upstream="elsewhere", model_requested="x", model_served="deepseek-v3.2-0601",
        duration_ms=9000, status=200, finish_reason="length",
    )  # fmt: skip
    correction = late_close(BOOKED, [], late)
    assert (correction.kind, correction.adjusts, correction.reason) == (
        "adjustment",
        BOOKED.id,
        "late_close",
    )
    for name in (
        "started_at_ms",
        "key_id",
        "team",
        "upstream",
        "model_requested",
        "labels",
        "end_user",
        "endpoint",
    ):
        assert getattr(correction, name) == getattr(BOOKED, name), name
    for name in ("model_served", "duration_ms", "finish_reason", "outcome", "source"):
        assert getattr(correction, name) == getattr(late, name), name


def test_a_third_version_corrects_what_the_first_two_come_to() -> None:
    second = late_close(BOOKED, [], make_record(output_tokens=600))
    third = late_close(BOOKED, [second], make_record(output_tokens=550))
    assert [second.output_tokens, third.output_tokens] == [88, -50]


def test_amounts_of_two_currencies_are_not_subtracted() -> None:
    correction = late_close(
        make_record(cost_nano=5, currency="USD"), [], make_record(cost_nano=4, currency="EUR")
    )
    assert (correction.cost_nano, correction.currency, correction.inconsistent) == (
        None,
        "USD",
        True,
    )


def test_a_price_known_late_brings_its_currency() -> None:
    correction = late_close(
        make_record(), [], make_record(cost_nano=4, charge_nano=5, currency="EUR")
    )
    assert (correction.cost_nano, correction.charge_nano, correction.currency) == (4, 5, "EUR")


@pytest.mark.parametrize(("late", "cost"), [(5, -2), (7, 0), (None, None)])
def test_a_rerating_that_gave_the_first_amount_is_not_counted_twice(
    late: int | None, cost: int | None
) -> None:
    """And whatever comes later stands in its currency."""
    priced = make_record(
        1,
        cost_nano=7,
        currency="USD",
        kind="adjustment",
        adjusts=make_id(0),
        reason="rerate: a price came late",
    )
    correction = late_close(
        make_record(),
        [priced],
        make_record(cost_nano=late, currency=None if late is None else "USD"),
    )
    assert (correction.cost_nano, correction.currency) == (cost, "USD")


def test_the_id_is_a_uuid7_that_only_the_late_record_decides() -> None:
    late = make_record(output_tokens=300)
    id = late_close_id(late)
    assert id == late_close_id(make_record(output_tokens=300))
    assert id[:13] == late.id[:13]
    assert (id[14], id[19] in "89ab", len(id), id.count("-")) == ("7", True, 36, 4)
    others = [
        late.id,
        late_close_id(make_record(output_tokens=301)),
        late_close_id(make_record(1, output_tokens=300)),
    ]
    assert id not in others


def test_an_id_of_another_shape_still_gives_an_id() -> None:
    assert len(late_close_id(make_record(id="from-elsewhere"))) == 36


@pytest.mark.parametrize(
    ("record", "alike"),
    [
        (make_record(), True),
        (make_record(labels={"cost_center": "4711"}), True),
        (make_record(output_tokens=21), False),
        (make_record(duration_ms=1201), False),
        (make_record(output_tokens=None), False),
    ],
)
def test_sameness_is_that_of_the_stored_fields(record: UsageRecord, alike: bool) -> None:
    assert same(make_record(id=make_id(0)), record) is alike


KNOWLEDGE = (  # weakest first: origin and source
    ("forgotten", Source.ESTIMATED),
    ("recovery", Source.PARTIAL),
    ("recovery", Source.ESTIMATED),
    ("proxy", Source.PARTIAL),
    ("proxy", Source.ESTIMATED),
    ("proxy", Source.COUNTED),
    ("recovery", Source.REPORTED),
    ("proxy", Source.REPORTED),
)


def test_what_knows_less_never_corrects_what_knows_more() -> None:
    made = [make_record(origin=origin, source=source) for origin, source in KNOWLEDGE]
    for rank, booked in enumerate(made):
        weaker = [is_weaker(late, booked) for late in made]
        assert weaker == [number < rank for number in range(len(made))], KNOWLEDGE[rank]


def test_a_total_of_what_is_known():
    assert total([1, None, 2]) == 3
    assert total([None]) is None and total([]) is None


def test_what_a_record_and_its_corrections_used_in_all() -> None:
    unknown = make_record(input_tokens=None, output_tokens=None, charge_nano=None)
    first = make_record(input_tokens=100, output_tokens=512, charge_nano=900)
    late = make_record(input_tokens=100, output_tokens=30, charge_nano=100)
    assert used_by(first) == Used(input_tokens=100, output_tokens=512, charge_nano=900)
    assert used_by(first, late_close(first, [], late)) == used_by(late)
    assert used_by(unknown) == Used()
