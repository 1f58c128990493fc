"""Books of two months, of two writers, that are sealed and then archived, in any kind of ledger."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from proxy.accounting.archiving.job import due_months
from proxy.accounting.archiving.tally import MonthTally
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.managed import Audit
from proxy.ledger import Batch
from proxy.ledger.archives import Archive, ArchiveOrder
from proxy.ledger.reading import Stretch
from proxy.ledger.signing import FILE
from proxy.ledger.verification import PARTS, BookVerified, verify
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record, numbered

DAY_MS = 86_400_000
LATER_MS = START_MS + 120 * DAY_MS
DEED = Audit(
    at_ms=LATER_MS, actor="root", origin="x", action="ledger.archive", kind="ledger", name="2026-11"
)
FORCED = ("unpriced", "unclosed")
BY: list[tuple[str, ...]] = [
    (),
    ("team", "key", "model", "upstream"),
    ("day", "model"),
    ("month",),
    ("hour", "team"),
]
RECORDS = 33


def two_months(book: BookUnderTest) -> None:
    """Four records each fifth day of forty, by two writers; a price of November in December."""
    for batch in range(8):
        now_ms = START_MS + batch * 5 * DAY_MS
        some = [
            make_record(
                batch * 4 + n,
                writer=f"w{batch % 2}",
                started_at_ms=now_ms - n * 3_600_000,
                team=(None, "research", "模型")[n % 3],
                tags={"env": 'a"b\\\u0001\u2028é'},
                cost_nano=None if n == 0 else 10 * n,
                charge_nano=None if n == 0 else 11 * n,
                currency=None if n == 0 else "USD",
                inconsistent=n % 2 == 0,
                cached_tokens=n or None,
                searches=n or None,
            )
            for n in range(4)
        ]
        closes = numbered(*some, after=batch // 2 * 4)
        book.batch(Batch(f"w{batch % 2}", closes), now_ms=now_ms)
    late = {"kind": "adjustment", "adjusts": make_id(0), "started_at_ms": START_MS}
    price = {"cost_nano": 7, "charge_nano": 8, "currency": "CNY", "input_tokens": None}
    book.adjust(
        [make_record(900, **late, **price, reason="rerated", output_tokens=None)],
        now_ms=START_MS + 36 * DAY_MS,
    )


def at_time(monkeypatch: pytest.MonkeyPatch, now_ms: int = LATER_MS) -> None:
    """Set the clock of every kind of ledger."""
    for database in ("sqlite", "postgresql"):
        monkeypatch.setattr(f"proxy.ledger.{database}._wall_clock_ms", lambda: now_ms)


async def seal_all(book: BookUnderTest) -> None:
    ledger = await book.open()
    try:
        await ledger.seal_months(UTC, book.directory / FILE)
    finally:
        await ledger.aclose()


def order_of(book: BookUnderTest, month: str = "2026-11") -> ArchiveOrder:
    """The order that a command gives once the month's file is on the disk."""
    [(first, last, root)] = book.rows(
        f"SELECT first_seq, seq, root FROM months WHERE month = '{month}'"
    )
    due = due_months(book.url, book.directory, "2030-01", LATER_MS)
    [chains] = [one.chains for one in due if one.month.month == month] or [()]
    tally = MonthTally(first, chains)
    for page in book.reader().pages(Stretch(after=first - 1, through=last)):
        for row in page.rows:
            tally.add(row)
    return ArchiveOrder(
        month=month,
        first_seq=first,
        last_seq=last,
        root=root.hex(),
        file=f"ledger-{month}.parquet",
        bytes=4711,
        sha256="ab" * 32,
        totals=tally.totals(),
        forced=FORCED,
    )


async def archived(
    book: BookUnderTest, order: ArchiveOrder, *, fail: FaultPoint = no_fault, clears: bool = True
) -> Archive:
    ledger = await book.open(fail=fail)
    try:
        found = await ledger.archive(order, DEED)
        if clears:
            await ledger.clear_archived()
    finally:
        await ledger.aclose()
    return found


async def cleared(book: BookUnderTest) -> int:
    ledger = await book.open()
    try:
        return await ledger.clear_archived()
    finally:
        await ledger.aclose()


async def rebuilt(book: BookUnderTest) -> None:
    ledger = await book.open()
    try:
        await ledger.rebuild()
    finally:
        await ledger.aclose()


def told(book: BookUnderTest) -> list[Any]:
    """What the ledger says was used, by many groups."""
    return [book.reader().usage(by, None, None, UTC) for by in BY]


def verified(book: BookUnderTest) -> BookVerified:
    return verify(book.reader(), book.key_file, lambda _: None, PARTS)
