"""What a late price moves: a record counts where it stands now, not where it was booked.

Sums are kept by currency, and a record that nothing prices has none. When an adjustment prices it,
all that was booked for it before is taken back from the line that it was on (`side` -1) and put on
the line of the price (`side` 1), and it is unpriced no more. So no line has money without requests.
Roll-ups do so when the adjustment is booked, and what is summed from records does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNPRICED = "unpriced_requests"

# `p` is the first row of a record's that has a cost, and no usage itself; `e` is one before it.
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
    """A query for what late prices moved, as rows of the columns given.

    `where` chooses the prices, whose table it calls `{row}`; the columns are those of the rows
    moved.
    """
    columns = [
        *extra,
        *("line AS currency" if name == "currency" else name for name in groups),
        *(shown(name, f"{_weight(name)} * ({expression})") for name, expression in sums),
    ]
    return f"SELECT {', '.join(columns)} FROM ({_MOVED.format(where=where.format(row='p'))}) AS records"


def counted(
    extra: Sequence[str],
    groups: Sequence[str],
    sums: Sequence[tuple[str, str]],
    shown: Shown,
    where: str,
) -> str:
    """The same for the records themselves, and what late prices moved of them."""
    columns = [*extra, *groups, *(shown(name, expression) for name, expression in sums)]
    booked = f"SELECT {', '.join(columns)} FROM records WHERE {where.format(row='records')}"
    return f"{booked} UNION ALL {moved(extra, groups, sums, shown, where)}"


def _weight(name: str) -> str:
    return "(side - 1) / 2" if name == UNPRICED else "side"
