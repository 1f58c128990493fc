"""The tree and the sums over rows, and rows that do not follow each other."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.accounting.archiving import tally
from proxy.accounting.archiving.tally import MonthTally
from proxy.core.records.canonical import COLUMNS, GENESIS, canonical, chained_rows
from proxy.core.records.merkle import leaf_hash, root_of
from proxy.ledger import LedgerError
from proxy.ledger.archives import ChainStart
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


def two_chains() -> list[list[Any]]:
    """Two rows of each of two chains, both from their beginning, in turns; seqs are of the book."""
    parts = [chained_rows([make_record(10 * n + k) for k in range(2)], 0, GENESIS, START_MS)[0]
             for n in range(2)]  # fmt: skip
    rows = [parts[0][0], parts[1][0], parts[0][1], parts[1][1]]
    place = COLUMNS.index("seq")
    return [[*row[:place], seq, *row[place + 1 :]] for seq, row in enumerate(rows, start=1)]


STARTS = [ChainStart("w0", 1, GENESIS.hex()), ChainStart("w1", 1, GENESIS.hex())]


def test_rows_of_several_chains_are_hashed_with_their_place_in_each() -> None:
    rows, found = two_chains(), MonthTally(1, STARTS)
    texts = [found.add(row) for row in rows]
    assert found.last_seq == 4 and found.root() == root_of([leaf_hash(text) for text in texts])


@pytest.mark.parametrize(
    ("starts", "order"),
    [
        (STARTS[:1], (0, 1)),  # one chain more than there are
        ([*STARTS[:1], ChainStart("w1", 2, GENESIS.hex())], (0, 1)),  # another place
        ([*STARTS[:1], ChainStart("w1", 1, "11" * 32)], (0, 1)),  # another row before it
        (STARTS, (0, 3)),  # its first row is missing
    ],
)
def test_rows_that_follow_no_row_of_their_chain_are_found(
    starts: list[ChainStart], order: tuple[int, ...]
) -> None:
    rows, found = two_chains(), MonthTally(1, starts)
    place = COLUMNS.index("seq")
    with pytest.raises(LedgerError, match=r"seq [12] is missing or was changed"):
        for seq, n in enumerate(order, start=1):
            found.add([*rows[n][:place], seq, *rows[n][place + 1 :]])


def test_two_rows_do_not_follow_the_same_one() -> None:
    rows, found = two_chains(), MonthTally(1, STARTS[:1])
    found.add(rows[0])
    place = COLUMNS.index("seq")
    found.add([*rows[2][:place], 2, *rows[2][place + 1 :]])
    with pytest.raises(LedgerError, match="seq 3"):
        found.add(rows[2])
