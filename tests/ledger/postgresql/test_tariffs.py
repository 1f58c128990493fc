"""Sums by tariff over the chains of several writers."""

from __future__ import annotations

import random

import pytest

from proxy.core.pricing.linear import ZERO
from proxy.core.pricing.tariff import Bounds, Names
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.postgresql.tariffs import rows, sums
from proxy.ledger.reading import Stretch, Tariff
from tests.ledger.postgresql.books import books
from tests.ledger.samples import START_MS, make_record

pytestmark = pytest.mark.whole  # a server of its own

NAMES = Names("modelmax", "research", "deepseek-v3.2", "deepseek-v3.2", None)


def test_each_request_is_in_a_sum_or_a_row_whoever_wrote_it() -> None:
    rng = random.Random(5)
    with books() as many:
        expected = []
        for n in range(20):
            writer = rng.choice("abc")
            batch = [
                make_record(100 * n + m, writer=writer, started_at_ms=START_MS + rng.randrange(99),
                            team=rng.choice(["research", "", None]))
                for m in range(rng.randint(1, 5))
            ]  # fmt: skip  # one call a record
            many.book(*batch, writer=writer)
            expected += batch
        known = [Tariff(None, None, NAMES, Bounds(), ZERO, ZERO, False)]
        stretch = Stretch(after=3, through=len(expected) - 2, from_ms=START_MS + 20)
        [page] = PostgresReader(many.url).by_tariff(stretch, known)
        within = [one for one in expected[3:-2] if one.started_at_ms >= START_MS + 20]
        assert [row[0] for row in page.rows] == [one.id for one in within if one.team != "research"]
        [found] = page.sums
        assert found.requests == sum(one.team == "research" for one in within)
        with opened(many.url, writes=False) as connection:
            wanted = sorted(rng.sample(range(1, len(expected) + 1), 9))
            assert [row[:2] for row in rows(connection, wanted)[0]] == [
                (expected[seq - 1].id, seq) for seq in wanted
            ]
            assert rows(connection, []) == ((), ())
            # Without any tariff, and without any row.
            assert len(sums(connection, stretch, [], 3, 9)) <= 6
            assert sums(connection, stretch, known, 0, 0) == []
