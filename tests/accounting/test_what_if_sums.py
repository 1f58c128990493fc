"""Sums of parts are the sum of the whole, and what is not known is not zero."""

from __future__ import annotations

from proxy.accounting.what_if_sums import WhatIfSum, together, totals

ONE = WhatIfSum("a", "m", "USD", 2, 5, 6, 7, 8, 0, 1)
UNKNOWN = WhatIfSum("a", "m", "USD", 3, None, None, None, None, 3, 3)
NO_TEAM = WhatIfSum(None, "m", None, 1, None, None, None, None, 1, 1)
EURO = WhatIfSum("a", None, "EUR", 1, 10, 10, None, None, 0, 1)


def test_parts_are_added_by_what_they_are_sums_of() -> None:
    assert together([[ONE, EURO], [UNKNOWN, NO_TEAM]]) == [
        NO_TEAM,
        EURO,
        WhatIfSum("a", "m", "USD", 5, 5, 6, 7, 8, 3, 4),
    ]
    assert ONE.requests == 2 and together([]) == []


def test_an_amount_that_no_part_knows_stays_unknown() -> None:
    [found] = together([[UNKNOWN], [UNKNOWN]])
    assert (found.cost_nano, found.would_cost_nano, found.unpriced) == (None, None, 6)


def test_totals_are_by_currency() -> None:
    assert [(each.currency, each.requests, each.team) for each in totals([ONE, NO_TEAM, EURO])] == [
        (None, 1, None),
        ("EUR", 1, None),
        ("USD", 2, None),
    ]


def test_a_difference_is_of_the_same_requests_or_none() -> None:
    assert (ONE.difference_nano, UNKNOWN.difference_nano) == (2, None)
    [both] = together([[ONE], [WhatIfSum("a", "m", "USD", 1, None, None, 9, 9, 1, 0, 1)]])
    assert (both.unpriced, both.would_be_unpriced, both.difference_nano) == (1, 1, None)
