"""What a stretch is narrowed to, without a database."""

from __future__ import annotations

import pytest

from proxy.ledger import LedgerError
from proxy.ledger.reading import Stretch
from proxy.ledger.stretches import END_MS, FIRST_MS, narrowed, times


def test_open_and_far_times_are_those_that_a_database_holds() -> None:
    far = 10**25
    assert times(Stretch(through=1)) == (FIRST_MS, END_MS)
    assert times(Stretch(through=1, from_ms=-far, to_ms=far)) == (FIRST_MS, END_MS)
    assert times(Stretch(through=1, from_ms=far, to_ms=-far)) == (END_MS, FIRST_MS)
    assert times(Stretch(through=1, from_ms=3, to_ms=4)) == (3, 4)


def test_the_book_is_asked_only_where_a_time_is_named() -> None:
    def never(_from_ms: int, _to_ms: int) -> tuple[int | None, int | None]:
        raise AssertionError("it reads much of the book")

    assert narrowed(Stretch(after=2, through=8), 8, never) == Stretch(after=2, through=8)
    with pytest.raises(LedgerError, match=r"ends at seq 8, before 9.*older copy"):
        narrowed(Stretch(through=9, from_ms=1), 8, never)


@pytest.mark.parametrize(
    ("found", "after", "through"),
    [
        ((1, 9), 2, 8),
        ((4, 6), 3, 6),
        ((3, 8), 2, 8),
        ((8, 8), 7, 8),
        ((9, 9), 8, 8),
        ((1, 2), 8, 8),
        ((None, None), 8, 8),
    ],
)
def test_it_ends_where_the_records_do(
    found: tuple[int | None, int | None], after: int, through: int
) -> None:
    near = narrowed(Stretch(after=2, through=8, from_ms=1), 10, lambda _from, _to: found)
    assert (near.after, near.through) == (after, through)
