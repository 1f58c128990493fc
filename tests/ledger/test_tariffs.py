"""How a long stretch is cut into pages of sums, whatever the database."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from proxy.core.pricing.linear import TOKENS_MAX, ZERO, Markup
from proxy.core.pricing.tariff import Bounds, Names
from proxy.ledger.tariffs import NAMES, NUMBERS, REST_MAX, Tariff, TariffSum, paged

TARIFF = Tariff(
    "v", "USD", Names("up", None, "m", "m", None), Bounds(5, 9, 0, 70), ZERO, ZERO, False
)


def cut(through: int, others: range, seqs_max: int = 4_096) -> list[tuple[int, int]]:
    """The end of each page, and how many rows it has beside its sums."""
    found = []
    for page in paged(
        0,
        through,
        seqs_max,
        lambda after, upto: [(-seq, 1) for seq in others if after < seq <= upto][::-1],
        lambda seqs: ([(str(seq),) for seq in seqs], [("corrections",)]),
    ):
        assert [row[0] for row in page.rows] == sorted((row[0] for row in page.rows), key=int)
        found.append((page.upto_seq, len(page.rows)))
    return found


def test_pages_grow_while_all_requests_have_a_tariff() -> None:
    assert cut(9_000, range(0)) == [
        (256, 0), (768, 0), (1_792, 0), (3_840, 0), (7_936, 0), (9_000, 0)
    ]  # fmt: skip  # in a row, to see them grow
    assert cut(0, range(0)) == [] and cut(1, range(1, 2)) == [(1, 1)]


def test_a_page_ends_at_the_last_row_that_fits() -> None:
    """However many have no tariff, and none is left out or comes twice."""
    pages = cut(10_000, range(1_000, 5_001))
    assert pages[-1][0] == 10_000 and sum(rows for _, rows in pages) == 4_001
    assert max(rows for _, rows in pages) == REST_MAX
    assert [upto for upto, _ in pages] == sorted({upto for upto, _ in pages})
    assert sum(rows for _, rows in cut(3_000, range(1, 3_001, 2))) == 1_500


def test_sums_are_integers_and_what_does_not_move_is_zero() -> None:
    answers = iter(
        [[(0, 3, Decimal(7), Decimal(9), None, None), (1, 2, None, None, Decimal(5), 6)]]
    )
    [page] = paged(0, 10, 100, lambda after, upto: next(answers), lambda seqs: ((), ()))
    assert page.sums == [TariffSum(0, 3, 7, 9, 0, 0), TariffSum(1, 2, None, None, 5, 6)]
    assert all(
        type(number) is int
        for each in page.sums
        for number in msgspec.structs.astuple(each)
        if number is not None
    )


def test_a_tariff_says_a_value_for_each_column() -> None:
    dearer = msgspec.structs.replace(ZERO, markup=Markup(3, 1, 1, 2), tokens_max=60, output_max=0)
    told = msgspec.structs.replace(TARIFF, would=dearer, moves=True)
    assert dict(zip(NAMES, told.texts(), strict=True))["upstream"] == "up"
    numbers = dict(zip(NUMBERS, told.numbers(), strict=True))
    assert (numbers["own_times"], numbers["would_times"], numbers["would_charge_of"]) == (
        None,
        3,
        2,
    )
    assert (numbers["upto"], numbers["output_max"], numbers["moves"]) == (60, 0, 1)
    assert dict(zip(NUMBERS, TARIFF.numbers(), strict=True))["output_max"] == TOKENS_MAX


def test_a_tariff_takes_what_is_within_its_bounds() -> None:
    assert [TARIFF.takes(ms, 1) for ms in (4, 5, 8, 9)] == [False, True, True, False]
    assert [TARIFF.takes(5, tokens) for tokens in (0, 1, 70, 71)] == [False, True, True, False]
