"""The newest records, page by page into the past: those of a key or a team, or of a choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.usage import UsageRecord
from proxy.ledger import Reader
from proxy.ledger.reading import Row, RowChoice
from proxy.tenants.ring import Tenant

PAGE_MAX: Final = 50
_SEQ, _STARTED = COLUMNS.index("seq"), COLUMNS.index("started_at_ms")


class RecentPage(msgspec.Struct, frozen=True):
    """Records, the newest first. `before`: where the next page begins; None: there is no more."""

    records: Sequence[UsageRecord]
    before: int | None


def recent_page(reader: Reader, tenant: Tenant, before: int | None) -> RecentPage:
    """The newest records that the tenant may read, behind the one of that seq.

    They are its own, and those of the team that it leads. Raises QuestionRefused where the book has
    no such seq.
    """
    through = reader.head()
    choices = [RowChoice(through=through, key=tenant.key_id)]
    if tenant.lead and tenant.team is not None:
        choices.append(RowChoice(through=through, team=tenant.team))
    found: dict[object, Row] = {}
    more = False
    for choice in choices:
        page = reader.listed(choice, before, PAGE_MAX)
        found |= {row[_SEQ]: row for row in page.rows}
        more = more or page.before is not None
    rows = sorted(found.values(), key=_newest_first)
    more = more or len(rows) > PAGE_MAX
    shown = rows[:PAGE_MAX]
    return RecentPage([_record(row) for row in shown], int(shown[-1][_SEQ] or 0) if more else None)


def page_of(reader: Reader, choice: RowChoice, before: int | None) -> RecentPage:
    """The newest records of a choice, behind the one of that seq.

    Raises QuestionRefused where the book has no such seq.
    """
    page = reader.listed(choice, before, PAGE_MAX)
    return RecentPage([_record(row) for row in page.rows], page.before)


def _newest_first(row: Row) -> tuple[int, int]:
    return -int(row[_STARTED] or 0), -int(row[_SEQ] or 0)


def _record(row: Row) -> UsageRecord:
    return record_from(dict(zip(COLUMNS, row, strict=True)))
