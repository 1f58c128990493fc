"""How it stands, as pages: the first page, limits, refusals, the audit, ledger and config."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
import yaml

from proxy.admin.books import LEDGER_PATH, REFUSALS_PATH, RefusalRow
from proxy.admin.endpoint import NoQuery, read
from proxy.admin.limits import CREDITS_PATH, LIMIT_PATH, LIMITS_PATH
from proxy.admin.pages.book_views import BookViews, LinkedLine
from proxy.admin.pages.chosen_records import ChosenAsked, chosen
from proxy.admin.pages.inside import InsideApi
from proxy.admin.pages.limit_lines import PERCENT, credit_line, limit_line, takes_credit
from proxy.admin.pages.look import PageLook, ShownPage, link
from proxy.admin.process import HEALTH_PATH
from proxy.admin.tenant_views import deed
from proxy.admin.tenants import VERIFY_PATH
from proxy.admin.verifying import PATH as VERIFY_BOOK_PATH
from proxy.config.effective import masked
from proxy.core.calendar import Per, Window, window
from proxy.core.errors import invalid_request
from proxy.dataplane.pages.lines import UseLine
from proxy.dataplane.pages.months import MonthAsked, moment, month_of
from proxy.dataplane.pages.wording import advice
from proxy.dataplane.services import Services
from proxy.ledger.verification import NEWEST

LINES_MAX: Final = 100
FEW: Final = 10  # of each list on the first page
NEAR: Final = "80%"
FORECAST_FROM: Final = 20  # a month is forecast when a twentieth of it is over


class AuditAsked(msgspec.Struct, frozen=True):
    """Entries before this seq; None: the newest."""

    before: Annotated[int, msgspec.Meta(ge=1, le=2**62)] | None = None


class LimitsAsked(msgspec.Struct, frozen=True):
    """Limits that hold for a team or key, used to at least that share, behind the place `after`."""

    near: str = "0%"
    team: str | None = None
    key: str | None = None
    after: str | None = None


class CreditAsked(msgspec.Struct, frozen=True):
    """The id of a limit. `done`: a credit was booked."""

    limit: str
    done: str | None = None


class DoneAsked(msgspec.Struct, frozen=True):
    """`done`: what a form has just done."""

    done: str | None = None


class StateViews:
    """Each method gives what its template shows. All raise ProxyError."""

    def __init__(self, services: Services, api: InsideApi, book: BookViews) -> None:
        self._services = services
        self._api = api
        self._book = book

    async def overview(self, look: PageLook) -> ShownPage:
        """What is spent, what is near its limit, what was refused, and whether all is well."""
        look.asked(NoQuery)
        zone, now_ms = look.snapshot.zone, look.now_ms
        span, months = month_of(MonthAsked(), zone, now_ms)
        name = str(months["month"])
        month = chosen(ChosenAsked(month=name), zone)
        day_ms = window(Per.DAY, now_ms, zone).start_ms
        today = chosen(ChosenAsked(day=moment(day_ms, zone)[:10]), zone)
        total = await self._book.sums(look, (), month)
        health = await self._api.ask(look.visitor, "GET", HEALTH_PATH)
        return ShownPage(
            "overview",
            {
                "month": name,
                "today": await self._book.sums(look, (), today),
                "total": total,
                "forecast": [_forecast(one.line, span, now_ms) for one in total],
                "estimated": [_share(one) for one in total],
                "teams": await self._book.sums(look, ("team",), month, most=FEW),
                "near": await self._limits(look, near=NEAR, limit=str(FEW)),
                "refused": await self._refused(look, day_ms),
                "health": health,
                "started": moment(health.started_at_ms, zone),
            },
        )

    async def limits(self, look: PageLook) -> ShownPage:
        """All limits, the fullest first."""
        asked = look.asked(LimitsAsked)
        said = {"near": asked.near, "team": asked.team, "key": asked.key}
        found = await self._limits(look, **said, after=asked.after, limit=str(LINES_MAX))
        more = link("/ui/limits", **said, after=found["next"]) if found["next"] else None
        return ShownPage("admin_limits", {"asked": asked, "more": more, **found})

    async def credit(self, look: PageLook) -> ShownPage:
        """One limit, the credits on it, and the form for another one."""
        asked = look.asked(CreditAsked)
        one = await self._api.ask(look.visitor, "GET", LIMIT_PATH, places={"limit": asked.limit})
        query = [("limit_id", asked.limit), ("limit", str(LINES_MAX))]
        given = await self._api.ask(look.visitor, "GET", CREDITS_PATH, query=query)
        return ShownPage(
            "credit",
            {
                "one": limit_line(one.limit, look),
                "values": one.values,
                "takes_credit": takes_credit(one.limit),
                "credits": [credit_line(each, look) for each in given.credits],
                "asked": asked,
            },
        )

    async def refusals(self, look: PageLook) -> ShownPage:
        """Which requests were refused in a month, by key, reason and limit, and what helps."""
        _, months = month_of(look.asked(MonthAsked), look.snapshot.zone, look.now_ms)
        rows = await self._refusals(look, f"{months['month']}-01", f"{months['following']}-01")
        zone = look.snapshot.zone
        return ShownPage(
            "admin_refusals",
            {
                **months,
                "rows": [
                    {"row": row, "advice": advice(row.code), "last": moment(row.last_ms, zone)}
                    for row in rows[:LINES_MAX]
                ],
                "more": max(0, len(rows) - LINES_MAX),
            },
        )

    async def audit(self, look: PageLook) -> ShownPage:
        """Who did what, the newest first."""
        asked, reader = look.asked(AuditAsked), self._services.reader
        zone = look.snapshot.zone

        def page() -> tuple[list[dict[str, object]], int]:
            last = reader.audit_head()
            top = last if asked.before is None else min(last, asked.before - 1)
            after = max(0, top - LINES_MAX)
            found = [deed(entry) for entry in reader.audit(after, top - after)]
            return [
                {"deed": one, "at": moment(one.at_ms, zone), "changes": changes(one)}
                for one in reversed(found)
            ], after

        deeds, after = await read(page)
        older = link("/ui/audit", before=after + 1) if after else None
        return ShownPage("audit", {"deeds": deeds, "older": older, "first": asked.before is None})

    async def ledger(self, look: PageLook) -> ShownPage:
        """Where the book ends, what waits to be booked, and who shares it."""
        look.asked(NoQuery)
        return await self._ledger(look, {})

    async def checked(self, look: PageLook, part: str) -> ShownPage:
        """The same page with what is wrong in a part of the book. Raises ProxyError 400 too.

        It is asked by a form and by no link: it reads much, and browsers follow links ahead.
        """
        if part == "newest":
            query = [("part", NEWEST)]
            step = await self._api.ask(look.visitor, "GET", VERIFY_BOOK_PATH, query=query)
            return await self._ledger(look, {part: [flaw.what for flaw in step.findings]})
        if part == "audit":
            told = await self._api.ask(look.visitor, "GET", VERIFY_PATH)
            return await self._ledger(look, {part: told.problems})
        raise invalid_request("check: choose newest or audit.", param="check")

    async def _ledger(self, look: PageLook, problems: Mapping[str, Sequence[str]]) -> ShownPage:
        zone = look.snapshot.zone
        state = await self._api.ask(look.visitor, "GET", LEDGER_PATH)
        health = await self._api.ask(look.visitor, "GET", HEALTH_PATH)
        sharing = self._services.sharing
        instances = [] if sharing is None else await sharing.instances()
        booked_ms = state.ledger.last_booked_at_ms
        return ShownPage(
            "ledger",
            {
                "state": state,
                "health": health,
                "booked": None if booked_ms is None else moment(booked_ms, zone),
                "instances": [
                    {"one": one, "seen": moment(one.seen_at_ms, zone)} for one in instances
                ],
                "checked": problems,
            },
        )

    async def config(self, look: PageLook) -> ShownPage:
        """The config in effect, without keys and teams, which have pages, and without secrets."""
        asked, settings = look.asked(DoneAsked), look.snapshot.settings

        def text() -> str:
            few = msgspec.structs.replace(settings, keys={}, teams={})
            tree = {
                name: value for name, value in masked(few).items() if name not in ("keys", "teams")
            }
            return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=PERCENT)

        return ShownPage(
            "config",
            {
                "text": await asyncio.to_thread(text),
                "done": asked.done,
                "keys": len(settings.keys),
                "teams": len(settings.teams),
            },
        )

    async def _limits(self, look: PageLook, **asked: str | None) -> dict[str, Any]:
        query = [(name, value) for name, value in asked.items() if value is not None]
        found = await self._api.ask(look.visitor, "GET", LIMITS_PATH, query=query)
        return {"limits": [limit_line(one, look) for one in found.limits], "next": found.next}

    async def _refused(self, look: PageLook, from_ms: int) -> list[dict[str, object]]:
        """How many of today's requests were refused, by reason, the most first."""
        day = moment(from_ms, look.snapshot.zone)[:10]
        counts: Counter[str] = Counter()
        for row in await self._refusals(look, day, None):
            counts[row.code] += row.refusals
        return [
            {"code": code, "count": count, "advice": advice(code)}
            for code, count in counts.most_common(FEW)
        ]

    async def _refusals(self, look: PageLook, from_: str, to: str | None) -> list[RefusalRow]:
        query = [("from", from_), *([] if to is None else [("to", to)])]
        found = await self._api.ask(look.visitor, "GET", REFUSALS_PATH, query=query)
        rows: list[RefusalRow] = found.refusals
        return rows


def changes(one: Any) -> list[tuple[str, str, str]]:
    """What a deed changed: the name of each word that differs, and how it read before and after."""
    before, after = one.before or {}, one.after or {}
    return [
        (name, _text(before.get(name)), _text(after.get(name)))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _forecast(line: UseLine, span: Window, now_ms: int) -> dict[str, object]:
    """What a month will come to at its pace so far; None while too little of it is over."""
    assert span.end_ms is not None, "a month ends"
    whole, over = span.end_ms - span.start_ms, now_ms - span.start_ms
    early = over * FORECAST_FROM < whole or line.charge_nano is None
    charge = None if early or line.charge_nano is None else line.charge_nano * whole // over
    return {"currency": line.currency, "charge_nano": charge}


def _share(one: LinkedLine) -> int | None:
    """How many of a hundred requests the vendor did not state the tokens of."""
    line = one.line
    return (line.requests - line.reported) * PERCENT // line.requests if line.requests else None
