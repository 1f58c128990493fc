"""The parts of a statement: which are there, and where totals stand."""

from __future__ import annotations

import msgspec

from proxy.accounting.statements.sections import tables
from tests.accounting.statements.test_document import WHOLE


def test_a_closed_month_without_corrections_says_what_is_due():
    titles = [table.title for table in tables(msgspec.structs.replace(WHOLE, earlier=[], number=1))]
    assert titles[:2] == ["Used", "Due"]
    open_month = msgspec.structs.replace(WHOLE, earlier=[])
    assert "Due" not in [table.title for table in tables(open_month)]


def test_totals_are_the_last_rows():
    [used, earlier, *_] = tables(WHOLE)
    assert (used.totals, earlier.totals) == (2, 1)
    assert [row[0] for row in earlier.rows] == ["2026-10", "total"]
