"""The tree and the sums over rows, and rows that do not follow each other."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.accounting.archiving import tally
from proxy.accounting.archiving.tally import MonthTally
from proxy.core.records.canonical import canonical, chained_rows
from proxy.core.records.merkle import leaf_hash, root_of
from proxy.ledger import LedgerError
from tests.ledger.samples import START_MS, make_record


def rows_of(count: int) -> list[list[Any]]:
    amounts = {"cost_nano": 3, "charge_nano": 4, "currency": "USD"}
    some = [make_record(n, **(amounts if n % 2 else {})) for n in range(count)]
    rows, _ = chained_rows(some, 10, bytes(32), START_MS)
    return rows


@pytest.mark.parametrize("count", [1, 3, 4, 5, 13])
def test_the_root_is_that_of_one_tree(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "CHUNK", 4)
    rows, found = rows_of(count), MonthTally(11)
    for row in rows:
        found.add(row)
    assert found.root() == root_of([leaf_hash(canonical(row[:-2])) for row in rows])
    assert found.last_seq == 10 + count and found.last_hash == rows[-1][-1]
    totals = found.totals()
    assert totals.records == count and totals.charges == (
        {"USD": 4 * (count // 2)} if count > 1 else {}
    )


def test_rows_that_are_missing_moved_or_changed_are_found() -> None:
    rows = rows_of(3)
    for wrong in ([rows[1]], [rows[0], rows[2]], [rows[0], rows[0]]):
        found = MonthTally(11)
        with pytest.raises(LedgerError, match="missing or was changed"):
            for row in wrong:
                found.add(row)
    for place in range(len(rows[0])):
        changed = list(rows[0])
        changed[place] = b"x" if isinstance(changed[place], bytes) else "another"
        with pytest.raises(LedgerError, match="seq 11"):
            MonthTally(11).add(changed)
