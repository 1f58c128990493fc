"""What a late price moves: a record counts under the currency that it has now.

Sums are kept by currency, and a record without a price has none. When an adjustment prices it, all
that was booked for it before is taken back from the line without a currency (`side` -1) and put on
the line of the price (`side` 1). It is no longer unpriced. So no line has money without requests.
Roll-ups do this when the adjustment is booked, and sums over records do it when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

UNPRICED = "unpriced_requests"

# `p` is the first row of a record that has a cost, if that is an adjustment; `e` is an earlier row.
_MOVED = """
SELECT e.*, side, CASE side WHEN 1 THEN p.currency ELSE e.currency END AS line
FROM {table} AS p {join} {table} AS e ON {of_one_record}
CROSS JOIN (SELECT -1 AS side UNION ALL SELECT 1){sides}
WHERE p.adjusts IS NOT NULL AND p.cost_nano IS NOT NULL AND {where} AND NOT EXISTS
(SELECT 1 FROM {table} AS x WHERE {of_another} AND x.cost_nano IS NOT NULL)"""

Shown = Callable[[str, str], str]  # how a sum's name and expression become a column


def by_name(name: str, expression: str) -> str:
    """A sum as one column with its name."""
    return f"{expression} AS {name}"


class Columns(msgspec.Struct, frozen=True):
    """The columns of a query for booked rows, in their order.

    extra · each as SQL, with its name    groups · the names of columns
    sums · the name and the expression of each; `shown` makes columns of them
    """

    extra: Sequence[str]
    groups: Sequence[str]
    sums: Sequence[tuple[str, str]]
    shown: Shown = by_name


class BookedRows(msgspec.Struct, frozen=True):
    """Where a query finds booked rows, and how it tells that one came before another.

    `before` says it of `{row}` and `p`. `sides` names a query in parentheses, where a database
    demands a name.
    """

    table: str = "records"
    before: str = "{row}.seq < p.seq"
    join: str = "CROSS JOIN"  # SQLite goes through the prices first then
    sides: str = ""

    def of_one_record(self, row: str) -> str:
        """The condition that `row` is an earlier one of the record that `p` prices."""
        return f"({row}.id = p.adjusts OR {row}.adjusts = p.adjusts) AND " + self.before.format(
            row=row
        )


BY_SEQ: Final = BookedRows()


def moved(asked: Columns, where: str, booked: BookedRows = BY_SEQ) -> str:
    """A query for what late prices moved, as rows of the columns that are asked for.

    `where` chooses the rows with the prices; it calls their table `{row}`. The columns are taken
    from the rows that moved.
    """
    columns = [
        *asked.extra,
        *("line AS currency" if name == "currency" else name for name in asked.groups),
        *(asked.shown(name, f"{_weight(name)} * ({sum_of})") for name, sum_of in asked.sums),
    ]
    rows = _MOVED.format(
        table=booked.table,
        join=booked.join,
        sides=booked.sides,
        of_one_record=booked.of_one_record("e"),
        of_another=booked.of_one_record("x"),
        where=where.format(row="p"),
    )
    return f"SELECT {', '.join(columns)} FROM ({rows}) AS records"


def counted(
    asked: Columns, where: str, booked: BookedRows = BY_SEQ, table: str | None = None
) -> str:
    """A query for the records themselves, and for what late prices moved of them.

    `table` names the table of the records themselves; None: it is that of `booked`.
    """
    columns = [*asked.extra, *asked.groups, *(asked.shown(*of) for of in asked.sums)]
    table = booked.table if table is None else table
    named = table if table == "records" else f"{table} AS records"
    rows = f"SELECT {', '.join(columns)} FROM {named} WHERE {where.format(row='records')}"
    return f"{rows} UNION ALL {moved(asked, where, booked)}"


def _weight(name: str) -> str:
    return "(side - 1) / 2" if name == UNPRICED else "side"
