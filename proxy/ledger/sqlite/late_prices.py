"""What a late price moves: a record counts under the currency that it has now.

Sums are kept by currency, and a record without a price has none. When an adjustment prices it, all
that was booked for it before is taken back from the line without a currency (`side` -1) and put on
the line of the price (`side` 1). It is no longer unpriced. So no line has money without requests.
Roll-ups do this when the adjustment is booked, and sums over records do it when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNPRICED = "unpriced_requests"

# `p` is the first row of a record that has a cost, if that is an adjustment; `e` is an earlier row.
_OF_ONE_RECORD = "({row}.id = p.adjusts OR {row}.adjusts = p.adjusts) AND {row}.seq < p.seq"
_MOVED = f"""
SELECT e.*, side, CASE side WHEN 1 THEN p.currency ELSE e.currency END AS line
FROM records AS p CROSS JOIN records AS e ON {_OF_ONE_RECORD.format(row="e")}
CROSS JOIN (SELECT -1 AS side UNION ALL SELECT 1)
WHERE p.adjusts IS NOT NULL AND p.cost_nano IS NOT NULL AND {{where}} AND NOT EXISTS
(SELECT 1 FROM records AS x WHERE {_OF_ONE_RECORD.format(row="x")} AND x.cost_nano IS NOT NULL)"""

Shown = Callable[[str, str], str]  # how a sum's name and expression become a column


def moved(
    extra: Sequence[str],
    groups: Sequence[str],
    sums: Sequence[tuple[str, str]],
    shown: Shown,
    where: str,
) -> str:
    """A query for what late prices moved, as rows of the given columns.

    `where` chooses the rows with the prices; it calls their table `{row}`. The columns are taken
    from the rows that moved.
    """
    columns = [
        *extra,
        *("line AS currency" if name == "currency" else name for name in groups),
        *(shown(name, f"{_weight(name)} * ({expression})") for name, expression in sums),
    ]
    return (
        f"SELECT {', '.join(columns)} FROM ({_MOVED.format(where=where.format(row='p'))}) AS "
        "records"
    )


def counted(
    extra: Sequence[str],
    groups: Sequence[str],
    sums: Sequence[tuple[str, str]],
    shown: Shown,
    where: str,
) -> str:
    """A query for the records themselves, and for what late prices moved of them."""
    columns = [*extra, *groups, *(shown(name, expression) for name, expression in sums)]
    booked = f"SELECT {', '.join(columns)} FROM records WHERE {where.format(row='records')}"
    return f"{booked} UNION ALL {moved(extra, groups, sums, shown, where)}"


def _weight(name: str) -> str:
    return "(side - 1) / 2" if name == UNPRICED else "side"
