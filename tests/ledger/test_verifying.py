"""A pass over a chain: its rows, its seals, and a beginning that was pruned."""

from __future__ import annotations

import pytest

from proxy.core.records.canonical import GENESIS, Value, chained, key_name, row_values, seal
from proxy.ledger.verifying import ChainCheck, Head, Verified
from tests.ledger.samples import KEY, START_MS, make_record

BATCHES = (2, 1)


def chain() -> tuple[list[list[Value]], list[Head]]:
    """The rows and heads of two batches."""
    rows: list[list[Value]] = []
    heads: list[Head] = []
    prev_hash = GENESIS
    for size in BATCHES:
        for _ in range(size):
            values = row_values(make_record(len(rows)), len(rows) + 1, START_MS)
            row_hash = chained(prev_hash, values)
            rows.append([*values, prev_hash, row_hash])
            prev_hash = row_hash
        heads.append(head(len(rows), prev_hash))
    return rows, heads


def head(seq: int, row_hash: bytes) -> Head:
    return seq, row_hash, START_MS, key_name(KEY), seal(KEY, seq, START_MS, row_hash)


def checked(rows: list[list[Value]], heads: list[Head], checkpoint: Head | None = None) -> Verified:
    check = ChainCheck(KEY)
    check.start(checkpoint, heads)
    for row in rows:
        check.record(row)
    check.end()
    return check.found()


def test_a_chain_left_alone_is_in_order() -> None:
    assert checked(*chain()) == Verified(3, 2, 0, ())
    assert checked([], []) == Verified(0, 0, 0, ())


def test_a_chain_whose_beginning_was_pruned_starts_at_its_checkpoint() -> None:
    rows, heads = chain()
    row_hash = rows[0][-1]
    assert isinstance(row_hash, bytes)
    assert checked(rows[1:], heads, head(1, row_hash)) == Verified(2, 2, 0, ())
    [problem] = checked(rows[1:], heads, (1, row_hash, 0, key_name(KEY), bytes(32))).problems
    assert problem == "checkpoint of seq 1: not made with this key"


@pytest.mark.parametrize(
    ("left_rows", "left_heads", "said"),
    [
        ([0, 2], [0, 1], "record seq 3 id"),
        ([0, 1], [0, 1], "seal of seq 3: the rows it covers are missing"),
        ([0, 1, 2], [0], "rows after seq 2 are not sealed"),
        ([], [0, 1], "seal of seq 2: the rows it covers are missing"),
    ],
)
def test_what_is_missing_is_told(left_rows: list[int], left_heads: list[int], said: str) -> None:
    rows, heads = chain()
    found = checked([rows[n] for n in left_rows], [heads[n] for n in left_heads])
    assert any(problem.startswith(said) for problem in found.problems), found
