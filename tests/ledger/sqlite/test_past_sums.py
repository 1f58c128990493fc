"""The statements of earlier versions keep sums at the bound of then, as their ledgers have them."""

from __future__ import annotations

import sqlite3

import pytest

from proxy.ledger.sqlite.past_sums import summed


@pytest.mark.parametrize(
    ("values", "sum"),
    [([1, 2], 3), ([], None), ([2**63 - 1, 5], 2**63 - 1), ([-(2**62)] * 3, -(2**63 - 1))],
)
def test_a_sum_stays_at_the_bound(values: list[int], sum: int | None) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (n INTEGER) STRICT")
    connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    assert connection.execute(f"SELECT {summed('n')} FROM t").fetchone() == (sum,)
    connection.close()
