"""Sums by tariff in SQLite: by the indexes, and within its integers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from proxy.core.pricing.amounts import ONE, compile_rates, factor, raised
from proxy.core.pricing.linear import COUNTS, NANO_MAX, ZERO, linear
from proxy.core.pricing.tariff import Bounds, Names
from proxy.ledger import QuestionRefused
from proxy.ledger.reading import Stretch, Tariff
from proxy.ledger.sqlite.read_only import connected
from proxy.ledger.sqlite.reader import SqliteReader
from proxy.ledger.sqlite.tariffs import _SUMS, _TABLE, PAGE_SEQS, pages
from tests.accounting.test_what_if import reader_of, use
from tests.ledger.samples import make_record
from tests.ledger.sqlite.test_pruning import pruned
from tests.ledger.whole_book import seal_all, whole_book

NAMES = Names("modelmax", "research", "deepseek-v3.2", "deepseek-v3.2", None)
FREE_OF_ALL = Tariff(None, None, NAMES, Bounds(), ZERO, ZERO, False)


def test_each_record_is_found_once_and_its_tariff_in_one_step(tmp_path: Path) -> None:
    reader_of(tmp_path, use(0))
    with connected(tmp_path / "ledger.db") as connection:
        for statement in _TABLE:
            connection.execute(statement)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {_SUMS}", (0, 1, 0, 1)).fetchall()
    steps = " ".join(row[3] for row in plan)
    assert "SEARCH r USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
    assert "SEARCH t USING COVERING INDEX tariffs_names" in steps and "to_ms>?" in steps
    assert "SEARCH later USING COVERING INDEX records_adjusts" in steps
    assert "SCAN r" not in steps and "SCAN t" not in steps


def test_the_largest_amounts_of_the_longest_page_have_a_sum(tmp_path: Path) -> None:
    """SQLite refuses a sum beyond 63 bits, and gives a float for such a product."""
    rates = compile_rates({"input": "3.75", "output": "15", "cached": "0.375"}, "0.075")
    price = linear(rates, factor("0.138742"), raised("0.033"))
    plain = linear(compile_rates({"input": "0.1", "output": "0"}, "0"), ONE)
    assert price is not None and plain is not None
    most = price.tokens_max
    records = [
        make_record(n, input_tokens=most, output_tokens=most, cached_tokens=None,
                    reasoning_tokens=None, currency="USD", cost_nano=NANO_MAX - 1,
                    charge_nano=NANO_MAX - 1)
        for n in range(3)
    ]  # fmt: skip  # one call a record
    reader_of(tmp_path, *records)
    known = [Tariff(None, "USD", NAMES, Bounds(), plain, price, True)]
    with connected(tmp_path / "ledger.db") as connection:
        [page] = pages(connection, Stretch(through=3), known)
    [found] = page.sums
    counts = (most, most, *(0,) * (len(COUNTS) - 2))
    cost, charge = (
        new - old for new, old in zip(price.amounts(counts), plain.amounts(counts), strict=True)
    )
    assert (found.requests, found.cost_moved, found.charge_moved) == (3, 3 * cost, 3 * charge)
    assert found.cost_nano == 3 * (NANO_MAX - 1) and PAGE_SEQS * NANO_MAX < 2**63


def test_nothing_is_left_in_the_file(tmp_path: Path) -> None:
    reader_of(tmp_path, *(make_record(n) for n in range(5)))
    before = (tmp_path / "ledger.db").read_bytes()
    with connected(tmp_path / "ledger.db") as connection:
        [page] = pages(connection, Stretch(through=5), [FREE_OF_ALL])
    assert [(each.place, each.requests) for each in page.sums] == [(0, 5)] and not page.rows
    assert (tmp_path / "ledger.db").read_bytes() == before
    other = msgspec.structs.replace(FREE_OF_ALL, currency="USD")
    with connected(tmp_path / "ledger.db") as connection:
        [page] = pages(connection, Stretch(through=5), [other])
    assert not page.sums and len(page.rows) == 5


def test_a_month_that_is_archived_meanwhile_is_told(tmp_path: Path) -> None:
    """The sums would lack it and look whole."""
    path = whole_book(tmp_path)
    seal_all(path)
    reader = SqliteReader(path)
    with connected(path) as connection:
        some = pages(connection, Stretch(through=reader.head()), [], 8)
        next(some)
        pruned(path)
        with pytest.raises(QuestionRefused, match="2026-11 are archived, up to seq 24"):
            list(some)


def test_a_ledger_of_an_earlier_version_has_the_same_sums(tmp_path: Path) -> None:
    """A temporary view stands for its records, which lack columns."""
    reader_of(tmp_path, *(make_record(n) for n in range(5)))
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        for table in ("records", "rollups"):
            for trigger in ("no_update", "no_delete", "known"):
                connection.execute(f"DROP TRIGGER IF EXISTS {table}_{trigger}")
            connection.execute(f"ALTER TABLE {table} DROP COLUMN cache_write_long_tokens")
            connection.execute(f"ALTER TABLE {table} DROP COLUMN searches")
        connection.execute("PRAGMA user_version = 2")
    with connected(tmp_path / "ledger.db") as connection:
        [page] = pages(connection, Stretch(through=5), [FREE_OF_ALL])
    assert [(each.place, each.requests) for each in page.sums] == [(0, 5)] and not page.rows
