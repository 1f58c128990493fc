"""Keys and teams, as pages: lists, one of them and its forms, and the form for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from proxy.admin.limits import LIMITS_PATH
from proxy.admin.pages.book_views import BookViews
from proxy.admin.pages.chosen_records import ChosenAsked, chosen
from proxy.admin.pages.forms import version_of, words_of
from proxy.admin.pages.inside import InsideApi
from proxy.admin.pages.limit_lines import limit_line
from proxy.admin.pages.look import PageLook, ShownPage, link
from proxy.admin.tenants import KEYS_PATH, TEAMS_PATH
from proxy.core.errors import ProxyError
from proxy.core.managed import State, TenantKind
from proxy.dataplane.pages.months import MonthAsked, moment, month_of
from proxy.dataplane.services import Services
from proxy.quota.status import LimitStatus
from proxy.tenants.directory import said

PAGE: Final = 50
LIMITS_MAX: Final = 50


class KeyListAsked(msgspec.Struct, frozen=True):
    """Keys of a team, in a state, with a part of their names, behind the name `after`."""

    search: str | None = None
    team: str | None = None
    state: Literal["active", "suspended", "revoked", "team suspended", "team revoked"] | None = None
    after: str | None = None


class TeamListAsked(msgspec.Struct, frozen=True):
    """Teams with a part of their names, behind the name `after`."""

    search: str | None = None
    after: str | None = None


class DoneToOne(msgspec.Struct, frozen=True):
    """What a form has just done to a key or team, and how many running requests it ended."""

    done: Literal["create", "edit", "suspend", "resume", "revoke"] | None = None
    ended: int | None = None


class NewAsked(msgspec.Struct, frozen=True):
    """The team that a new key will be of."""

    team: str | None = None


class TenantPages:
    """Each method gives what its template shows. All raise ProxyError."""

    def __init__(self, services: Services, api: InsideApi, book: BookViews) -> None:
        self._services = services
        self._api = api
        self._book = book

    async def keys(self, look: PageLook) -> ShownPage:
        """A list of keys, or one of them."""
        if look.rest:
            return await self._one(look, TenantKind.KEY, KEYS_PATH)
        asked = look.asked(KeyListAsked)
        said_ = {"search": asked.search, "team": asked.team, "state": asked.state}
        found = await self._listed(look, KEYS_PATH, asked.after, said_)
        zone = look.snapshot.zone
        keys = [
            {
                "key": one,
                "page": f"/ui/keys/{quote(one.name, safe='')}",
                "used": None if one.last_used_ms is None else moment(one.last_used_ms, zone),
            }
            for one in found.keys
        ]
        more = link("/ui/keys", **said_, after=found.next) if found.next else None
        return ShownPage("keys", {"keys": keys, "asked": asked, "more": more})

    async def teams(self, look: PageLook) -> ShownPage:
        """A list of teams with what each has used this month, or one of them."""
        if look.rest:
            return await self._one(look, TenantKind.TEAM, TEAMS_PATH)
        asked = look.asked(TeamListAsked)
        found = await self._listed(look, TEAMS_PATH, asked.after, {"search": asked.search})
        _, months = month_of(MonthAsked(), look.snapshot.zone, look.now_ms)
        month = chosen(ChosenAsked(month=str(months["month"])), look.snapshot.zone)
        used: dict[str | None, list[Any]] = {}
        for one in await self._book.sums(look, ("team",), month):
            used.setdefault(one.line.label, []).append(one)
        teams = [
            {
                "team": one,
                "page": f"/ui/teams/{quote(one.name, safe='')}",
                "used": used.get(one.name, []),
            }
            for one in found.teams
        ]
        more = link("/ui/teams", search=asked.search, after=found.next) if found.next else None
        return ShownPage("teams", {"teams": teams, "asked": asked, "more": more, **months})

    async def new(self, look: PageLook) -> ShownPage:
        """The form for a new key or team; only who may make one is shown it."""
        kinds = {"key": TenantKind.KEY, "team": TenantKind.TEAM}
        kind = kinds.get(look.rest)
        if kind is None:
            message = "There is no such page. New keys and teams are made at /ui/new/key."
            raise ProxyError(404, "invalid_request_error", "unknown_page", message)
        if not look.visitor.may_change:
            message = f"{look.visitor.asker.name!r} may only look, and makes no {kind}."
            raise ProxyError(403, "invalid_request_error", "role_not_allowed", message)
        words = words_of(kind, {"team": look.asked(NewAsked).team})
        return ShownPage("new", {"kind": str(kind), "words": words})

    async def _one(self, look: PageLook, kind: TenantKind, path: str) -> ShownPage:
        asked, name, zone = look.asked(DoneToOne), look.rest, look.snapshot.zone
        one = await self._api.ask(look.visitor, "GET", f"{path}/{{name}}", places={"name": name})
        limits: Sequence[LimitStatus] = ()
        if one.state != State.REVOKED:
            query = [(str(kind), name), ("limit", str(LIMITS_MAX))]
            found = await self._api.ask(look.visitor, "GET", LIMITS_PATH, query=query)
            limits = found.limits
        _, months = month_of(MonthAsked(), zone, look.now_ms)
        is_key, month = kind is TenantKind.KEY, str(months["month"])
        what = ChosenAsked(month=month, key=name if is_key else None, team=None if is_key else name)
        row = self._services.directory.rows.get((kind, name))
        words = words_of(kind, {} if row is None else said(row))
        return ShownPage(
            "tenant",
            {
                "kind": str(kind),
                "one": one,
                "done": asked,
                "own": one.managed_by == "api",
                "ended": one.state == State.REVOKED,
                "suspended": row is not None and row.state is State.SUSPENDED,
                "limits": [limit_line(each, look) for each in limits],
                "month": months["month"],
                "use": await self._book.sums(look, (), chosen(what, zone)),
                "words": words,
                "seen": version_of(words),
                "path": f"/ui/{kind}s/{quote(name, safe='')}",
                "made": None if one.created_at_ms is None else moment(one.created_at_ms, zone),
                "used": moment(one.last_used_ms, zone)
                if kind is TenantKind.KEY and one.last_used_ms is not None
                else None,
                "secrets": [
                    {
                        "made": moment(secret.made_at_ms, zone),
                        "until": None if secret.until_ms is None else moment(secret.until_ms, zone),
                    }
                    for secret in (one.secrets if kind is TenantKind.KEY else ())
                ],
            },
        )

    async def _listed(
        self, look: PageLook, path: str, after: str | None, asked: dict[str, str | None]
    ) -> Any:
        query = [(name, value) for name, value in asked.items() if value is not None]
        query += [("limit", str(PAGE)), *([] if after is None else [("after", after)])]
        return await self._api.ask(look.visitor, "GET", path, query=query)
