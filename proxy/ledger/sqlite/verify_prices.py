"""Holds the records in the file against the price terms and the served models beside them."""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.ledger.price_check import (
    MODELS,
    STEP_ROWS,
    TERMS,
    Beside,
    read_place,
    records_step,
    with_terms,
)
from proxy.ledger.verification import VerifyStep

MODELS_SINCE: Final = 6  # the schema version
_UPTO: Final = "SELECT max(seq) FROM (SELECT seq FROM records WHERE seq > ? ORDER BY seq LIMIT ?)"
_NO_TERMS: Final = (
    "(price_version IS NOT NULL AND price_version NOT IN (SELECT version FROM price_versions))"
)
_NO_MODEL: Final = """(model_requested IS NOT NULL AND model_served IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM served_models AS s WHERE s.upstream = records.upstream
    AND s.model_requested = records.model_requested AND s.model_served = records.model_served))"""
# With min() SQLite takes the other columns from the row that has it.
_NAMED: Final = """
SELECT price_version, upstream, model_requested, model_served, min(seq), id FROM records
WHERE seq > ? AND seq <= ? AND ({missing}) GROUP BY 1, 2, 3, 4 ORDER BY 5"""


def prices_step(connection: sqlite3.Connection, version: int, place: str | None) -> VerifyStep:
    """The terms at first, then the next records; `version` is that of the schema."""
    at = read_place(place, -(2**63))
    terms = connection.execute(TERMS).fetchall()
    has_models = version >= MODELS_SINCE
    missing = f"{_NO_TERMS} OR {_NO_MODEL}" if has_models else _NO_TERMS
    (upto,) = connection.execute(_UPTO, (at.after, STEP_ROWS)).fetchone()
    named = connection.execute(_NAMED.format(missing=missing), (at.after, upto)).fetchall()
    if not has_models:
        named = [(row[0], row[1], None, None, *row[4:]) for row in named]
    models = set(connection.execute(MODELS)) if has_models else set()
    step = records_step(at, Beside({row[0] for row in terms}, models), named, upto)
    return with_terms(step, terms) if place is None else step
