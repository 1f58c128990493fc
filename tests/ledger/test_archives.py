"""Which archives a question needs, and which may hold a record."""

from __future__ import annotations

import msgspec
import pytest

from proxy.ledger.archives import FORCEABLE, Archive, MonthState, MonthTotals, may_hold, needed
from tests.ledger.samples import make_id

FIRST = Archive(
    month="2026-10",
    first_seq=1,
    last_seq=10,
    first_start_ms=1000,
    last_start_ms=2000,
    archived_at_ms=9000,
    root="0" * 64,
    hash="0" * 64,
    file="ledger-2026-10.parquet",
    bytes=1,
    sha256="0" * 64,
    totals=MonthTotals(10, 0, 1, 1, {}, {}),
)
SECOND = msgspec.structs.replace(
    FIRST, month="2026-11", first_seq=11, last_seq=20, first_start_ms=1900, last_start_ms=3000
)
BOTH = [FIRST, SECOND]


@pytest.mark.parametrize(
    ("after", "from_ms", "to_ms", "months"),
    [
        (0, None, None, "2026-10, 2026-11"),
        (9, None, None, "2026-10, 2026-11"),
        (10, None, None, "2026-11"),
        (20, None, None, None),
        (0, 3001, None, None),
        (0, 3000, None, "2026-11"),
        (0, 2001, None, "2026-11"),
        (0, None, 1000, None),
        (0, None, 1001, "2026-10"),
        (0, 2500, 2600, "2026-11"),
        (20, 0, 9999, None),
    ],
)
def test_a_question_needs_the_archives_that_its_stretch_reaches(
    after: int, from_ms: int | None, to_ms: int | None, months: str | None
) -> None:
    said = needed(BOTH, after, from_ms, to_ms)
    if months is None:
        assert said is None
        return
    assert said is not None and f"of {months} are" in said[0]
    assert said[1] == (SECOND if "2026-11" in months else FIRST).last_start_ms


def test_a_record_is_looked_for_by_the_time_in_its_id() -> None:
    assert may_hold(BOTH, make_id(1, 1500)) == [FIRST]
    assert may_hold(BOTH, make_id(1, 1950)) == BOTH
    assert may_hold(BOTH, make_id(1, 9000)) == BOTH, "an adjustment has another time"
    assert may_hold(BOTH, "no id") == BOTH and may_hold([], make_id(1)) == []


def test_a_month_with_a_request_of_a_later_year_stays_and_says_why() -> None:
    """Archived, it would stand against each question of a time before that year."""
    state = MonthState(
        first_ms=1,
        last_ms=2_000_000_000_000,
        last_seq=5,
        book_end=9,
        unpriced=0,
        is_corrected=False,
        is_closed=True,
    )
    [told] = state.obstacles(1_900_000_000_000, FORCEABLE)
    assert told.startswith("a request of it started on 2033-05-18, which is yet to come")
    [told] = state.obstacles(2_000_000_000_001)
    assert "limits may still count it" in told
