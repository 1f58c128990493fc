"""The audit's rows hang together, and each way of changing them is told."""

from __future__ import annotations

from proxy.core.managed import Audit
from proxy.ledger.audit_chain import COLUMNS, next_rows, problems
from tests.ledger.samples import KEY

DEEDS = [
    Audit(at_ms=n, actor="ops", origin="socket", action="create", kind="key", name=f"k{n}")
    for n in range(4)
]
ROWS = list(next_rows(DEEDS, None, KEY))


def test_rows_go_on_where_the_chain_ended() -> None:
    assert [len(row) for row in ROWS] == [len(COLUMNS)] * 4
    first = list(next_rows(DEEDS[:2], None, KEY))
    seq, row_hash = first[-1][0], first[-1][-3]
    assert isinstance(seq, int) and isinstance(row_hash, bytes)
    assert first + list(next_rows(DEEDS[2:], (seq, row_hash), KEY)) == ROWS
    assert list(problems(ROWS, KEY)) == []


def test_what_was_changed_or_taken_out_is_named() -> None:
    changed = [ROWS[0], (*ROWS[1][:2], "mallory", *ROWS[1][3:]), *ROWS[2:]]
    assert list(problems(changed, KEY)) == ["audit entry 2: changed since it was written"]
    assert "entries between are missing" in next(problems([ROWS[0], *ROWS[2:]], KEY))
    forged = list(next_rows(DEEDS, None, b"another key"))
    assert list(problems(forged, KEY)) == []
    mixed = [(*row[:-2], ours[-2], row[-1]) for row, ours in zip(forged, ROWS, strict=True)]
    assert len(list(problems(mixed, KEY))) == 4
