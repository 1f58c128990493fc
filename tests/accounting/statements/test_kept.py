"""A statement to bytes and back."""

from __future__ import annotations

import msgspec
import pytest

from proxy.accounting.statements.kept import NoStatement, kept, sums_wrong, thawed
from proxy.core.records.anchors import Anchor, ChainEnd
from tests.accounting.statements.test_document import WHOLE

ANCHOR = Anchor(
    ledger="l", seq=1, hash="00", booked_at_ms=3, key_name="k", seal="00",
    chains={"w0": ChainEnd(1, "00")},
)  # fmt: skip
CLOSED = msgspec.structs.replace(
    WHOLE, number=2, previous="ab", anchor=ANCHOR, closed_at_ms=5, closed_by="7", apart={"12": 3}
)


def test_it_comes_back_as_it_was() -> None:
    document = kept(CLOSED)
    assert thawed(document) == CLOSED
    assert kept(thawed(document)) == document


def test_names_that_look_like_numbers_stay_text() -> None:
    rows = [{**row, "team": "0012", "key": "7", "model": "null"} for row in WHOLE.rows]
    labels = {"0012": [{"cost_center": "4711"}]}
    statement = msgspec.structs.replace(CLOSED, rows=rows, team="0012", labels=labels)
    assert thawed(kept(statement)) == statement


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"\xff", b'{"format":"tollkeeper statement 2"}', b'{"format":"tollkeeper statement 1"}'],
)  # fmt: skip
def test_other_bytes_are_no_statement(document: bytes) -> None:
    with pytest.raises(NoStatement):
        thawed(document)
    with pytest.raises(NoStatement):
        sums_wrong(document)
