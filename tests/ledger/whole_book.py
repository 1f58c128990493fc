"""A book in a file with rows in every table that is verified, and somebody who forges it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC
from functools import partial
from pathlib import Path

from proxy.core.limits.credit import Credit
from proxy.core.managed import TenantChange
from proxy.ledger import Batch, Refusal, SealedMonth
from proxy.ledger.months import due_months
from proxy.ledger.reading import BookReader
from proxy.ledger.signing import FILE, month_signer
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add, begin_chain
from proxy.ledger.sqlite.months import add_month
from proxy.ledger.sqlite.read_only import reading_months
from proxy.ledger.sqlite.schema import APPEND_ONLY
from proxy.ledger.sqlite.tenants import change
from proxy.ledger.verification import PARTS, BookVerified, verify
from tests.ledger.samples import (
    KEY,
    START_MS,
    OwnedConnection,
    deed,
    make_id,
    make_record,
    numbered,
    open_book,
)

TERMS = b'{"rows":[]}'
VERSION = hashlib.sha256(TERMS).hexdigest()[:16]
DAY_MS = 86_400_000


def whole_book(directory: Path) -> Path:
    """Forty days of records, a late price, credits, an audit and prices; the database's path."""
    path = directory / "ledger.db"
    (directory / "ledger.key").write_text(KEY.hex())
    connection, _ = open_book(path)
    connection.execute("PRAGMA journal_mode = WAL")
    now_ms = START_MS
    book = Booker(connection, KEY, lambda: now_ms)
    begin_chain(connection, KEY, now_ms)
    for batch in range(8):
        now_ms = START_MS + batch * 5 * DAY_MS
        some = [
            make_record(
                batch * 4 + n,
                started_at_ms=now_ms - n * 3_600_000,
                team=(None, "research", "模型")[n % 3],
                tags={"env": 'a"b\\\u0001\u2028é'},
                cost_nano=None if n == 0 else 10 * n,
                charge_nano=None if n == 0 else 11 * n,
                currency=None if n == 0 else "USD",
                price_version=None if n == 0 else VERSION,
                cached_tokens=n or None,
                searches=n or None,
            )
            for n in range(4)
        ]
        refused = Refusal(bucket_ms=0, key_id=None, code="x", count=1)
        closes = numbered(*some, after=batch * 4)
        book.book(Batch("w0", closes, refusals=[refused], price_versions=[(VERSION, TERMS)]))
    late = {"kind": "adjustment", "adjusts": make_id(0), "started_at_ms": START_MS}
    price = {"cost_nano": 7, "charge_nano": 8, "currency": "CNY", "input_tokens": None}
    book.adjust([make_record(900, **late, **price, reason="rerated", output_tokens=None)])
    for n in range(3):
        credit = Credit(id=f"c{n}", limit_id="trial", amount=n, granted_at_ms=START_MS, unit="USD")
        add(connection, credit, KEY, START_MS)
        change(connection, KEY, TenantChange((), (deed(f"made-{n}", reason="so"),)))
    connection.close()
    return path


def seal_all(path: Path, now_ms: int = START_MS + 90 * DAY_MS) -> list[SealedMonth]:
    """What is sealed at that time, with the key beside the ledger."""
    signer = month_signer(path.parent / FILE, make=True)
    assert signer is not None
    connection = sqlite3.connect(
        path, isolation_level=None, factory=OwnedConnection, check_same_thread=False
    )
    done = []
    for row in due_months(partial(reading_months, path), UTC, now_ms, signer):
        add_month(connection, row)
        done.append(row.told)
    connection.close()
    return done


def forger_of(path: Path) -> sqlite3.Connection:
    """Someone who can write to the file, and has taken triggers and strictness out of the way."""
    connection = sqlite3.connect(
        path, isolation_level=None, factory=OwnedConnection, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = OFF")
    for table in APPEND_ONLY:
        for verb in ("no_update", "no_delete", "known"):
            connection.execute(f"DROP TRIGGER {table}_{verb}")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '')"
        " WHERE type = 'table' AND sql LIKE '%STRICT' "
    )
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE type = 'table'"
    )
    connection.execute("PRAGMA writable_schema = RESET")
    return connection


def reader_of(path: Path) -> BookReader:
    return connect_reader(f"sqlite:{path.name}", path.parent)


def verified(path: Path, advance: Callable[[int], None] = lambda _: None) -> BookVerified:
    """The whole book, verified with the key beside it."""
    return verify(reader_of(path), path.parent / "ledger.key", advance, PARTS)
