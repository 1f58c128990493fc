"""Sums of the book as lines of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

# What a line is made of: no other sum is read for it.
LINE_SUMS: Final = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cost_nano",
    "charge_nano",
    "unpriced_requests",
    "reported_requests",
)


class UseLine(msgspec.Struct, frozen=True):
    """Sums of one day, model, key or team in one currency.

    `unpriced` requests are in no amount. Of `reported` ones the upstream stated all tokens.
    """

    label: str | None
    currency: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nano: int | None
    charge_nano: int | None
    unpriced: int
    reported: int


def use_lines(rows: Iterable[Mapping[str, Any]], name: str | None, currency: str) -> list[UseLine]:
    """One line for each label of this group and currency; without a group, for each currency.

    What has no price stands in the ledger's currency.
    """
    found: dict[tuple[str | None, str], UseLine] = {}
    for row in rows:
        place = (None if name is None else row[name], row["currency"] or currency)
        before = found.get(place) or UseLine(*place, 0, 0, 0, None, None, 0, 0)
        found[place] = UseLine(
            *place,
            before.requests + row["requests"],
            before.input_tokens + (row["input_tokens"] or 0),
            before.output_tokens + (row["output_tokens"] or 0),
            _sum(before.cost_nano, row["cost_nano"]),
            _sum(before.charge_nano, row["charge_nano"]),
            before.unpriced + (row["unpriced_requests"] or 0),
            before.reported + (row["reported_requests"] or 0),
        )
    return list(found.values())


def _sum(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return a if b is None else b
    return a + b


def most_first(line: UseLine) -> tuple[int, int]:
    """Sorts what was charged most, then what was asked most, to the front."""
    return (-(line.charge_nano or 0), -line.requests)
