"""A month leaves a shared ledger beside processes that book, and by a role that may delete."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.accounting.archiving.job import due_months
from proxy.ledger import Batch, LedgerError, LedgerUnavailable, connect
from proxy.ledger.postgresql import pruning
from proxy.ledger.postgresql.pruning import cleared as clearing
from proxy.ledger.postgresql.schema import allow
from tests.ledger.ledgers import PostgresBook, opened_postgres
from tests.ledger.old_months import (
    DAY_MS,
    DEED,
    LATER_MS,
    RECORDS,
    archived,
    at_time,
    cleared,
    order_of,
    rebuilt,
    seal_all,
    told,
    two_months,
    verified,
)
from tests.ledger.postgresql.books import Books
from tests.ledger.samples import START_MS, make_id, make_record, numbered
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own

PRICE: dict[str, Any] = {
    "kind": "adjustment",
    "reason": "rerated",
    "cost_nano": 70,
    "charge_nano": 80,
    "currency": "EUR",
    "input_tokens": None,
    "output_tokens": None,
}


@pytest.fixture
async def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A book of November and December 2026, both sealed, by two writers and a correction."""
    at_time(monkeypatch)
    with opened_postgres(tmp_path) as found:
        two_months(found)
        await seal_all(found)
        yield found


def roles(book: PostgresBook, name: str, *grants: str) -> str:
    """The ledger's URL for a role that may book, and what else is granted."""
    database = book.url.rpartition("/")[2]
    postgres().sql(f"DROP ROLE IF EXISTS {name}")
    postgres().sql(f"CREATE ROLE {name} LOGIN")
    book.books.line.ask(lambda one: allow(one, name))
    for grant in grants:
        book.books.do(f"GRANT {grant} TO {name}")
    return postgres().url(database, name)


@pytest.fixture
def dropped(book: PostgresBook) -> Iterator[None]:
    """Takes the roles away again, for the next one that uses the database."""
    yield
    for name in ("cashier", "archivist"):
        postgres().sql(
            f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{name}') THEN "
            f"DROP OWNED BY {name}; END IF; END $$",
            book.url.rpartition("/")[2],
        )


async def test_a_role_that_only_books_is_told_which_one_can(
    book: PostgresBook, dropped: None
) -> None:
    url = roles(book, "cashier")
    order, before = order_of(book), book.everything()
    [due] = due_months(url, book.directory, "2026-12", LATER_MS, order.forced)
    says = "the role cashier only books and may delete no record: name one that may with --url"
    assert len(due.obstacles) == 1 and says in due.obstacles[0]
    ledger = await connect(url, book.directory)
    try:
        with pytest.raises(LedgerError, match=says):
            await ledger.archive(order, DEED)
        assert book.everything() == before
        await archived(book, order, clears=False)
        with pytest.raises(LedgerError, match=says):
            await ledger.clear_archived()
        with closing(Books(url)) as books:  # and it books on
            books.book(make_record(700), writer="w0")
    finally:
        await ledger.aclose()
    assert not verified(book).findings


async def test_a_role_with_the_right_to_delete_needs_to_own_nothing(
    book: PostgresBook, dropped: None
) -> None:
    url = roles(book, "archivist", "DELETE ON records, heads")
    before, order = told(book), order_of(book)
    ledger = await connect(url, book.directory)
    try:
        await ledger.archive(order, DEED)
        assert await ledger.clear_archived() == 24
    finally:
        await ledger.aclose()
    assert told(book) == before and not verified(book).findings


async def test_another_key_than_that_of_the_seals_is_refused(
    book: PostgresBook, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    other.write_text("11" * 32)
    ledger = await connect(book.url, book.directory, other)
    try:
        with pytest.raises(LedgerError, match=r"another key than the one here: copy ledger\.key"):
            await ledger.archive(order_of(book), DEED)
    finally:
        await ledger.aclose()


async def test_what_is_not_deleted_yet_is_in_no_answer(
    book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "CLEARED_ROWS", 5)
    before, order = told(book), order_of(book)
    await archived(book, order, clears=False)
    batches = clearing(book.books.line)
    for _ in range(4):
        assert told(book) == before and not verified(book).findings
        assert book.reader().status().records == RECORDS - 24
        assert book.reader().record(make_id(0)) is None
        step = book.reader().verify_step("newest", None, book.key_file)
        assert not step.found
        next(batches)
    await rebuilt(book)
    assert told(book) == before and not verified(book).findings
    [(left,)] = book.rows("SELECT count(*) FROM records")
    assert RECORDS - 24 < left < RECORDS
    assert await cleared(book) == left - (RECORDS - 24) and await cleared(book) == 0
    assert told(book) == before and not verified(book).findings


CHILD = """
import asyncio, sys
from pathlib import Path
from proxy.ledger import connect, postgresql
from proxy.ledger.archives import ArchiveOrder
from proxy.server.failpoints import Failpoints
from tests.ledger.old_months import DEED, LATER_MS
import msgspec

postgresql._wall_clock_ms = lambda: LATER_MS
postgresql.pruning.CLEARED_ROWS = 5

async def main(url, directory, order, spec):
    ledger = await connect(url, Path(directory), fail=Failpoints(spec))
    await ledger.archive(msgspec.json.decode(order, type=ArchiveOrder), DEED)
    await ledger.clear_archived()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("spec", ["before=kill", "inside=kill", "after=kill", "inside=kill@3"])
async def test_killed_at_each_step_the_same_again_goes_on(book: PostgresBook, spec: str) -> None:
    order, sums, before = order_of(book), told(book), book.everything()
    words = (book.url, book.directory, msgspec.json.encode(order), f"ledger.book.{spec}")
    done = subprocess.run([sys.executable, "-c", CHILD, *words], check=False)
    assert done.returncode == -9
    if spec in ("before=kill", "inside=kill"):
        assert book.everything() == before
        await archived(book, order)
    else:
        assert len(book.reader().archives()) == 1
        assert told(book) == sums and not verified(book).findings
        with pytest.raises(LedgerError, match="archived already"):
            await archived(book, order)
        assert await cleared(book) == (24 if spec == "after=kill" else 19)
    assert told(book) == sums and not verified(book).findings
    assert book.rows("SELECT count(*) FROM records") == [(RECORDS - 24,)]


async def test_of_two_at_once_one_archives_the_month(book: PostgresBook) -> None:
    sums, order = told(book), order_of(book)
    found = await asyncio.gather(*(archived(book, order) for _ in range(2)), return_exceptions=True)
    [error] = [one for one in found if isinstance(one, BaseException)]
    assert isinstance(error, LedgerError) and "archived already" in str(error)
    assert len(book.reader().archives()) == 1 and not verified(book).findings
    assert told(book) == sums and book.rows("SELECT count(*) FROM records") == [(RECORDS - 24,)]


async def test_a_price_that_is_booked_meanwhile_is_not_missed(book: PostgresBook) -> None:
    """Its transaction has begun and not ended when the month is to leave."""
    order = order_of(book)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"

    with ThreadPoolExecutor(1) as pool, closing(Books(book.url)) as watch:
        began: list[Any] = []

        def inside(point: str) -> None:
            if point != "ledger.book.inside" or began:
                return
            began.append(pool.submit(lambda: asyncio.run(archived(book, order))))
            for _ in range(1000):
                if watch.rows(waiting) == [(1,)] or began[0].done():
                    return
                time.sleep(0.01)
            raise AssertionError("the month does not leave, and waits for nothing")

        late = make_record(902, adjusts=make_id(4), started_at_ms=START_MS + 5 * DAY_MS, **PRICE)
        with closing(Books(book.url, fail=inside)) as books:
            books.now_ms = LATER_MS
            books.adjust(late)
        assert began[0].result().month == "2026-11"
    found = {row["currency"]: row for row in book.reader().usage([], None, None, UTC)}
    assert (found["EUR"]["charge_nano"], found["EUR"]["requests"]) == (80, 1)
    assert not verified(book).findings
    await rebuilt(book)
    assert not verified(book).findings


async def test_a_price_of_a_record_that_is_not_deleted_yet_moves_nothing(
    book: PostgresBook,
) -> None:
    """As if it was deleted: the sums that were kept of it stay."""
    await archived(book, order_of(book), clears=False)
    before = book.reader().usage([], None, None, UTC)
    late = make_record(902, adjusts=make_id(4), started_at_ms=START_MS + 5 * DAY_MS, **PRICE)
    book.adjust([late], now_ms=LATER_MS)
    found = {row["currency"]: row for row in book.reader().usage([], None, None, UTC)}
    assert found["EUR"]["charge_nano"] == 80 and not found["EUR"]["requests"]
    assert all(found[row["currency"]] == row for row in before)
    assert not verified(book).findings
    assert await cleared(book) == 24 and not verified(book).findings


async def test_a_connection_that_is_lost_in_the_middle_changes_nothing(
    book: PostgresBook,
) -> None:
    order, before = order_of(book), book.everything()

    def cut(point: str) -> None:
        if point == "ledger.book.inside":
            postgres().sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "datname = current_database() AND pid <> pg_backend_pid() "
                "AND state = 'idle in transaction'",
                book.url.rpartition("/")[2],
            )

    with pytest.raises(LedgerUnavailable):
        await archived(book, order, fail=cut)
    assert book.everything() == before
    await archived(book, order)
    assert not verified(book).findings


async def test_others_book_while_a_month_is_deleted(
    book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also late closes of records that are going."""
    monkeypatch.setattr(pruning, "CLEARED_ROWS", 5)
    await archived(book, order_of(book), clears=False)
    after = 100
    for _ in clearing(book.books.line):
        after += 2
        now_ms = START_MS + 100 * DAY_MS
        some = (make_record(after, started_at_ms=now_ms), make_record(after + 1))
        book.batch(Batch("w0", numbered(*some, after=after)), now_ms=now_ms)
    assert not verified(book).findings
    sums = told(book)
    await rebuilt(book)
    assert told(book) == sums and not verified(book).findings
