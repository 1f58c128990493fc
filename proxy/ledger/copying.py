"""Brings a whole ledger into an empty one of another database: all of it or nothing.

Rows keep their values and hashes. A copy has one chain, which goes on from its last row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import LedgerError, audit_chain, closed, database
from proxy.ledger.archives import ARCHIVE_COLUMNS
from proxy.ledger.credit_chain import CREDIT_COLUMNS, LINK_COLUMNS
from proxy.ledger.reading import UsageRow
from proxy.system.backends import masked

# What a dump gives of each table, in the order of the columns. `heads` has how many rows each seal
# covers. Roll-ups are made anew of the records.
DUMPED: Final[dict[str, tuple[str, ...]]] = {
    "heads": ("seq", "rows", "hash", "booked_at_ms", "key_name", "seal"),
    "checkpoints": ("seq", "hash", "pruned_at_ms", "key_name", "seal"),
    "records": COLUMNS,
    "grants": ("seq", *CREDIT_COLUMNS),
    "credit_links": LINK_COLUMNS,
    "price_versions": ("version", "stored_at_ms", "terms"),
    "end_users": ("lookup", "salt"),
    "refusals": ("bucket_ms", "key_id", "code", "count", "team", "limit_id"),
    "months": (
        "seq",
        "first_seq",
        "month",
        "until_ms",
        "sealed_at_ms",
        "root",
        "chunks",
        "public_key",
        "checkpoint",
    ),
    "archives": ARCHIVE_COLUMNS,
    "archived_sums": (
        "seq",
        "archive_seq",
        "bucket_ms",
        "key_id",
        "team",
        "model_requested",
        "upstream",
        "currency",
        "requests",
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cost_nano",
        "charge_nano",
        "reported_requests",
        "unpriced_requests",
        "cache_write_long_tokens",
        "searches",
        "inconsistent_requests",
    ),
    "statements": closed.COLUMNS,
    "tenants": ("kind", "name", "version", "doc"),
    "audit": audit_chain.COLUMNS,
    "journal_positions": ("writer", "seq"),
    "served_models": ("upstream", "model_requested", "model_served"),
    "notices": ("receiver", "subject", "message_id", "until_ms", "sent", "doc"),
}
# The finest groups that roll-ups have, by which the sums of both ledgers are compared.
COMPARED_BY: Final = ("month", "team", "key", "model", "upstream")

Told = Callable[[str, int], None]  # what is copied or checked, and how many rows of it by now


class Dump(Protocol):
    """A ledger that nothing writes, as it stood at one moment."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a table of DUMPED, in the order of its columns and of its first one."""
        ...

    def count(self, table: str) -> int:
        """How many rows a table has."""
        ...

    def id_span(self) -> tuple[str, ...]:
        """The first and last id of records; none: there are no records."""
        ...

    def folded_until_ms(self) -> int:
        """Up to when the roll-ups of wide spans were made."""
        ...

    def usage(self) -> list[UsageRow]:
        """The sums of all records by COMPARED_BY, in UTC."""
        ...


class Copied(msgspec.Struct, frozen=True):
    """What was copied and found equal on both sides.

    `rows` is by table. `last_hash` has 64 hex digits; None: there are no records. `charges` is in
    nano-units by currency. `seals_of_other_keys` could not be checked, as no key was given for
    them.
    """

    rows: dict[str, int]
    last_seq: int
    last_hash: str | None
    charges: dict[str, int]
    requests: int
    seals: int
    seals_of_other_keys: int


def copy(
    from_url: str,
    data_dir: Path,
    to_url: str,
    key: bytes | None,
    told: Told = lambda _what, _n: None,
) -> Copied:
    """Copy the ledger of `from_url` into the database of `to_url`, and check that both are equal.

    Raises LedgerError with the reason, LedgerUnavailable where a database cannot be asked; then the
    target is as it was.
    """
    source = database(from_url, "dumped")
    target = database(to_url, "take_over")
    if source is None or target is None:
        raise LedgerError(
            f"a ledger is copied from sqlite:FILE to postgresql://USER@HOST/DATABASE, and not from "
            f"{masked(from_url)} to {masked(to_url)}"
        )
    opened: AbstractContextManager[Dump] = source.dumped(from_url, data_dir)
    with opened as dump:
        copied: Copied = target.take_over(to_url, dump, key, told)
    return copied


def totals(rows: list[UsageRow]) -> tuple[int, dict[str, int]]:
    """The requests, and the charges by currency, of rows of usage."""
    charges: dict[str, int] = {}
    for row in rows:
        if isinstance(row["charge_nano"], int):
            currency = str(row["currency"])
            charges[currency] = charges.get(currency, 0) + row["charge_nano"]
    return sum(int(row["requests"] or 0) for row in rows), charges
