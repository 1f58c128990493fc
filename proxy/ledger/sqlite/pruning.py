"""Takes sealed months out of the file, behind a checkpoint, in one transaction.

It is the only code that deletes records. What questions, checks and a rebuild need of the deleted
ones stays as sums of quarter hours; an archive is sealed with their digest and the file's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from proxy.core.managed import Audit, TenantChange
from proxy.core.records.canonical import key_name, seal
from proxy.ledger import LedgerError, SealedMonth
from proxy.ledger.archives import (
    ARCHIVE_COLUMNS,
    Archive,
    ArchiveOrder,
    DueMonth,
    MonthState,
    MonthTotals,
    archive_of,
    archive_row,
    sealed_digest,
    unfit,
)
from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.adding import is_beyond
from proxy.ledger.sqlite.archive import SUM_NAMES, sums_digest
from proxy.ledger.sqlite.carried import UNIT, Key, Totals, added
from proxy.ledger.sqlite.sums import GROUPS, SUMS, of_halves, summed_halves
from proxy.ledger.sqlite.tenants import write

_MONTH: Final = "SELECT first_seq, seq, root FROM months WHERE month = ?"
_BEHIND: Final = "SELECT coalesce(max(seq), 0) FROM checkpoints"
_SPAN: Final = "SELECT min(started_at_ms), max(started_at_ms) FROM records WHERE seq <= ?"
_LAST: Final = "SELECT hash FROM records WHERE seq = ?"
_TOTALS: Final = (
    f"SELECT count(*), count(adjusts), {summed_halves('input_tokens')}, "
    f"{summed_halves('output_tokens')} FROM records WHERE seq <= ?"
)
_MONEY: Final = (
    f"SELECT currency, {summed_halves('cost_nano')}, {summed_halves('charge_nano')} FROM records "
    "WHERE seq <= ? AND currency IS NOT NULL GROUP BY 1 ORDER BY 1"
)
_UNPRICED: Final = """
SELECT count(*) FROM records AS r WHERE seq <= ? AND kind = 'usage' AND cost_nano IS NULL
  AND NOT EXISTS (SELECT 1 FROM records AS p WHERE p.adjusts = r.id AND p.cost_nano IS NOT NULL)"""
# A later correction without an amount would look like the first row of its record.
_OPEN_CORRECTIONS: Final = """
SELECT count(*) FROM records AS p WHERE p.adjusts IS NOT NULL AND p.seq > ? AND p.cost_nano IS NULL
  AND EXISTS (SELECT 1 FROM records AS r WHERE r.id = p.adjusts AND r.seq <= ?)"""
_UNCLOSED: Final = """
SELECT 1 WHERE NOT EXISTS
  (SELECT 1 FROM statements WHERE team IS NULL AND to_ms > ? AND through >= ?)"""
_GROUPS: Final = ", ".join(GROUPS)
_SUM_NAMES: Final = ", ".join(SUM_NAMES)
_BUCKET: Final = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
_DIRECT: Final = (
    f"SELECT {_BUCKET}, {_GROUPS}, {', '.join(f'{sum} AS {name}' for name, sum in SUMS)}, 0 AS "
    "inconsistent_requests FROM records WHERE seq <= :through"
)
# Also by prices that stay in the book: without these records nothing tells what they moved.
_MOVES: Final = moved(
    Columns([_BUCKET], GROUPS, (*SUMS, ("inconsistent_requests", "0"))),
    "EXISTS (SELECT 1 FROM records AS r WHERE r.id = {row}.adjusts AND r.seq <= :through)",
)
# In the line of a late price, as `usage` counts them.
_FLAGGED: Final = (
    f"SELECT {_BUCKET}, key_id, team, model_requested, upstream, ifnull(currency, (SELECT "
    "p.currency FROM records AS p WHERE p.adjusts = records.id AND p.cost_nano IS NOT NULL ORDER "
    f"BY p.seq LIMIT 1)), {', '.join('NULL' for _ in SUMS)}, 1 FROM records WHERE inconsistent = 1 "
    "AND kind = 'usage' AND seq <= :through"
)
_ROWS: Final = f"{_DIRECT} UNION ALL {_MOVES} UNION ALL {_FLAGGED}"
_KEEP: Final = f"INSERT INTO archived_sums (archive_seq, bucket_ms, {_GROUPS}, {_SUM_NAMES})"
_KEEP_SUMS: Final = (
    f"{_KEEP} "
    f"SELECT :through, bucket_ms, {_GROUPS}, {', '.join(f'sum({name})' for name in SUM_NAMES)} "
    f"FROM ({_ROWS}) GROUP BY 2, 3, 4, 5, 6, 7 ORDER BY 2, 3, 4, 5, 6, 7"
)
_WIDTH: Final = 1 + len(GROUPS)
_KEEP_ROW: Final = f"{_KEEP} VALUES ({', '.join('?' * (1 + _WIDTH + len(SUM_NAMES)))})"


def obstacles(
    connection: sqlite3.Connection, last_seq: int, now_ms: int, forced: Sequence[str] = ()
) -> list[str]:
    """Why the records up to this seq cannot leave the book now, one sentence each.

    `forced` names those that are accepted; see `ArchiveOrder`.
    """
    first_ms, last_ms = connection.execute(_SPAN, (last_seq,)).fetchone()
    if first_ms is None:
        return ["there is no record left of it"]
    state = MonthState(
        first_ms=first_ms,
        last_ms=last_ms,
        last_seq=last_seq,
        book_end=connection.execute("SELECT max(seq) FROM records").fetchone()[0],
        unpriced=connection.execute(_UNPRICED, (last_seq,)).fetchone()[0],
        is_corrected=connection.execute(_OPEN_CORRECTIONS, (last_seq, last_seq)).fetchone()[0] > 0,
        is_closed=connection.execute(_UNCLOSED, (last_ms, last_seq)).fetchone() is None,
    )
    return state.obstacles(now_ms, forced)


def totals(connection: sqlite3.Connection, last_seq: int) -> MonthTotals:
    """What the records up to this seq come to."""
    records, adjustments, *tokens = connection.execute(_TOTALS, (last_seq,)).fetchone()
    money = connection.execute(_MONEY, (last_seq,)).fetchall()
    costs = {row[0]: of_halves(*row[1:3]) for row in money}
    charges = {row[0]: of_halves(*row[3:]) for row in money}
    return MonthTotals(
        records,
        adjustments,
        of_halves(*tokens[:2]) or 0,
        of_halves(*tokens[2:]) or 0,
        costs={currency: cost for currency, cost in costs.items() if cost is not None},
        charges={currency: charge for currency, charge in charges.items() if charge is not None},
    )


def prune(
    connection: sqlite3.Connection, key: bytes, order: ArchiveOrder, audit: Audit, now_ms: int
) -> Archive:
    """Delete the month's records, in the transaction that is open; what the book keeps of them.

    Raises LedgerError where something stands against it.
    """
    _check(connection, order, now_ms)
    through = order.last_seq
    first_ms, last_ms = connection.execute(_SPAN, (through,)).fetchone()
    (row_hash,) = connection.execute(_LAST, (through,)).fetchone()
    _keep_sums(connection, through)
    sums = sums_digest(connection, through)
    sealed = archive_row(order, (first_ms, last_ms), row_hash, now_ms, sums)
    marks = ", ".join("?" * (len(sealed) + 2))
    connection.execute(
        f"INSERT INTO archives ({', '.join(ARCHIVE_COLUMNS)}) VALUES ({marks})",
        (*sealed, key_name(key), seal(key, through, now_ms, sealed_digest(sealed))),
    )
    connection.execute(
        "INSERT INTO checkpoints (seq, hash, pruned_at_ms, key_name, seal) VALUES (?, ?, ?, ?, ?)",
        (through, row_hash, now_ms, key_name(key), seal(key, through, now_ms, row_hash)),
    )
    write(connection, key, TenantChange((), (audit,)))
    _delete(connection, through)
    return archive_of((*sealed, "", b""))


def archivable(
    connection: sqlite3.Connection, before: str, now_ms: int, forced: Sequence[str] = ()
) -> list[DueMonth]:
    """The sealed months before that one which are in the book, the oldest first."""
    rows = connection.execute(
        "SELECT month, first_seq, seq, root, checkpoint, public_key FROM months "
        f"WHERE month < ? AND seq > ({_BEHIND}) ORDER BY seq",
        (before,),
    )
    return [
        DueMonth(
            SealedMonth(month, first_seq, seq, root.hex(), checkpoint),
            public_key,
            obstacles(connection, seq, now_ms, forced),
        )
        for month, first_seq, seq, root, checkpoint, public_key in rows.fetchall()
    ]


def _check(connection: sqlite3.Connection, order: ArchiveOrder, now_ms: int) -> None:
    month = connection.execute(_MONTH, (order.month,)).fetchone()
    (behind,) = connection.execute(_BEHIND).fetchone()
    (first,) = connection.execute("SELECT min(seq) FROM records").fetchone()
    if (reason := unfit(order, month, behind, first)) is not None:
        raise LedgerError(reason)
    if found := obstacles(connection, order.last_seq, now_ms, order.forced):
        raise LedgerError(f"{order.month} stays in the book: {'; '.join(found)}")
    if totals(connection, order.last_seq) != order.totals:
        raise LedgerError(f"the file of {order.month} comes to other totals than the book")


def _keep_sums(connection: sqlite3.Connection, through: int) -> None:
    """Keep the sums of the records up to this seq.

    A sum beyond 63 bits takes several rows: all that read them add rows of one group up.
    """
    try:
        connection.execute(_KEEP_SUMS, {"through": through})
        return
    except sqlite3.OperationalError as error:
        if not is_beyond(error):
            raise
    sums: dict[Key, Totals] = {}
    for row in connection.execute(_ROWS, {"through": through}):
        sums[row[:_WIDTH]] = added(sums.get(row[:_WIDTH]), row[_WIDTH:])
    for key in sorted(sums, key=lambda key: [(name is not None, name) for name in key]):
        left = sums[key]
        while True:
            part = tuple(n if n is None else max(-UNIT, min(UNIT, n)) for n in left)
            connection.execute(_KEEP_ROW, (through, *key, *part))
            left = tuple(
                n if n is None or p is None else n - p for n, p in zip(left, part, strict=True)
            )
            if not any(left):
                break


def _delete(connection: sqlite3.Connection, through: int) -> None:
    """Take the triggers off, delete, and put them back as they were."""
    for table in ("records", "heads"):
        name = f"{table}_no_delete"
        (trigger,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?", (name,)
        ).fetchone()
        connection.execute(f"DROP TRIGGER {name}")
        connection.execute(f"DELETE FROM {table} WHERE seq <= ?", (through,))
        connection.execute(trigger)
