"""Months over the chains of several writers, sealed by several processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from proxy.ledger import Batch, connect, connect_reader
from proxy.ledger.copying import copy
from proxy.ledger.months import MonthRow
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.months import PostgresMonths, add_month
from proxy.ledger.signing import FILE, month_signer
from proxy.ledger.verification import verify
from tests.ledger.postgresql.books import Books
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered
from tests.ledger.sqlite.test_months import audited
from tests.ledger.whole_book import DAY_MS, reader_of, seal_all, whole_book
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole


@pytest.fixture
def books(tmp_path: Path) -> Iterator[list[Books]]:
    """Two writers of one ledger, which took turns for forty days."""
    (tmp_path / "ledger.key").write_text(KEY.hex())
    both = [Books()]
    both.append(Books(both[0].url))
    for n in range(20):
        both[n % 2].now_ms = START_MS + n * 2 * DAY_MS
        both[n % 2].book(make_record(2 * n), make_record(2 * n + 1), writer=f"w{n % 2}")
    yield both
    for one in both:
        one.close()


async def test_processes_that_seal_at_once_seal_each_month_once(
    books: list[Books], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.ledger.months.CHUNK", 4)
    monkeypatch.setattr("proxy.ledger.postgresql._wall_clock_ms", lambda: START_MS + 90 * DAY_MS)
    month_signer(tmp_path / FILE, make=True)
    ledgers = [await connect(books[0].url, tmp_path) for _ in range(3)]
    done = await asyncio.gather(*(one.seal_months(UTC, tmp_path / FILE) for one in ledgers))
    for one in ledgers:
        await one.aclose()
    months = sorted(month.month for some in done for month in some)
    assert months == ["2026-11", "2026-12"]
    reader = connect_reader(books[0].url, tmp_path)
    found = verify(reader, tmp_path / "ledger.key")
    assert found.found == 0
    signer = month_signer(tmp_path / FILE, make=False)
    assert signer is not None
    for n in (0, 1, 29, 39):
        proof = reader.proof(make_id(n))
        assert proof is not None
        checked = audited(msgspec.json.encode(proof), signer.public_key, tmp_path)
        assert checked.returncode == 0, checked.stderr
    columns = dict(zip(proof.columns, msgspec.json.decode(proof.leaf), strict=True))
    assert (columns["seq"], proof.index) == (20, 9), "a leaf has the place in its writer's chain"


def test_a_month_that_another_process_has_sealed_otherwise_is_not_added(
    books: list[Books],
) -> None:
    row = MonthRow(6, 1, "2026-11", START_MS, START_MS, b"r", b"c", b"k", "note")
    with opened(books[0].url, writes=True) as connection, connection.transaction():
        assert add_month(connection, row)
        assert not add_month(connection, msgspec.structs.replace(row, month="2026-12"))
        later = msgspec.structs.replace(row, seq=9, first_seq=8, month="2026-12")
        assert not add_month(connection, later)
        assert add_month(connection, msgspec.structs.replace(later, first_seq=7))
        months = PostgresMonths(connection)
        last = months.month_before(None)
        assert last is not None and (last.seq, last.month) == (9, "2026-12")


def test_a_batch_that_was_booked_before_the_end_and_committed_behind_it_is_in_the_next_month(
    books: list[Books],
) -> None:
    """Clocks of processes differ: the order of commits decides, and no seq is in two months."""
    end_ms = START_MS + 50 * DAY_MS
    for n, now_ms in enumerate((end_ms - 1, end_ms, end_ms - 1)):
        books[n % 2].now_ms = now_ms
        batch = Batch(f"v{n}", numbered(make_record(900 + n)))
        books[n % 2].batch(batch)
    with opened(books[0].url, writes=False) as connection, connection.transaction():
        assert PostgresMonths(connection).last_before(40, end_ms, end_ms) == 41
        assert PostgresMonths(connection).booked_behind(41, end_ms) == end_ms


def test_months_of_a_copied_ledger_prove_what_they_proved(tmp_path: Path) -> None:
    path = whole_book(tmp_path)
    seal_all(path, START_MS + 31 * DAY_MS)
    before = reader_of(path).proof(make_id(5))
    url = postgres().database()
    copy(f"sqlite:{path.name}", tmp_path, url, KEY)
    reader = connect_reader(url, tmp_path)
    assert before is not None and reader.proof(make_id(5)) == before
    found = verify(reader, tmp_path / "ledger.key")
    assert found.found == 0
    [part] = [part for part in found.parts if part.name == "months"]
    assert (part.rows, part.seals) == (24, 1)
