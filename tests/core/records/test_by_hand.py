"""Entries by hand: exact amounts, stable ids, and moves that cancel out."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.records.by_hand import (
    NOBODY,
    EnteredAmount,
    Entering,
    Moving,
    Whose,
    entry,
    exchanged,
    nano_of,
)
from proxy.core.records.canonical import MEASURE_MAX, MEASURES, Value, fitted, row_values
from proxy.core.usage import UsageRecord
from tests.ledger.samples import make_id, make_record
from tests.support.effort import examples

ORDER = Entering(name="rebate-11", stamp_ms=1_794_744_000_000, started_at_ms=5, reason="why")


def usd(nano: int | None) -> EnteredAmount:
    return EnteredAmount(cost_nano=nano, charge_nano=nano, currency="USD", original_nano=nano,
                 original_currency="USD")  # fmt: skip


def row(n: int, **changes: Any) -> list[Value]:
    return [*row_values(make_record(n, **changes), n + 1, 0), b"", b""]


@pytest.mark.parametrize(
    ("text", "nano"),
    [("12", 12 * 10**9), ("-12.50", -12_500_000_000), ("0.000000001", 1), ("-0.1", -(10**8))],
)
def test_an_amount_is_exact(text: str, nano: int) -> None:
    assert nano_of(text) == nano


@pytest.mark.parametrize(
    "text", ["", "+1", "1,5", "1e3", "1.0000000001", ".5", "5.", "١", " 1", "NaN", "9" * 11]
)
def test_what_is_no_amount_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write -12\.50"):
        nano_of(text)


@given(nano=st.integers(0, 10**12), rate=st.decimals("0.0001", "9999", places=4))
def test_an_exchange_is_rounded_once_half_up(nano: int, rate: Decimal) -> None:
    exact = (Decimal(nano) * rate).quantize(Decimal(1), ROUND_HALF_UP)
    assert exchanged(nano, str(rate)) == int(exact)
    assert exchanged(-nano, str(rate)) == -int(exact)


def test_an_entry_has_its_names_its_reason_and_no_request() -> None:
    whose = Whose(team="lab", upstream="openai", model="gpt-4o")
    [one] = entry(ORDER, whose, usd(-5))
    assert (one.kind, one.adjusts, one.reason, one.key_id) == ("adjustment", None, "why", NOBODY)
    assert (one.team, one.upstream, one.model_requested) == ("lab", "openai", "gpt-4o")
    assert (one.cost_nano, one.charge_nano, one.cost_original_nano, one.currency) == (
        -5,
        -5,
        -5,
        "USD",
    )
    assert (one.input_tokens, one.started_at_ms) == (None, 5)
    [again] = entry(ORDER, whose, usd(7))
    assert again.id == one.id, "the id is the order's"
    [other] = entry(Entering(name="x", stamp_ms=1, started_at_ms=5, reason="why"), whose, usd(7))
    assert other.id != one.id


@pytest.mark.parametrize("nano", [MEASURE_MAX, MEASURE_MAX + 1, -3 * MEASURE_MAX - 7])
def test_an_amount_that_no_column_holds_is_several_rows(nano: int) -> None:
    rows = entry(ORDER, Whose(), usd(nano))
    assert sum(one.charge_nano or 0 for one in rows) == nano
    assert all(fitted(one) == one for one in rows)
    assert len({one.id for one in rows}) == len(rows) == max(1, -(-abs(nano) // MEASURE_MAX))


NUMBERS = st.none() | st.integers(-(2**56), 2**56)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key_id": st.sampled_from(["alice", "bob"]),
            "labels": st.sampled_from([{}, {"cc": "1"}, {"cc": "2", "env": "x"}]),
            "model_requested": st.sampled_from([None, "m"]),
            "currency": st.sampled_from(["USD", "CNY"]),
            "cost_nano": NUMBERS,
            "charge_nano": NUMBERS,
            "input_tokens": NUMBERS,
        }
    ),
    max_size=6,
)


@settings(max_examples=examples(300), deadline=None)
@given(rows=ROWS, to_team=st.sampled_from([None, "lab", "research"]))
def test_a_move_takes_all_from_the_old_names_and_cancels_out(
    rows: list[dict[str, Any]], to_team: str | None
) -> None:
    moving = Moving(to_team, {"cc": "1"})
    booked = [row(n, **said) for n, said in enumerate(rows)]
    for one in booked:
        moving.add(one)
    pairs = list(moving.pairs(ORDER))
    for less, more in pairs:
        assert (less.key_id, less.upstream, less.currency) == (
            more.key_id,
            more.upstream,
            more.currency,
        )
        assert (more.team, more.labels["cc"]) == (to_team or "research", "1")
        for name in MEASURES:
            taken, put = getattr(less, name), getattr(more, name)
            assert (taken is None) == (put is None) and (taken or 0) + (put or 0) == 0
    moved = [one for pair in pairs for one in pair]
    assert len({one.id for one in moved}) == len(moved) and all(fitted(one) == one for one in moved)
    again = Moving(to_team, {"cc": "1"})
    for one in (*booked, *(_row(record) for record in moved)):
        again.add(one)
    assert list(again.pairs(ORDER)) == [], "nothing is left to move"


def _row(record: UsageRecord) -> list[Value]:
    return [*row_values(record, 1, 0), b"", b""]


def test_requests_and_those_without_a_price_are_counted() -> None:
    moving = Moving("lab", {})
    moving.add(row(0))
    moving.add(row(1))
    moving.add(row(2, kind="adjustment", adjusts=make_id(0), cost_nano=None))
    assert (moving.requests, moving.unpriced) == (2, 2)
    moving.add(row(3, kind="adjustment", adjusts=make_id(0), cost_nano=0))
    assert (moving.requests, moving.unpriced) == (2, 1)
