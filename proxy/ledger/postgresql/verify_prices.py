"""Holds records in PostgreSQL against the price terms and the served models beside them."""

from __future__ import annotations

from typing import Final

from proxy.core.records.chain import Flaw
from proxy.ledger import price_check
from proxy.ledger.postgresql.connection import Connection
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

# By their id, which the index of each partition has.
_UPTO: Final = (
    "SELECT max(id) FROM (SELECT id FROM records WHERE id > %s ORDER BY id LIMIT %s) AS next"
)
_NAMED: Final = """
SELECT price_version, upstream, model_requested, model_served, NULL::bigint, min(id) FROM records
WHERE id > %s AND id <= %s AND (
  (price_version IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM price_versions WHERE price_versions.version = records.price_version))
  OR (model_requested IS NOT NULL AND model_served IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM served_models AS s WHERE s.upstream = records.upstream
      AND s.model_requested = records.model_requested AND s.model_served = records.model_served)))
GROUP BY 1, 2, 3, 4 ORDER BY 6"""


def changed_terms(connection: Connection) -> list[Flaw]:
    """What is wrong with the terms themselves."""
    return price_check.changed_terms(connection.execute(TERMS).fetchall())


def prices_step(connection: Connection, place: str | None) -> VerifyStep:
    """The terms at first, then the next records."""
    at = read_place(place, "")
    terms = connection.execute(TERMS).fetchall()
    models = set(connection.execute(MODELS).fetchall())
    [upto] = connection.execute(_UPTO, (at.after, STEP_ROWS)).fetchone() or (None,)
    named = connection.execute(_NAMED.encode(), (at.after, upto)).fetchall()
    step = records_step(at, Beside({row[0] for row in terms}, models), named, upto)
    return with_terms(step, terms) if place is None else step
