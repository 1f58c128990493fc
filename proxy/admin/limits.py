"""The states of limits, and credits on them (`proxy.quota.credits`).

The routes are `GET /admin/v1/limits?near=80&team=&key=&limit=&after=`, `GET /admin/v1/limits/{id}`,
`POST /admin/v1/limits/{id}/credit` and `GET /admin/v1/credits`. The slashes of an id may stand in a
path as they are or as %2F, since servers on the way rewrite one as the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.admin.tenant_views import PAGE_DEFAULT, PAGE_MAX
from proxy.core.errors import ProxyError, invalid_request, unavailable
from proxy.core.limits.credit import Credit
from proxy.core.limits.limit import PPM, share_ppm
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable, QuestionRefused
from proxy.quota import QuotaUnavailable
from proxy.quota.credits import CreditOrder, LimitChoice, counts_of, credit, standings
from proxy.quota.status import LimitStatus, standing

LIMITS_PATH = "/admin/v1/limits"
LIMIT_PATH = "/admin/v1/limits/{limit}"
CREDIT_PATH = "/admin/v1/limits/{limit}/credit"
CREDITS_PATH = "/admin/v1/credits"

_LOG = logging.getLogger("tollkeeper.admin")


class Limits(msgspec.Struct, frozen=True):
    """Limits, the fullest first; `next`: what to ask for with `after`, None at the end."""

    limits: list[LimitStatus]
    next: str | None = None


class LimitsQuery(msgspec.Struct, frozen=True):
    """`near`: only limits used to at least that share, such as `80%` or `0.8`.

    team, key · only limits that hold for it: its own, a key's team's, the proxy's, the upstreams'
    limit · how many; without it all    after · the `next` of the page before
    """

    near: str = "0%"
    team: str | None = None
    key: str | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] | None = None


class OneLimit(msgspec.Struct, frozen=True):
    """A limit's state. Of a limit that counts values apart, `limit` is the fullest count.

    `values` says how many values have counts; None: it counts none apart.
    """

    limit: LimitStatus
    values: int | None


class CreditAnswer(msgspec.Struct, frozen=True):
    """The credit's id in the book, and the state of its limit with it."""

    id: str
    credited: str
    limit: LimitStatus


class CreditsQuery(msgspec.Struct, frozen=True):
    """`limit_id`: credits of this limit alone    `limit`: how many    `after`: a page's `next`."""

    limit_id: str | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class Credits(msgspec.Struct, frozen=True):
    """Credits, the newest first; `next`: what to ask for with `after`, None at the end."""

    credits: list[Credit]
    next: str | None


def limits_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    async def answer(ask: AdminRequest) -> Limits:
        now = snapshot()
        try:
            found = await standings(
                services.quota, now.rules, now.settings, services.now_ms(), chosen(ask.query)
            )
        except QuotaUnavailable as error:
            raise _unreadable(error) from error
        return Limits(
            await asyncio.to_thread(lambda: [standing(state, now.zone) for state in found.states]),
            found.next,
        )

    return AdminEndpoint(
        "GET",
        LIMITS_PATH,
        "List the limits and their states, the fullest first.",
        answer,
        LimitsQuery,
        returns=Limits,
        errors=(404, 503),
    )


def limit_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    async def answer(ask: AdminRequest) -> OneLimit:
        now, id = snapshot(), ask.path["limit"]
        try:
            state, values = await counts_of(services.quota, now.rules, id, services.now_ms())
        except QuotaUnavailable as error:
            raise _unreadable(error) from error
        return OneLimit(standing(state, now.zone), values)

    return AdminEndpoint(
        "GET",
        LIMIT_PATH,
        "Show one limit: its amount, what is used, held and left, and when it resets.",
        answer,
        returns=OneLimit,
        errors=(404, 503),
        slashes=True,
    )


def credit_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    async def answer(ask: AdminRequest) -> CreditAnswer:
        now, id, order = snapshot(), ask.path["limit"], ask.body
        try:
            done = await credit(
                id,
                order,
                services.quota,
                services.ledger,
                now.rules,
                zone=now.zone,
                now_ms=services.now_ms(),
                by=ask.asker.name,
            )
        except (LedgerError, LedgerUnavailable) as error:
            raise unavailable(
                "ledger_unavailable",
                f"The credit cannot be booked now ({error}); nothing was changed.",
            ) from error
        _LOG.info(
            "%s credited %s to the limit %s: %s",
            ask.asker.name,
            done.credited,
            id,
            order.reason,
        )
        return CreditAnswer(done.id, done.credited, standing(done.state, now.zone))

    return AdminEndpoint(
        "POST",
        CREDIT_PATH,
        "Raise a budget for a while.",
        answer,
        body=CreditOrder,
        returns=CreditAnswer,
        errors=(404, 503),
        once=True,
        slashes=True,
    )


def credits_route(services: Services) -> AdminEndpoint:
    async def answer(ask: AdminRequest) -> Credits:
        query: CreditsQuery = ask.query

        def behind() -> list[Credit]:
            try:
                return services.reader.credits(query.limit_id, query.after, query.limit + 1)
            except QuestionRefused as error:
                raise invalid_request(f"{error}.", param="after") from error

        found = await read(behind)
        page = found[: query.limit]
        return Credits(page, page[-1].id if len(found) > len(page) else None)

    return AdminEndpoint(
        "GET",
        CREDITS_PATH,
        "List the credits that were given, the newest first.",
        answer,
        CreditsQuery,
        returns=Credits,
        errors=(503,),
    )


def credit_path(limit_id: str) -> str:
    """Where a credit to this limit is posted."""
    return CREDIT_PATH.replace("{limit}", quote(limit_id, safe=""))


def _unreadable(error: QuotaUnavailable) -> ProxyError:
    return unavailable("quota_unavailable", f"The running counts cannot be read now ({error}).")


def chosen(query: LimitsQuery) -> LimitChoice:
    """What the query asks for. Raises ProxyError 400."""
    return LimitChoice(
        near_ppm=near_ppm(query.near),
        team=query.team,
        key=query.key,
        after=query.after,
        most=query.limit,
    )


def near_ppm(text: str) -> int:
    """Millionths of `80%`, of `80` or of `0.8`. Raises ProxyError 400."""
    text = text.strip()
    try:
        share = share_ppm(text)
        if "." in text and "%" not in text and share <= PPM // 100:
            share *= 100  # a fraction of one: nobody asks for limits used to less than a hundredth
    except (ValueError, AssertionError):
        share = -1
    if not 0 <= share <= 10 * PPM:
        raise invalid_request("near is a share such as 80% or 0.8.", param="near")
    return share
