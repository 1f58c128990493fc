"""Sums over the admin API: `GET /admin/v1/usage`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.export.usage import with_totals
from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.core import dates
from proxy.core.errors import invalid_request
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import QuestionRefused
from proxy.ledger.reading import GROUPED_BY, UsageRow, groups

USAGE_PATH = "/admin/v1/usage"
SEQ_MAX = 2**62

Seq = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]


class UsageQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """`by`: names of groups, comma-separated; empty for one total.

    `team`, `key`: what this one alone used. `through`: as the book stood at that seq. `zone`: of
    months, days and hours, and of times without one; the config's by default.
    """

    by: str = "team,key,model"
    from_: str | None = None
    to: str | None = None
    team: str | None = None
    key: str | None = None
    through: Seq | None = None
    zone: str | None = None


class UsageRows(msgspec.Struct, frozen=True):
    """Sums by group and currency, then a total for each currency, whose `row` is `total`.

    Each has the groups' names; null is not known. cost_nano and charge_nano are billionths.
    """

    usage: list[dict[str, str | int | None]]


def usage_route(services: Services, snapshot: Callable[[], Snapshot]) -> AdminEndpoint:
    """The route that sums what was used."""

    async def answer(ask: AdminRequest) -> UsageRows:
        query: UsageQuery = ask.query
        by = _names(query.by)
        zone = _zone(query.zone, snapshot().zone)
        bounds = range_ms(query.from_, query.to, zone)

        def sums() -> list[UsageRow]:
            try:
                return services.reader.usage(
                    by, *bounds, zone, team=query.team, through=query.through, key=query.key
                )
            except QuestionRefused as error:
                raise invalid_request(f"The book cannot be summed so: {error}.") from error

        return UsageRows(with_totals(await read(sums), by))

    return AdminEndpoint(
        "GET",
        USAGE_PATH,
        "Sum what was used, by group.",
        answer,
        UsageQuery,
        returns=UsageRows,
        errors=(503,),
    )


def range_ms(from_: str | None, to: str | None, zone: ZoneInfo) -> tuple[int | None, int | None]:
    """The ends of a range in Unix milliseconds, as asked for. Raises ProxyError 400."""
    ends = []
    for name, text in (("from", from_), ("to", to)):
        try:
            ends.append(None if text is None else dates.unix_ms(dates.moment(text, zone)))
        except ValueError as error:
            raise invalid_request(f"{name}: {error}", param=name) from error
    from_ms, to_ms = ends
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise invalid_request("The end of the range is not after its start.", param="to")
    return from_ms, to_ms


def _names(text: str) -> list[str]:
    by = [name.strip() for name in text.split(",") if name.strip()]
    for name in by:
        if not groups(name):
            known = f"{', '.join(GROUPED_BY)}, label:NAME and tag:NAME"
            raise invalid_request(f"by: {name[:80]!r} is none of {known}.", param="by")
    if len(set(by)) < len(by):
        raise invalid_request("by names a group twice.", param="by")
    return by


def _zone(name: str | None, own: ZoneInfo) -> ZoneInfo:
    if name is None:
        return own
    try:
        return dates.zone(name)
    except ValueError as error:
        raise invalid_request(f"zone: {error}", param="zone") from error
