"""Requests of both sides, joined outside of memory."""

from __future__ import annotations

from proxy.accounting.reconciling.spill import Spill
from proxy.core.reconciling.lines import VendorLine, own_line
from proxy.core.reconciling.moments import Width
from tests.ledger.samples import make_record


def test_each_id_has_all_lines_of_both_sides() -> None:
    with Spill() as spill:
        for n in range(2500):
            spill.add_billed(VendorLine(n, n, Width.MOMENT, id=f"gen-{n % 2000}", amount_nano=n))
        for n in range(1000, 2600):
            spill.add_own(own_line(make_record(n, upstream_request_id=f"gen-{n}"), "USD"))
        assert spill.common() == 1000
        found = {
            (theirs[0].id if theirs else ours[0].id): (
                len(ours),
                [line.amount_nano for line in theirs],
            )
            for ours, theirs in spill.requests()
        }
    assert len(found) == 2600
    assert found["gen-3"] == (0, [3, 2003])
    assert found["gen-1500"] == (1, [1500])
    assert found["gen-2599"] == (1, [])


def test_nothing_is_no_request() -> None:
    with Spill() as spill:
        assert spill.common() == 0 and list(spill.requests()) == []
