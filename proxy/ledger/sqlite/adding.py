"""Adds rows to a table of roll-ups: in one statement, or exactly where sums are beyond 63 bits.

SQLite refuses the statement there: `sum` raises, and + makes a float that no column takes. The rows
are then summed here, as numbers of any size, and what a column cannot hold is carried.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from proxy.ledger.sqlite.carried import UNIT, Key, Totals, added, parted
from proxy.ledger.sqlite.sums import GROUPS, HALF, MONEY, SUMS, Adding, of_halves, wide

Values: TypeAlias = Sequence[int] | Mapping[str, int]

_WRONG_TYPE: Final = 19 | 12 << 8  # SQLITE_CONSTRAINT_DATATYPE
_NAMES: Final = tuple(name for name, _ in SUMS)
_SHOWN: Final = ", ".join(_NAMES)
_GROUPS: Final = ", ".join(GROUPS)


def add(connection: sqlite3.Connection, adding: Adding, values: Values = ()) -> None:
    """Add the rows; `values` are those of the statement. Raises sqlite3.Error."""
    if adding.named is not None:
        connection.execute(adding.named, values)
    if adding.carried is None or not _is_any(connection, adding.carried, values):
        try:
            connection.execute(adding.statement, values)
            return
        except sqlite3.Error as error:
            if not is_beyond(error):
                raise
    _add_exactly(connection, adding, values)


def is_beyond(error: sqlite3.Error) -> bool:
    """Whether a statement failed as a sum is beyond 63 bits."""
    return str(error) == "integer overflow" or error.sqlite_errorcode == _WRONG_TYPE


def _is_any(connection: sqlite3.Connection, query: str, values: Values) -> bool:
    return bool(connection.execute(f"SELECT EXISTS ({query})", values).fetchone()[0])


def _add_exactly(connection: sqlite3.Connection, adding: Adding, values: Values) -> None:
    """The same row by row; it takes some ten microseconds for each."""
    width = len(adding.groups) + 1
    lines: dict[Key, Totals] = {}
    for query, unit in ((adding.rows, 1), (adding.carried, UNIT)):
        for row in connection.execute(query, values) if query is not None else ():
            totals = tuple(None if value is None else value * unit for value in row[width:])
            lines[row[:width]] = added(lines.get(row[:width]), totals)
    for key, totals in lines.items():
        _add_line(connection, adding, key, totals)


def _add_line(connection: sqlite3.Connection, adding: Adding, key: Key, totals: Totals) -> None:
    """Add to one row what is added to it, and carry what its columns cannot hold."""
    row_key: Key = key
    columns: Sequence[str] = _NAMES
    names = ("bucket_ms", *adding.groups)
    if adding.names is not None:
        where = _where(adding.groups, _MAY_BE_NULL)
        query = f"SELECT id FROM {adding.names} WHERE {where}"
        [number] = connection.execute(query, key[1:]).fetchone()
        row_key, names, columns = (number, key[0]), ("group_id", "bucket_ms"), wide(SUMS)
    stored = connection.execute(
        f"SELECT {', '.join(columns)} FROM {adding.table} WHERE {_where(names, _MAY_BE_NULL)}",
        row_key,
    ).fetchone()
    if stored is not None:
        totals = added(totals, _of_columns(stored, columns))
    at = (adding.table, key[0], *_all_groups(adding.groups, key[1:]))
    of_row = _where(("span", "bucket_ms", *GROUPS), ("key_id", *_MAY_BE_NULL))
    held = connection.execute(f"SELECT {_SHOWN} FROM carried_sums WHERE {of_row}", at).fetchone()
    if held is not None:
        units = tuple(None if value is None else value * UNIT for value in held)
        totals = added(totals, units)
    kept, units = _parted(totals, columns)
    connection.execute(
        f"INSERT OR REPLACE INTO {adding.table} ({', '.join((*names, *columns))}) VALUES "
        f"({_marks(len(names) + len(columns))})",
        (*row_key, *kept),
    )
    if any(units):
        connection.execute(
            f"INSERT OR REPLACE INTO carried_sums (span, bucket_ms, {_GROUPS}, {_SHOWN}) VALUES "
            f"({_marks(len(at) + len(units))})",
            (*at, *units),
        )
    elif held is not None:
        connection.execute(f"DELETE FROM carried_sums WHERE {of_row}", at)


def _of_columns(stored: Sequence[Any], columns: Sequence[str]) -> Totals:
    """The sums that a row has in its columns."""
    by_name = dict(zip(columns, stored, strict=True))
    return tuple(
        by_name[name]
        if name in by_name
        else of_halves(by_name[f"{name}_high"], by_name[f"{name}_low"])
        for name in _NAMES
    )


def _parted(totals: Totals, columns: Sequence[str]) -> tuple[list[int | None], Totals]:
    """What the row's columns have of the sums, and what is carried of each."""
    kept: list[int | None] = []
    units: list[int | None] = []
    for name, total in zip(_NAMES, totals, strict=True):
        if name not in columns and name in MONEY:  # halves hold 95 bits
            kept += (None, None) if total is None else divmod(total, HALF)
            units.append(None)
            continue
        if total is None and name.endswith("requests"):
            total = 0
        in_row, carried = parted(total)
        kept.append(in_row)
        units.append(carried)
    return kept, tuple(units)


def _all_groups(groups: Sequence[str], values: Sequence[Any]) -> list[Any]:
    by_name = dict(zip(groups, values, strict=True))
    return [by_name.get(name) for name in GROUPS]


def _where(names: Sequence[str], nullable: Sequence[str]) -> str:
    """The condition that columns have these values, as the indexes have them."""
    return " AND ".join(
        f"ifnull({name}, 0) = ifnull(?, 0)" if name in nullable else f"{name} = ?" for name in names
    )


_MAY_BE_NULL: Final = ("team", "model_requested", "currency")


def _marks(count: int) -> str:
    return ", ".join("?" * count)
