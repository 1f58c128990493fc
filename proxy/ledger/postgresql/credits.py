"""Credits in the book: append-only, each under its id."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxy.core.limits.credit import Credit
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.texts import cleaned

_COLUMNS: Final = ", ".join(Credit.__struct_fields__)
_ADD: Final = (
    f"INSERT INTO grants (seq, {_COLUMNS}) SELECT (SELECT coalesce(max(seq), 0) + 1 FROM grants), "
    f"{', '.join('%s' for _ in Credit.__struct_fields__)} ON CONFLICT (id) DO NOTHING"
)
_ALL: Final = f"SELECT {_COLUMNS} FROM grants ORDER BY seq"


def add(connection: Connection, credit: Credit) -> None:
    """Book a credit; a known id is left as it is. The transaction holds the lock of orders."""
    connection.execute(_ADD, msgspec.structs.astuple(cleaned(credit)))


def every(connection: Connection) -> list[Credit]:
    """Every credit, in the order of booking."""
    return [credit(row) for row in connection.execute(_ALL)]


def credit(row: tuple[Any, ...]) -> Credit:
    """The credit in a row of the columns of `Credit`."""
    found = Credit(*row)
    return msgspec.structs.replace(found, amount=int(found.amount))
