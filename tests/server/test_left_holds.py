"""What a dead process holds ends as the book says."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.core.records.corrections import late_close
from proxy.ledger import connect_reader
from proxy.server.left_holds import booked_use, end_as_booked
from tests.ledger.samples import make_id, make_record
from tests.server.test_forgetting import lost

pytestmark = pytest.mark.whole  # servers of its own


async def test_each_is_looked_up_and_what_has_no_record_was_never_sent(tmp_path: Path) -> None:
    async with lost(tmp_path) as found:
        reader = connect_reader(found.book.url, tmp_path)
        for number in range(1, 301):
            await found.hold(number)
        first, late = (make_record(1, charge_nano=nano, writer="a") for nano in (70_000, 30_000))
        found.book.book(first, make_record(300, charge_nano=9_000), writer="a")
        found.book.adjust(late_close(first, [], late))
        for expected in (300, 0):
            assert await end_as_booked(found.left, found.ledger, reader) == expected
            assert await found.figures() == (39_000, 0), "with all corrections, once"


async def test_what_was_given_up_stays_charged_where_no_record_came(tmp_path: Path) -> None:
    async with lost(tmp_path) as found:
        reader = connect_reader(found.book.url, tmp_path)
        await found.hold(1)
        await found.hold(2)
        await found.charge()
        assert await found.figures() == (460_000, 0)
        found.book.book(make_record(1, charge_nano=70_000, writer="a"), writer="a")
        await end_as_booked(found.left, found.ledger, reader)
        assert await found.figures() == (300_000, 0)
        assert found.booked() == 300_000
        assert await booked_use(reader, None) is None
        stored = await found.ledger.stored([make_id(1)])
        used = await booked_use(reader, stored[make_id(1)])
        assert used is not None and used.charge_nano == 70_000
