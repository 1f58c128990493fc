"""The bill's lines as sums, and what stands beside them."""

from __future__ import annotations

import pytest

from proxy.accounting.reconciling import bill_side
from proxy.accounting.reconciling.bill_side import BillSide
from proxy.accounting.reconciling.spill import Spill
from proxy.core.reconciling.line_reader import UnreadableBill
from proxy.core.reconciling.lines import Level, VendorLine
from proxy.core.reconciling.moments import Width
from tests.accounting.reconciling.books import DAY_MS, NOVEMBER_MS, UTC


def line(n: int = 0, width: Width = Width.MOMENT, **says: object) -> VendorLine:
    return VendorLine(n, NOVEMBER_MS + n * DAY_MS, width, **says)  # type: ignore[arg-type]


def side(*lines: VendorLine, currency: str | None = None) -> BillSide:
    with Spill() as spill:
        found = BillSide(spill, currency, UTC)
        found.read(lines)
        return found


def test_a_fee_of_no_model_is_set_aside_where_models_are_named() -> None:
    fee = [line(n, Width.DAY, item="search", amount_nano=5) for n in range(2)]
    named = side(line(model="a", amount_nano=7), *fee, line(item="input", amount_nano=1))
    assert named.other["search"].count == 2 and named.other["search"].billed_nano == 10
    assert sum(sums.amount_nano or 0 for sums in named.sums.values()) == 8
    unnamed = side(line(amount_nano=7), *fee)
    assert not unnamed.other and sum(sums.amount_nano or 0 for sums in unnamed.sums.values()) == 17


def test_times_that_are_all_of_midnight_are_days() -> None:
    """As pandas and spreadsheets write a date: `2026-11-01 00:00:00`."""
    found = side(line(0, model="a", amount_nano=5), line(1, model="a", amount_nano=7))
    assert found.level() is Level.DAY
    assert [(key[1], sums.requests) for key, sums in found.sums.items()] == [(Width.DAY, None)] * 2
    one = VendorLine(3, NOVEMBER_MS + 1, Width.MOMENT, model="a")
    mixed = side(line(0, model="a"), one)
    assert mixed.level() is Level.HOUR and mixed.sums.popitem()[1].requests == 2


def test_a_line_of_a_part_of_a_month_covers_that_part() -> None:
    tenth = NOVEMBER_MS + 10 * DAY_MS
    assert side(line(0, Width.MONTH, end_ms=tenth)).span == (NOVEMBER_MS, tenth)
    assert side(line(0, Width.MONTH)).span == (NOVEMBER_MS, NOVEMBER_MS + 30 * DAY_MS)
    with pytest.raises(UnreadableBill, match="line 3 covers the end of one month and a part of"):
        side(line(3, Width.MONTH, end_ms=NOVEMBER_MS + 31 * DAY_MS))


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ([line(id="a"), line(id="b")], Level.REQUEST),
        ([line(id="a"), line(width=Width.HOUR)], Level.HOUR),
        ([line(id="a"), line()], Level.DAY),
        ([line(), line(width=Width.HOUR)], Level.HOUR),
        ([line(), line(width=Width.DAY)], Level.DAY),
        ([line(width=Width.MONTH), line(width=Width.DAY)], Level.MONTH),
    ],
)
def test_the_coarsest_line_decides_how_fine_the_bill_is(
    lines: list[VendorLine], level: Level
) -> None:
    assert side(*lines).level() is level


def test_what_no_request_makes_and_other_currencies_stand_apart() -> None:
    found = side(
        line(amount_nano=5, currency="USD"),
        line(amount_nano=-9, currency="USD", item="credit", asks=False),
        line(amount_nano=7, currency="CNY"),
        currency="USD",
    )
    assert found.other["credit"].billed_nano == -9
    assert found.left_out["lines in CNY"].billed_nano == 7
    assert found.lines == 1 and found.currencies == {"USD"}


def test_the_smallest_step_of_the_file_is_its_precision() -> None:
    assert (
        side(
            line(amount_nano=5, unit_nano=1000),
            line(amount_nano=6, unit_nano=10),
            line(amount_nano=0, unit_nano=1),
        ).unit_nano
        == 10
    )


def test_days_that_begin_at_a_half_hour_are_refused_with_what_to_do() -> None:
    found = side(
        *(VendorLine(n, NOVEMBER_MS + n * DAY_MS - 19_800_000, Width.DAY) for n in range(3))
    )
    with pytest.raises(UnreadableBill, match=r"1110 minutes after .* such as Asia/Kolkata"):
        found.moved()


def test_a_bill_without_lines_and_one_with_too_many_sums_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnreadableBill, match="no line of a request"):
        side()
    monkeypatch.setattr(bill_side, "PAIRS_MAX", 2)
    with pytest.raises(UnreadableBill, match="add --level day"):
        side(*(line(n) for n in range(3)))
