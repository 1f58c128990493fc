"""The statements of a booking transaction."""

from __future__ import annotations

from typing import Final

from proxy.core.records.canonical import COLUMNS, HASHED_V2
from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.postgresql.sums import GROUPS, IN_ITS_CHAIN, SUMS, added_to_quarters

# Places in a row.
SEQ: Final = COLUMNS.index("seq")
HASH: Final = COLUMNS.index("hash")
STARTED_AT: Final = HASHED_V2.index("started_at_ms")
BOOKED_AT: Final = HASHED_V2.index("booked_at_ms")

_OWN: Final = tuple(name for name in COLUMNS if name != "seq")
_STAGE: Final = ", ".join(("chain", "chain_seq", "head_seq", *_OWN))
_SMALL: Final = ("stream", "inconsistent", "hash_version")
_NUMBERS: Final = frozenset(
    "client_retry_count status bytes_in bytes_out chunks searches".split()
    + [name for name in _OWN if name.endswith(("_ms", "_tokens", "_nano"))]
)


def _type(name: str) -> str:
    if name in _SMALL:
        return "int2"
    if name in ("hash", "prev_hash"):
        return "bytea"
    return "int8" if name in _NUMBERS else "text"


COPY: Final = f"COPY stage ({_STAGE}) FROM STDIN (FORMAT BINARY)"
STAGE_TYPES: Final = ("text", "int8", "int8", *map(_type, _OWN))
INSERT: Final = f"INSERT INTO records ({_STAGE}) SELECT {_STAGE} FROM stage"

# The bounds on ids keep the look-up to the partitions of their months.
STATE: Final = """
SELECT head.chain_seq, head.hash, place.seq, place.batch, ARRAY(
    SELECT id FROM records
    WHERE id = ANY (%(ids)s) AND id >= %(first)s AND id <= %(last)s)
FROM (VALUES (1)) AS one (n)
LEFT JOIN LATERAL (
    SELECT chain_seq, hash FROM (
        (SELECT chain_seq, hash FROM heads WHERE chain = %(chain)s ORDER BY chain_seq DESC LIMIT 1)
        UNION ALL (SELECT chain_seq, hash FROM checkpoints WHERE chain = %(chain)s
            ORDER BY chain_seq DESC LIMIT 1)) AS ends
    ORDER BY chain_seq DESC LIMIT 1) AS head ON true
LEFT JOIN journal_positions AS place ON place.writer = %(chain)s
"""
END: Final = """
WITH taken AS (UPDATE cursor SET seq = seq + %(rows)s RETURNING seq),
head AS (
    INSERT INTO heads (chain, chain_seq, seq, rows, hash, booked_at_ms, key_name, seal)
    SELECT %(chain)s, %(chain_seq)s, seq, %(rows)s, %(hash)s, %(booked_at_ms)s, %(key_name)s,
        %(seal)s FROM taken)
SELECT folded_until_ms FROM fold
"""
POSITION: Final = (
    "INSERT INTO journal_positions (writer, seq, batch) VALUES (%s, %s, %s) "
    "ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, batch = excluded.batch"
)
POSITION_OF: Final = "SELECT seq FROM journal_positions WHERE writer = %s"
SALT: Final = "INSERT INTO end_users (lookup, salt) VALUES (%s, %s) ON CONFLICT DO NOTHING"
SALTS: Final = "SELECT lookup, salt FROM end_users"
SERVED: Final = (
    "INSERT INTO served_models (upstream, model_requested, model_served) VALUES (%s, %s, %s) "
    "ON CONFLICT DO NOTHING"
)
PRICE_VERSION: Final = (
    "INSERT INTO price_versions (version, stored_at_ms, terms) VALUES (%s, %s, %s) "
    "ON CONFLICT DO NOTHING"
)
REFUSAL: Final = (
    "INSERT INTO refusals (bucket_ms, digest, key_id, code, count, team, limit_id) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (bucket_ms, digest) DO UPDATE SET count = refusals.count + excluded.count"
)

# What is added to roll-ups: the rows of this transaction, and what their prices moved.
FRESH: Final = (
    f"SELECT started_at_ms AS at, {', '.join(GROUPS)}, "
    f"{', '.join(f'{expression} AS {name}' for name, expression in SUMS)} FROM stage"
)
MOVED: Final = moved(
    Columns(["started_at_ms AS at"], GROUPS, SUMS),
    "{row}.chain = %(chain)s AND {row}.chain_seq > %(old)s",
    IN_ITS_CHAIN,
)
ADD: Final = added_to_quarters(FRESH)
ADD_MOVED: Final = added_to_quarters(MOVED)
