"""The newest records of a key or a team, page by page into the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.usage import UsageRecord
from proxy.dataplane.endpoints.own_records import may_read
from proxy.ledger import Reader
from proxy.ledger.reading import Row, Stretch
from proxy.tenants.ring import Tenant

PAGE_MAX: Final = 50
SCANNED_MAX: Final = 20_000  # rows of the book that are looked at for one page
_STEP: Final = 1_000
_KEY, _TEAM, _SEQ = COLUMNS.index("key_id"), COLUMNS.index("team"), COLUMNS.index("seq")


class RecentPage(msgspec.Struct, frozen=True):
    """Records, the newest first. `before`: where the next page begins; None: there is no more."""

    records: Sequence[UsageRecord]
    before: int | None


def recent_page(reader: Reader, tenant: Tenant, before: int | None) -> RecentPage:
    """The newest records that the tenant may read, booked before that seq.

    A page may hold less, or none, where others have booked more than SCANNED_MAX meanwhile.
    """
    head = reader.head()
    top = head if before is None else min(before - 1, head)
    found: list[Row] = []
    lowest = max(0, top - SCANNED_MAX)
    while top > lowest:
        bottom = max(lowest, top - _STEP)
        rows = [
            row
            for page in reader.pages(Stretch(after=bottom, through=top))
            for row in page.rows
            if may_read(tenant, row[_KEY], row[_TEAM])
        ]
        for row in reversed(rows):
            if len(found) == PAGE_MAX:
                return RecentPage([_record(each) for each in found], int(found[-1][_SEQ] or 0))
            found.append(row)
        top = bottom
    return RecentPage([_record(row) for row in found], top + 1 if top > 0 else None)


def _record(row: Row) -> UsageRecord:
    return record_from(dict(zip(COLUMNS, row, strict=True)))
