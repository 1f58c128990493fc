"""Usage as csv and JSON: the sums of each group, then a total for each currency.

Each amount stands there twice: exact integers in nano-units for programs, and decimals in units of
the currency for people. `row` tells a total from a group, since a group's names may be unknown too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from proxy.accounting.export.records import harmless
from proxy.core.money import decimal
from proxy.ledger.reading import UsageRow

DECIMALS = {"cost": "cost_nano", "charge": "charge_nano"}
GROUP, TOTAL = "group", "total"

# The columns behind the groups' names.
COLUMNS = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "searches",
    "cost_nano",
    "charge_nano",
    "cost",
    "charge",
    "currency",
    "reported_requests",
    "unpriced_requests",
    "inconsistent_requests",
    "row",
)


def with_totals(rows: Sequence[UsageRow], by: Sequence[str]) -> list[UsageRow]:
    """The rows with their decimals, then the totals; without groups the rows are the totals."""
    if not by:
        return [_whole(row, TOTAL) for row in rows]
    return [_whole(row, GROUP) for row in rows] + [_whole(row, TOTAL) for row in totals(rows, by)]


def totals(rows: Sequence[UsageRow], by: Sequence[str]) -> list[UsageRow]:
    """One row for each currency, sorted by it.

    Unknown counts are skipped; where all are unknown, so is the sum.
    """
    found: dict[str | int | None, UsageRow] = {}
    for row in rows:
        total = found.setdefault(
            row["currency"], dict.fromkeys((*by, *row), None) | {"currency": row["currency"]}
        )
        for name, value in row.items():
            if isinstance(value, int) and name not in by:
                known = total[name]
                total[name] = value + known if isinstance(known, int) else value
    return [
        found[currency]
        for currency in sorted(found, key=lambda name: (name is not None, str(name)))
    ]


def as_csv(rows: Sequence[UsageRow], by: Sequence[str], columns: Sequence[str] = COLUMNS) -> bytes:
    """One line a row under a head, in UTF-8, with these of COLUMNS.

    An unknown value is an empty field. No cell is a formula.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(harmless, (*by, *columns)))
    writer.writerows(
        [_cell(name, row) for name in (*by, *columns)] for row in with_totals(rows, by)
    )
    return out.getvalue().encode()


def _cell(name: str, row: UsageRow) -> str | int | None:
    value = row[name]
    return harmless(value) if isinstance(value, str) and name not in DECIMALS else value


def _whole(row: UsageRow, kind: str) -> UsageRow:
    """The row with all columns, in their order."""
    amounts = {name: row[nano] for name, nano in DECIMALS.items()}
    decimals = {
        name: decimal(nano) if isinstance(nano, int) else None for name, nano in amounts.items()
    }
    groups = {name: value for name, value in row.items() if name not in COLUMNS}
    every = row | decimals | {"row": kind}
    return groups | {name: every[name] for name in COLUMNS}
