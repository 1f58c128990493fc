"""Inserts booked rows, without the columns that none of them knows.

Python looks for an adapter of each None and each bytes that it binds, in vain, which takes ten
times as long as to bind a number. A usual record does not know a third of its columns. So a batch
leaves out those that are null in all of its rows, and hashes are bound as bytearray.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

from proxy.core.records.canonical import COLUMNS, Value

# Each is a compiled statement in SQLite's cache too. Few kinds of records are usual in one place.
SHAPES_MAX: Final = 8

_Shape = tuple[str, Callable[[Sequence[Value]], Any]]  # the statement, and what it binds of a row


class Inserter:
    """Inserts rows on one connection. It knows the statements of the shapes that came last."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._shapes: dict[tuple[int, ...], _Shape] = {}

    def insert(self, rows: Sequence[list[Any]]) -> int:
        """The number of rows that were new. Each is in the order of COLUMNS; the hashes end it.

        Of the rows given, the hashes are changed to what is bound.
        """
        for row in rows:
            row[-2:] = bytearray(row[-2]), bytearray(row[-1])
        unknown = list(range(len(COLUMNS)))
        for row in rows:
            unknown = [n for n in unknown if row[n] is None]
        statement, bound = self._shape(tuple(unknown))
        return self._connection.executemany(statement, map(bound, rows)).rowcount

    def _shape(self, unknown: tuple[int, ...]) -> _Shape:
        """The statement for rows that do not know these columns."""
        if unknown not in self._shapes:
            if len(self._shapes) >= SHAPES_MAX:
                self._shapes.clear()
            known = [n for n in range(len(COLUMNS)) if n not in unknown]
            names = ", ".join(COLUMNS[n] for n in known)
            places = ", ".join("?" * len(known))
            statement = f"INSERT INTO records ({names}) VALUES ({places})"
            self._shapes[unknown] = (statement, itemgetter(*known))
        return self._shapes[unknown]
