"""What each page shows, gathered from the answers that `/v1/usage` gives to the same key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.accounting.explained import explained, in_words
from proxy.accounting.export.usage import COLUMNS, as_csv
from proxy.core.calendar import Per, Window, window
from proxy.core.cursors import Cursors
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.limits.limit import PPM
from proxy.dataplane.endpoints import team_usage
from proxy.dataplane.endpoints.own_records import as_shown, own_record
from proxy.dataplane.endpoints.turns import Turns
from proxy.dataplane.endpoints.usage import OwnUsage, readable
from proxy.dataplane.pages import chart
from proxy.dataplane.pages.lines import LINE_SUMS, UseLine, most_first, use_lines
from proxy.dataplane.pages.months import MonthAsked, moment, month_of
from proxy.dataplane.pages.recent import recent_page
from proxy.dataplane.pages.wording import advice, resets
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import UsageRow
from proxy.quota.status import LimitStatus
from proxy.tenants.ring import Tenant

SHOWN_MAX: Final = 100  # lines of a table; the csv has all of them
CSV_ROWS_MAX: Final = 200_000
READING_AT_ONCE: Final = 2  # pages that read the book; each takes a thread that all share
_COSTS: Final = frozenset({"cost", "cost_nano"})
_BY: Final = ("day", "key", "model")


class BeforeAsked(msgspec.Struct, frozen=True):
    """Where a page of records begins, as the page before said."""

    before: str | None = None


class Viewer(msgspec.Struct, frozen=True):
    """Who looks at a page, and the config at that moment."""

    tenant: Tenant
    snapshot: Snapshot


class Views:
    """Each method gives what its template shows. All raise ProxyError."""

    def __init__(self, services: Services, own_usage: OwnUsage, cursors: Cursors) -> None:
        self._services = services
        self._usage = own_usage
        self._cursors = cursors
        self._turns = Turns(READING_AT_ONCE)

    async def limits(self, viewer: Viewer) -> dict[str, object]:
        """How each limit stands, and what was used today and this month."""
        tenant, zone, now_ms = viewer.tenant, viewer.snapshot.zone, self._services.now_ms()
        own = await self._told(viewer, "/v1/usage", "")
        team: dict[str, list[UseLine]] | None = None
        if tenant.lead and tenant.team is not None:
            team = {}
            for name, per in (("today", Per.DAY), ("month", Per.MONTH)):
                start_ms = window(per, now_ms, zone).start_ms
                with readable():
                    rows = await self._usage.sums.of(
                        ("team",), zone, start_ms, None, tenant.team, sums=LINE_SUMS
                    )
                team[name] = use_lines(rows, "team", viewer.snapshot.settings.currency)
        statuses: Sequence[LimitStatus] = own["limits"]
        return {
            "limits": [
                {
                    "limit": status,
                    "whose": "team" if status.scope == "team" else "key",
                    "filled": chart.filled(int(status.taken * PPM)),
                    "resets": resets(status.resets_at, now_ms, zone),
                }
                for status in sorted(statuses, key=lambda one: -one.taken)
            ],
            "per_value": own["limits_per_value"],
            "own": _lines_of(own["recent"], tenant.key_id, viewer.snapshot.settings.currency),
            "team": team,
        }

    async def use(self, viewer: Viewer, asked: MonthAsked) -> dict[str, object]:
        """The use of a month by day, by model and, for a lead, by key."""
        span, months = self._month(viewer, asked)
        found = {
            name: await self._lines_by(viewer, name, span)
            for name in ("day", "model", *(("key",) if viewer.tenant.lead else ()))
        }
        days = found["day"]
        priced = any(line.charge_nano for line in days)
        values = [
            (
                line.label or "",
                (line.charge_nano or 0) if priced else line.input_tokens + line.output_tokens,
            )
            for line in days
        ]
        tables = {}
        for name, lines in found.items():
            ordered = lines if name == "day" else sorted(lines, key=most_first)
            tables[name] = {"lines": ordered[:SHOWN_MAX], "more": max(0, len(ordered) - SHOWN_MAX)}
        return {
            **months,
            "tables": tables,
            "chart": chart.bars(values),
            "charted": "charge" if priced else "tokens",
        }

    async def export(self, viewer: Viewer, asked: MonthAsked) -> tuple[str, bytes]:
        """The month's name, and its use by day, key and model as csv."""
        span, months = self._month(viewer, asked)
        rows = await self._rows(viewer, _BY, span)
        if len(rows) > CSV_ROWS_MAX:
            raise ProxyError(
                413,
                "invalid_request_error",
                "too_many_rows",
                f"This month has {len(rows):,} rows, more than the page gives at once. Ask your"
                " operator for `tollkeeper usage --by day,key,model --format csv`.",
            )
        hidden = frozenset() if viewer.snapshot.settings.pages.costs else _COSTS
        columns = [name for name in COLUMNS if name not in hidden]
        return str(months["month"]), await asyncio.to_thread(as_csv, rows, _BY, columns)

    async def records(self, viewer: Viewer, asked: BeforeAsked) -> dict[str, object]:
        """A page of records, the newest first."""
        before = None if asked.before is None else self._cursors.opened(asked.before)
        if asked.before is not None and before is None:
            raise invalid_request(
                "No link here leads to this page of records. Begin with the newest ones.",
                param="before",
            )
        tenant, zone = viewer.tenant, viewer.snapshot.zone
        with readable():
            async with self._turns.of(tenant.key_id):
                page = await answer_of(recent_page, self._services.reader, tenant, before)
        return {
            "records": [
                {"record": one, "at": moment(one.started_at_ms, zone)} for one in page.records
            ],
            "before": None if page.before is None else self._cursors.sealed(page.before),
            "first": asked.before is None,
        }

    async def record(self, viewer: Viewer, id: str) -> dict[str, object]:
        """One record and its corrections, each with how its amounts came about."""
        costs, zone = viewer.snapshot.settings.pages.costs, viewer.snapshot.zone
        reader = self._services.reader
        with readable():
            entry = await own_record(reader, viewer.tenant, id)
            async with self._turns.of(viewer.tenant.key_id):
                told = await answer_of(lambda: list(explained(entry, reader)))
        return {
            "record": entry.record,
            "at": moment(entry.record.started_at_ms, zone),
            "parts": [
                {
                    "id": one.entry.record.id,
                    "adjusts": one.entry.record.adjusts,
                    "reason": one.entry.record.reason,
                    "words": in_words(one, zone, costs=costs),
                    "fields": fields_of(as_shown(one.entry.record, one.entry.booked_at_ms)),
                    "cost_nano": one.entry.record.cost_nano,
                    "charge_nano": one.entry.record.charge_nano,
                }
                for one in told
            ],
        }

    async def refusals(self, viewer: Viewer, asked: MonthAsked) -> dict[str, object]:
        """Which requests were refused, why, and what to do."""
        _, months = self._month(viewer, asked)
        query = f"from={months['month']}-01&to={months['following']}-01"
        told = await self._told(viewer, team_usage.REFUSALS, query)
        zone = viewer.snapshot.zone
        rows = [
            {
                **row,
                "advice": advice(row["code"]),
                "last": moment(row["last_ms"], zone),
            }
            for row in told["data"]
        ]
        return {**months, "rows": rows[:SHOWN_MAX], "more": max(0, len(rows) - SHOWN_MAX)}

    async def _told(self, viewer: Viewer, route: str, query: str) -> Mapping[str, Any]:
        return await self._usage.told(viewer.snapshot, viewer.tenant, route, query)

    def _month(self, viewer: Viewer, asked: MonthAsked) -> tuple[Window, dict[str, object]]:
        """The month that is asked for, and its name and those beside it."""
        return month_of(asked, viewer.snapshot.zone, self._services.now_ms())

    async def _lines_by(self, viewer: Viewer, name: str, span: Window) -> list[UseLine]:
        rows = await self._rows(viewer, (name,), span, LINE_SUMS)
        return use_lines(rows, name, viewer.snapshot.settings.currency)

    async def _rows(
        self,
        viewer: Viewer,
        by: tuple[str, ...],
        span: Window,
        sums: tuple[str, ...] | None = None,
    ) -> list[UsageRow]:
        """Sums that the viewer may read: a lead its team's, a member its own."""
        tenant, zone = viewer.tenant, viewer.snapshot.zone
        own = not (tenant.lead and tenant.team is not None)
        key = tenant.key_id if own else None
        with readable():
            async with self._turns.of(tenant.key_id):
                return await self._usage.sums.of(
                    by, zone, span.start_ms, span.end_ms, tenant.team, key, sums
                )


def _lines_of(
    recent: Mapping[str, Sequence[Any]], label: str, currency: str
) -> dict[str, list[UseLine]]:
    """The same of what /v1/usage says of today and this month; it states no cost."""
    more = {"label": label, "cost_nano": None, "unpriced_requests": 0, "reported_requests": 0}
    return {
        name: use_lines([{**more, **row} for row in rows], "label", currency)
        for name, rows in recent.items()
    }


_FIRST: Final = (
    "status outcome model_requested model_served upstream input_tokens output_tokens source"
).split()
_ELSEWHERE: Final = frozenset({"object", "id", "charge_nano", "started_at_ms"})
_as_text: Final[Callable[[object], bytes]] = msgspec.json.encode


def fields_of(shown: Mapping[str, object]) -> list[tuple[str, object]]:
    """The fields of a record, those first that most people ask for; what is nested as JSON."""
    names = [*_FIRST, *(name for name in shown if name not in _FIRST)]
    return [
        (name, _as_text(value).decode() if isinstance(value, dict | list) else value)
        for name in names
        if name not in _ELSEWHERE and (value := shown[name]) not in (None, {}, [])
    ]
