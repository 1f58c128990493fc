"""Sums by tariff in PostgreSQL: the tariffs come with each question, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import stretches, tariffs
from proxy.ledger.postgresql import pages
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.read_only import Connections, OneState
from proxy.ledger.reading import Stretch, Tariff, TariffPage
from proxy.ledger.tariffs import NAMES, NUMBERS

PAGE_SEQS: Final = 65_536  # some tenths of a second

_COLUMNS: Final = {
    "place": "bigint[]",
    **dict.fromkeys(NAMES, "text[]"),
    **dict.fromkeys(NUMBERS, "bigint[]"),
}
_TARIFFS: Final = (
    f"(SELECT * FROM unnest({', '.join(f'%({name})s::{kind}' for name, kind in _COLUMNS.items())}) "
    f"AS known ({', '.join(_COLUMNS)}))"
)
# Three names make the hash by which records and tariffs are joined. It takes no comparison that
# knows of nulls.
_SAME: Final = (
    "r.upstream = t.upstream AND coalesce(r.model_requested, '') = coalesce(t.model_requested, '') "
    "AND coalesce(r.team, '') = coalesce(t.team, '') AND "
    + " AND ".join(f"r.{name} IS NOT DISTINCT FROM t.{name}" for name in NAMES)
)
_SUMS: Final = tariffs.query(
    "({rows})",
    _TARIFFS,
    _SAME,
    "r.started_at_ms >= %(first_ms)s AND r.started_at_ms < %(end_ms)s",
    "OFFSET 0",
    "r.id <> ALL (%(corrected)s::text[])",
).replace(" % ", " %% ")  # the client library's values begin with one
# Asked apart: in the query above, each record would be looked for in every month's index.
_CORRECTED: Final = (
    "SELECT r.seq, r.id FROM ({rows}) AS r "
    "WHERE r.id IN (SELECT adjusts FROM records WHERE adjusts IS NOT NULL)"
)
_ROWS: Final = f"""
SELECT {", ".join(COLUMNS)} FROM unnest(%(seqs)s::bigint[]) AS asked (seq)
CROSS JOIN LATERAL (SELECT chain AS of_chain, chain_seq - (heads.seq - asked.seq) AS at FROM heads
    WHERE heads.seq >= asked.seq ORDER BY heads.seq LIMIT 1) AS place
JOIN records ON chain = of_chain AND chain_seq = at ORDER BY seq"""


def sums(
    connection: Connection, stretch: Stretch, known: Sequence[Tariff], after: int, upto: int
) -> tariffs.Summed:
    """What `tariffs.query` answers for (after, upto]."""
    rows, values = pages.in_book(connection, after, upto)
    # A merge join would sort the records, and a nested loop look into each month's index for each.
    connection.execute("SET LOCAL enable_mergejoin = off; SET LOCAL enable_nestloop = off")
    corrected = connection.execute(_CORRECTED.replace("{rows}", rows).encode(), values).fetchall()
    if len(corrected) > tariffs.REST_MAX:
        return [(-seq, 1) for seq, _ in corrected]  # the page ends before its end
    first_ms, end_ms = stretches.times(stretch)
    asked = values | _arrays(known)
    asked |= {"first_ms": first_ms, "end_ms": end_ms, "corrected": [id for _, id in corrected]}
    return connection.execute(_SUMS.replace("{rows}", rows).encode(), asked).fetchall()


def rows(connection: Connection, seqs: Sequence[int]) -> tuple[tariffs.Rows, tariffs.Rows]:
    """The rows at these places of the book, and those that correct them."""
    if not seqs:
        return (), ()
    found = connection.execute(_ROWS.encode(), {"seqs": list(seqs)}).fetchall()
    return found, pages.corrections(connection, [row[0] for row in found])


def paged(
    connections: Connections | OneState, stretch: Stretch, known: Sequence[Tariff]
) -> Iterator[TariffPage]:
    """See `Reader.by_tariff`. Each question is a transaction of its own."""

    def summed(after: int, upto: int) -> tariffs.Summed:
        with connections.reading() as connection:
            return sums(connection, stretch, known, after, upto)

    def others(seqs: Sequence[int]) -> tuple[tariffs.Rows, tariffs.Rows]:
        with connections.reading() as connection:
            return rows(connection, seqs)

    yield from tariffs.paged(stretch.after, stretch.through, PAGE_SEQS, summed, others)


def _arrays(known: Sequence[Tariff]) -> dict[str, Any]:
    """The tariffs, column by column."""
    lines = [(n, *each.texts(), *each.numbers()) for n, each in enumerate(known)]
    columns = zip(*lines, strict=True) if lines else ((),) * len(_COLUMNS)
    return {name: list(column) for name, column in zip(_COLUMNS, columns, strict=True)}
