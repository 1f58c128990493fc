"""Databases with a ledger's schema, for tests of it."""

from __future__ import annotations

import datetime

from proxy.ledger.postgresql.connection import Connection, opened
from proxy.ledger.postgresql.schema import add_months, migrate
from tests.support.postgres import postgres

TODAY = datetime.date(2026, 11, 30)


def migrated() -> Connection:
    """A connection, as the owner, to a new database with an empty ledger."""
    connection = opened(postgres().database(), writes=True)
    migrate(connection, "it")
    add_months(connection, TODAY)
    return connection
