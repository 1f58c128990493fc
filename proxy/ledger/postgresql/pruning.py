"""Takes sealed months out of the book of all writers: at once in one transaction, then row by row.

The transaction keeps sums of quarter hours and a sealed checkpoint of each chain, and deletes the
seals of the month's batches. A record without its batch is in no page, sum or check any more. It is
deleted later, some thousand in a transaction: one that deletes all of a month would last as long
as the month is large. It would keep the server from cleaning up elsewhere, and begin anew when its
connection breaks.

Triggers let a record go that a checkpoint covers, and the role needs the right to delete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.managed import Audit, TenantChange
from proxy.core.records.canonical import GENESIS, key_name, seal
from proxy.ledger import LedgerError, SealedMonth
from proxy.ledger.archives import (
    ARCHIVE_COLUMNS,
    Archive,
    ArchiveOrder,
    ChainStart,
    DueMonth,
    MonthState,
    MonthTotals,
    archive_of,
    archive_row,
    sealed_digest,
    unfit,
)
from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.postgresql import tenants
from proxy.ledger.postgresql.archive import SUM_COLUMNS, sums_digest
from proxy.ledger.postgresql.connection import CORRECTING, LEDGER, Connection, lock
from proxy.ledger.postgresql.line import Line
from proxy.ledger.postgresql.read_only import Connections
from proxy.ledger.postgresql.sums import GROUPS, IN_THE_BOOK, SUMS, bucket

CLEARED_ROWS: Final = 20_000  # of one chain that a transaction deletes: a second or less

_INCONSISTENT: Final = "inconsistent_requests"
# It takes as long as the month is large; nothing but corrections waits for it.
_BEGIN: Final = (
    f"SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({lock(LEDGER, CORRECTING)})"
)
_MAY: Final = """
SELECT current_user, has_table_privilege('records', 'DELETE')
  AND has_table_privilege('heads', 'DELETE')"""
_MONTH: Final = "SELECT first_seq, seq, root FROM months WHERE month = %s"
_BEHIND: Final = "SELECT coalesce(max(seq), 0) FROM checkpoints"
_KEY: Final = "SELECT key_name FROM heads ORDER BY seq DESC LIMIT 1"
_FIRST: Final = "SELECT min(seq - rows) + 1 FROM heads"
_DUE: Final = f"""
SELECT month, first_seq, seq, root, checkpoint, public_key FROM months
WHERE month < %s AND seq > ({_BEHIND}) ORDER BY seq"""
# Where each chain has the rows up to a seq. A sealed month ends with a batch.
_PARTS: Final = """
SELECT chain, min(chain_seq - rows) AS low, max(chain_seq) AS high FROM heads
WHERE seq <= %(through)s GROUP BY chain"""
_STARTS: Final = """
SELECT chain, low, coalesce(
  (SELECT hash FROM heads WHERE heads.chain = part.chain AND chain_seq = low),
  (SELECT hash FROM checkpoints WHERE checkpoints.chain = part.chain AND chain_seq = low))
FROM (SELECT chain, min(chain_seq - rows) AS low FROM heads
  WHERE seq >= %(first)s AND seq <= %(last)s GROUP BY chain) AS part ORDER BY chain"""
_ROWS: Final = f"""
(SELECT records.* FROM ({_PARTS}) AS part JOIN records ON records.chain = part.chain
  AND records.chain_seq > part.low AND records.chain_seq <= part.high)"""
_STATE: Final = f"""
SELECT min(started_at_ms), max(started_at_ms), (SELECT seq FROM cursor),
  count(*) FILTER (WHERE kind = 'usage' AND cost_nano IS NULL AND NOT EXISTS
    (SELECT 1 FROM records AS p WHERE p.adjusts = r.id AND p.cost_nano IS NOT NULL))
FROM {_ROWS} AS r"""
# A later correction without an amount would look like the first row of its record.
_OPEN_CORRECTIONS: Final = """
SELECT EXISTS (SELECT 1 FROM book AS p WHERE p.adjusts IS NOT NULL AND p.cost_nano IS NULL
  AND p.seq > %(through)s AND EXISTS
  (SELECT 1 FROM book AS r WHERE r.id = p.adjusts AND r.seq <= %(through)s))"""
_CLOSED: Final = """
SELECT EXISTS (SELECT 1 FROM statements
  WHERE team IS NULL AND to_ms > %(last_ms)s AND through >= %(through)s)"""
_TOTALS: Final = f"""
SELECT count(*), count(adjusts), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0)
FROM {_ROWS} AS r"""
_MONEY: Final = f"""
SELECT currency, sum(cost_nano), sum(charge_nano) FROM {_ROWS} AS r WHERE currency IS NOT NULL
GROUP BY 1 ORDER BY 1"""
_AT: Final = f"{bucket()} AS bucket_ms"
_GROUPS: Final = ", ".join(GROUPS)
_DIRECT: Final = (
    f"SELECT {_AT}, {_GROUPS}, {', '.join(f'{sum} AS {name}' for name, sum in SUMS)}, "
    f"0 AS {_INCONSISTENT} FROM {_ROWS} AS r"
)
# Also by prices that stay in the book: without these records nothing tells what they moved.
_MOVES: Final = moved(
    Columns([_AT], GROUPS, (*SUMS, (_INCONSISTENT, "0"))),
    "EXISTS (SELECT 1 FROM book AS r WHERE r.id = {row}.adjusts AND r.seq <= %(through)s)",
    IN_THE_BOOK,
)
# In the line of a late price, as `usage` counts them.
_LATE: Final = """
SELECT p.currency FROM book AS p WHERE p.adjusts = r.id AND p.cost_nano IS NOT NULL
ORDER BY p.seq LIMIT 1"""
_FLAGGED: Final = (
    f"SELECT {_AT}, key_id, team, model_requested, upstream, coalesce(currency, ({_LATE})), "
    f"{', '.join('NULL' for _ in SUMS)}, 1 FROM {_ROWS} AS r "
    "WHERE inconsistent = 1 AND kind = 'usage'"
)
_SUMMED: Final = SUM_COLUMNS[3 + len(GROUPS) :]
_KEEP_SUMS: Final = f"""
INSERT INTO archived_sums ({", ".join(SUM_COLUMNS)})
SELECT (SELECT coalesce(max(seq), 0) FROM archived_sums)
    + row_number() OVER (ORDER BY bucket_ms, {_GROUPS}), %(through)s, sums.*
FROM (SELECT bucket_ms, {_GROUPS}, {", ".join(f"sum({name}) AS {name}" for name in _SUMMED)}
    FROM ({_DIRECT} UNION ALL {_MOVES} UNION ALL {_FLAGGED}) AS rows
    GROUP BY bucket_ms, {_GROUPS}) AS sums"""
_ENDS: Final = """
SELECT DISTINCT ON (chain) chain, chain_seq, seq, hash FROM heads WHERE seq <= %s
ORDER BY chain, chain_seq DESC"""
_CHECKPOINT: Final = """
INSERT INTO checkpoints (chain, chain_seq, seq, hash, pruned_at_ms, key_name, seal)
VALUES (%s, %s, %s, %s, %s, %s, %s)"""
_CHAINS: Final = "SELECT chain, max(chain_seq) FROM checkpoints GROUP BY 1 ORDER BY 1"
_NEXT: Final = """
SELECT min(chain_seq) FROM records WHERE chain = %s AND chain_seq > %s AND chain_seq <= %s"""
_CLEAR: Final = "DELETE FROM records WHERE chain = %s AND chain_seq >= %s AND chain_seq <= %s"


def archivable(
    connections: Connections, before: str, now_ms: int, forced: Sequence[str] = ()
) -> list[DueMonth]:
    """The sealed months before that one which are in the book, the oldest first.

    Each is looked at in a transaction of its own.
    """
    with connections.reading() as connection:
        rows = connection.execute(_DUE.encode(), (before,)).fetchall()
    found = []
    for month, first_seq, seq, root, checkpoint, public_key in rows:
        with connections.reading() as connection:
            against = _state(connection, seq).obstacles(now_ms, forced)
            chains = _chains(connection, first_seq, seq)
            if (reason := may_not(connection)) is not None:
                against.append(reason)
        sealed = SealedMonth(month, first_seq, seq, root.hex(), checkpoint)
        found.append(DueMonth(sealed, public_key, against, chains))
    return found


def _chains(connection: Connection, first_seq: int, last_seq: int) -> list[ChainStart]:
    """Where the chains begin that have records in a month."""
    rows = connection.execute(_STARTS, {"first": first_seq, "last": last_seq}).fetchall()
    return [
        ChainStart(chain, low + 1, (row_hash or GENESIS).hex()) for chain, low, row_hash in rows
    ]


def may_not(connection: Connection) -> str | None:
    """Why the role of this connection cannot take a month out; None: it can."""
    role, may = connection.execute(_MAY).fetchone() or (None, False)
    if may:
        return None
    return (
        f"the role {role} only books and may delete no record: name one that may with --url, such "
        "as the owner of the schema"
    )


def prune(
    connection: Connection, key: bytes, order: ArchiveOrder, audit: Audit, now_ms: int
) -> tuple[Archive, bytes | None]:
    """Take the month out of the book; what it keeps of it, and the hash of the audit's row.

    The transaction holds the lock of orders. Raises LedgerError where something stands against it.
    """
    if (reason := may_not(connection)) is not None:
        raise LedgerError(reason)
    [sealed_with] = connection.execute(_KEY).fetchone() or (None,)
    if sealed_with not in (None, key_name(key)):
        raise LedgerError(
            "the book was sealed last with another key than the one here: copy ledger.key from a "
            "process that books"
        )
    connection.execute(_BEGIN)
    state = _check(connection, order, now_ms)
    assert state.first_ms is not None and state.last_ms is not None, "it has records"
    through = {"through": order.last_seq}
    ends = connection.execute(_ENDS, (order.last_seq,)).fetchall()
    [row_hash] = [head[3] for head in ends if head[2] == order.last_seq]
    connection.execute(_KEEP_SUMS.encode(), through)
    sums = sums_digest(connection, order.last_seq)
    row = archive_row(order, (state.first_ms, state.last_ms), row_hash, now_ms, sums)
    sealed = (*row, key_name(key), seal(key, order.last_seq, now_ms, sealed_digest(row)))
    connection.execute(
        f"INSERT INTO archives ({', '.join(ARCHIVE_COLUMNS)}) "
        f"VALUES ({', '.join(['%s'] * len(ARCHIVE_COLUMNS))})".encode(),
        sealed,
    )
    connection.cursor().executemany(
        _CHECKPOINT,
        [
            (chain, at, seq, last, now_ms, key_name(key), seal(key, at, now_ms, last))
            for chain, at, seq, last in ends
        ],
    )
    audited = tenants.change(connection, key, TenantChange((), (audit,)))
    connection.execute("DELETE FROM heads WHERE seq <= %(through)s", through)
    return archive_of(sealed), audited


def cleared(line: Line, fail: FaultPoint = no_fault) -> Iterator[int]:
    """Delete the records of archived months that are still there, some in a transaction.

    Gives how many rows each one deleted. Raises LedgerError and LedgerUnavailable.
    """
    for chain, through in line.ask(lambda one: one.execute(_CHAINS).fetchall()):
        after = 0
        while (first := line.ask(partial(_next, chain, after, through))) is not None:
            after = min(first + CLEARED_ROWS - 1, through)
            yield line.transaction(partial(_clear, chain, first, after), fail=fail)


def _next(chain: str, after: int, through: int, connection: Connection) -> int | None:
    [first] = connection.execute(_NEXT, (chain, after, through)).fetchone() or (None,)
    return None if first is None else int(first)


def _clear(chain: str, first: int, last: int, connection: Connection) -> int:
    if (reason := may_not(connection)) is not None:
        raise LedgerError(reason)
    return connection.execute(_CLEAR, (chain, first, last)).rowcount


def totals(connection: Connection, last_seq: int) -> MonthTotals:
    """What the records up to this seq come to."""
    values = {"through": last_seq}
    counts = connection.execute(_TOTALS.encode(), values).fetchone() or (0, 0, 0, 0)
    money = connection.execute(_MONEY.encode(), values).fetchall()
    records, adjustments, input_tokens, output_tokens = map(int, counts)
    return MonthTotals(
        records,
        adjustments,
        input_tokens,
        output_tokens,
        costs={currency: int(cost) for currency, cost, _ in money if cost is not None},
        charges={currency: int(charge) for currency, _, charge in money if charge is not None},
    )


def _state(connection: Connection, last_seq: int) -> MonthState:
    values: dict[str, Any] = {"through": last_seq}
    first_ms, last_ms, book_end, unpriced = connection.execute(
        _STATE.encode(), values
    ).fetchone() or (None, None, 0, 0)
    [is_corrected] = connection.execute(_OPEN_CORRECTIONS.encode(), values).fetchone() or (False,)
    [is_closed] = connection.execute(_CLOSED, {**values, "last_ms": last_ms}).fetchone() or (False,)
    return MonthState(
        first_ms=first_ms,
        last_ms=last_ms,
        last_seq=last_seq,
        book_end=book_end,
        unpriced=unpriced,
        is_corrected=is_corrected,
        is_closed=is_closed,
    )


def _check(connection: Connection, order: ArchiveOrder, now_ms: int) -> MonthState:
    """How the month stands. Raises LedgerError where something stands against it."""
    month = connection.execute(_MONTH, (order.month,)).fetchone()
    [archived] = connection.execute(_BEHIND).fetchone() or (0,)
    [first] = connection.execute(_FIRST).fetchone() or (None,)
    if (reason := unfit(order, month, archived, first)) is not None:
        raise LedgerError(reason)
    state = _state(connection, order.last_seq)
    if found := state.obstacles(now_ms, order.forced):
        raise LedgerError(f"{order.month} stays in the book: {'; '.join(found)}")
    if totals(connection, order.last_seq) != order.totals:
        raise LedgerError(f"the file of {order.month} comes to other totals than the book")
    return state
