"""A record priced anew: what is booked, in which currency, how often, and what its corrections have
to do with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pricing.amounts import Priced
from proxy.core.records.corrections import late_close
from proxy.core.records.repricing import Verdict, reprice, standing
from proxy.core.usage import Outcome, UsageRecord
from tests.ledger.samples import START_MS, make_id, make_record
from tests.support.effort import examples

BOOKED = make_record(
    0,
    cost_nano=1000,
    charge_nano=1100,
    currency="USD",
    price_version="v1",
    price_model="m",
    price_currency="USD",
    cost_original_nano=1000,
)


def prices(cost: int | None, charge: int | None = None, **changes: Any) -> Priced:
    """New amounts in dollars, of the version v2 unless told otherwise; the charge is the cost if
    there is none."""
    fields = {
        "currency": "USD",
        "price_version": "v2",
        "price_model": "m*",
        "price_currency": "USD",
        "cost_original_nano": cost,
    } | changes
    return Priced(cost_nano=cost, charge_nano=cost if charge is None else charge, **fields)


def adjusted(
    booked: UsageRecord, corrections: list[UsageRecord], priced: Priced
) -> UsageRecord | None:
    return reprice(booked, corrections, standing(booked, corrections), priced).adjustment


# booked cost and charge, new ones -> verdict, differences
@pytest.mark.parametrize(
    ("before", "after", "verdict", "differences"),
    [
        ((1000, 1100), (1000, 1100), "unchanged", None),
        ((1000, 1100), (700, 770), "adjusted", (-300, -330)),
        ((1000, 1100), (1000, 1200), "adjusted", (0, 100)),
        ((1000, 1100), (0, 0), "adjusted", (-1000, -1100)),
        ((None, None), (700, 770), "adjusted", (700, 770)),
        ((None, None), (0, 0), "adjusted", (0, 0)),
        ((0, 0), (0, 0), "unchanged", None),
        ((1000, None), (1000, 1100), "adjusted", (0, 1100)),
        ((1000, 1100), (None, None), "unpriced", None),
        ((None, None), (None, None), "unpriced", None),
    ],
)
def test_the_difference_is_booked(
    before: tuple[int | None, int | None],
    after: tuple[int | None, int | None],
    verdict: str,
    differences: object,
) -> None:
    currency = None if before == (None, None) else "USD"
    booked = make_record(0, cost_nano=before[0], charge_nano=before[1], currency=currency)
    found = reprice(
        booked, [], booked, Priced(after[0], after[1], None if after[0] is None else "USD", "v2")
    )
    assert found.verdict == verdict
    assert differences == (
        None
        if found.adjustment is None
        else (found.adjustment.cost_nano, found.adjustment.charge_nano)
    )


def test_it_counts_where_the_record_counts_and_is_about_money_alone() -> None:
    booked = make_record(
        0,
        cost_nano=1000,
        charge_nano=1100,
        currency="USD",
        cached_tokens=64,
        upstream_cost_nano=5,
        bytes_out=None,
        end_user="u",
        tags={"a": "b"},
    )
    adjustment = adjusted(booked, [], prices(700, fx_rate="0.14"))
    assert adjustment is not None
    assert (adjustment.kind, adjustment.adjusts, adjustment.reason, adjustment.origin) == (
        "adjustment",
        booked.id,
        "rerate",
        "rerate",
    )
    same = (
        "started_at_ms",
        "key_id",
        "team",
        "labels",
        "end_user",
        "tags",
        "endpoint",
        "upstream",
        "model_requested",
        "model_served",
        "stream",
        "status",
        "outcome",
        "source",
    )
    assert [name for name in same if getattr(adjustment, name) != getattr(booked, name)] == []
    counts = (
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
        "bytes_in",
        "bytes_out",
        "chunks",
        "upstream_cost_nano",
        "usage_raw",
    )
    assert [getattr(adjustment, name) for name in counts] == [0, 0, 0, None, 0, None, 0, 0, None]
    assert (
        adjustment.price_version,
        adjustment.price_model,
        adjustment.price_currency,
        adjustment.fx_rate,
    ) == ("v2", "m*", "USD", "0.14")
    assert adjustment.id[:13] == booked.id[:13] and adjustment.id != booked.id


@pytest.mark.parametrize(
    ("was", "becomes", "difference"),
    [
        (("USD", 1000), ("USD", 700), -300),
        (("CNY", 7000), ("USD", 700), None),
        ((None, None), ("CNY", 5000), 5000),
        (("USD", 1000), ("USD", None), None),
    ],
)
def test_the_amount_before_exchange_is_compared_in_its_own_currency_only(
    was: tuple[Any, Any], becomes: tuple[Any, Any], difference: int | None
) -> None:
    booked = make_record(
        0,
        cost_nano=1000,
        charge_nano=1000,
        currency="USD",
        price_currency=was[0],
        cost_original_nano=was[1],
    )
    adjustment = adjusted(
        booked, [], prices(700, price_currency=becomes[0], cost_original_nano=becomes[1])
    )
    assert adjustment is not None and adjustment.cost_original_nano == difference


def test_amounts_of_two_currencies_are_left_alone() -> None:
    found = reprice(BOOKED, [], BOOKED, prices(900, currency="EUR"))
    assert (found.verdict, found.adjustment) == (Verdict.OTHER_CURRENCY, None)


def test_a_repetition_finds_nothing_and_each_step_back_and_forth_is_a_new_one() -> None:
    corrections: list[UsageRecord] = []
    for version, cost in [
        ("v2", 700),
        ("v2", 700),
        ("v1", 1000),
        ("v2", 700),
        ("v2", 700),
        ("v3", 700),
    ]:
        adjustment = adjusted(BOOKED, corrections, prices(cost, cost, price_version=version))
        again = adjusted(BOOKED, corrections, prices(cost, cost, price_version=version))
        assert again == adjustment, "the same step has the same id"
        if adjustment is not None:
            corrections.append(adjustment)
    assert [(record.price_version, record.cost_nano) for record in corrections] == [
        ("v2", -300),
        ("v1", 300),
        ("v2", -300),
    ]
    assert len({record.id for record in corrections}) == 3


def test_what_is_priced_is_the_record_as_it_stands() -> None:
    """A late close took 512 tokens back to 20 and knows the model that answered."""
    booked = make_record(
        0,
        output_tokens=512,
        model_served=None,
        outcome=Outcome.INTERRUPTED,
        cost_nano=5120,
        charge_nano=5120,
        currency="USD",
    )
    late = make_record(
        0,
        output_tokens=20,
        model_served="m-1",
        service_tier="flex",
        cost_nano=200,
        charge_nano=200,
        currency="USD",
    )
    close = late_close(booked, [], late)
    now = standing(booked, [close])
    assert (
        now.id,
        now.kind,
        now.adjusts,
        now.output_tokens,
        now.model_served,
        now.service_tier,
        now.cost_nano,
    ) == (booked.id, "usage", None, 20, "m-1", "flex", 200)
    adjustment = adjusted(booked, [close], prices(100))
    assert adjustment is not None and adjustment.cost_nano == -100
    # and a late close that comes behind a rerating: its own difference knows nothing of it, and the
    # next run mends that
    first = adjusted(booked, [], prices(2560))
    assert first is not None and first.cost_nano == -2560
    later = standing(booked, [first, close])
    assert (later.output_tokens, later.cost_nano) == (20, 200 - 2560)
    mended = adjusted(booked, [first, close], prices(100))
    assert mended is not None and mended.cost_nano == 100 - (200 - 2560)


def test_a_record_without_corrections_stands_as_it_is() -> None:
    assert standing(BOOKED, []) is BOOKED


@settings(max_examples=examples(300))
@given(st.data())
def test_whatever_came_before_the_sum_is_what_the_prices_say(data: st.DataObject) -> None:
    amount = st.none() | st.integers(0, 10**12)
    cost = data.draw(amount)
    booked = make_record(
        0,
        output_tokens=data.draw(st.none() | st.integers(0, 999)),
        cost_nano=cost,
        charge_nano=cost,
        currency=None if cost is None else "USD",
    )
    corrections: list[UsageRecord] = []
    tokens = booked.output_tokens
    for step in range(data.draw(st.integers(0, 6))):
        if data.draw(st.booleans()):
            new, tokens = data.draw(amount), data.draw(st.integers(0, 999))
            late = make_record(
                0,
                output_tokens=tokens,
                cost_nano=new,
                charge_nano=new,
                currency=None if new is None else "USD",
                duration_ms=step,
            )
            corrections.append(
                late_close(
                    booked,
                    [record for record in corrections if record.reason == "late_close"],
                    late,
                )
            )
        elif (
            adjustment := adjusted(
                booked,
                corrections,
                prices(data.draw(st.integers(0, 10**12)), price_version=f"v{step}"),
            )
        ) is not None:
            corrections.append(adjustment)
    assert standing(booked, corrections).output_tokens == tokens
    final = data.draw(st.integers(0, 10**12))
    if (
        adjustment := adjusted(booked, corrections, prices(final, price_version="final"))
    ) is not None:
        corrections.append(adjustment)
    assert (
        sum(record.cost_nano for record in (booked, *corrections) if record.cost_nano is not None)
        == final
    )
    assert len({make_id(0), *(record.id for record in corrections)}) == len(corrections) + 1
    assert {record.started_at_ms for record in corrections} <= {START_MS}
