"""Which months no statement can count any more."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from proxy.accounting.statements.gone import Gone, gone
from proxy.ledger.archives import Archive, MonthTotals


def archive(last_seq: int, last_start: datetime) -> Archive:
    return Archive(
        month="2026-01",
        first_seq=1,
        last_seq=last_seq,
        first_start_ms=0,
        last_start_ms=int(last_start.timestamp() * 1000),
        archived_at_ms=1,
        root="",
        hash="",
        file="f",
        bytes=1,
        sha256="",
        totals=MonthTotals(1, 0, 0, 0, {}, {}),
    )


def test_a_month_is_gone_where_a_record_of_it_is() -> None:
    assert gone([], UTC) == Gone(0, None)
    found = [
        archive(5, datetime(2026, 1, 20, tzinfo=UTC)),
        archive(9, datetime(2026, 2, 28, 20, tzinfo=UTC)),
    ]
    march = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
    assert gone(found, UTC) == Gone(9, march)
    # There it was March already.
    shanghai = ZoneInfo("Asia/Shanghai")
    april = int(datetime(2026, 4, 1, tzinfo=shanghai).timestamp() * 1000)
    assert gone(found, shanghai) == Gone(9, april)
