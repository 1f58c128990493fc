"""An entry by hand as it is ordered, and whether its names are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from proxy.core.errors import invalid_request
from proxy.core.records.by_hand import NOBODY
from proxy.core.spelling import nearest
from proxy.ledger import Reader

Named: TypeAlias = Literal["team", "key", "upstream"]
KnownNames: TypeAlias = Mapping[Named, Collection[str]]

_ALIKE: Final = 0.5
_ELSEWHERE: Final = {
    "team": "`tollkeeper team list` names all",
    "key": "`tollkeeper key list` names all",
    "upstream": "`upstreams` of the config names all",
}


class AmountEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount such as -12.50 of `currency`, under the names given.

    of · which side of the book it changes: what the vendor bills, what the team pays, or both
    """

    amount: str
    currency: str
    of: Literal["both", "cost", "charge"] = "both"
    team: str | None = None
    key: str | None = None
    upstream: str | None = None
    model: str | None = None


class UseMove(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the month's records that are chosen say, to another team or with other labels.

    team, key, upstream · null: any    models · globs of the model asked for; none: any
    """

    team: str | None = None
    key: str | None = None
    upstream: str | None = None
    models: tuple[str, ...] = ()
    to_team: str | None = None
    to_labels: dict[str, str] = {}


class AdjustOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry by hand: an `amount` or a `move`.

    id · names the order for ever: the same again books nothing twice
    month · YYYY-MM, in `zone` or else in the ledger's    reason · one line
    """

    id: str
    month: str
    reason: str
    dry_run: bool
    zone: str | None = None
    amount: AmountEntry | None = None
    move: UseMove | None = None


def check_names(order: AdjustOrder, known: KnownNames, reader: Reader, zone: ZoneInfo) -> None:
    """Raise ProxyError 400 for a name that neither `known` nor a record has.

    It would be a new team, key or vendor by mistake.
    """
    named: list[tuple[Named, str | None]] = []
    for one in (order.amount, order.move):
        if one is not None:
            named += [("team", one.team), ("key", one.key), ("upstream", one.upstream)]
    if order.move is not None:
        named.append(("team", order.move.to_team))
    for kind, name in named:
        if name is None or name in known[kind]:
            continue
        rows = reader.usage([kind], None, None, zone, sums=["requests", "cost_nano"])
        booked = {str(row[kind]) for row in rows if row[kind] is not None} - {NOBODY}
        if name in booked:
            continue
        like = nearest(name, sorted(booked | set(known[kind])), _ALIKE)
        hint = "" if like is None else f" The nearest is {like!r}."
        raise invalid_request(
            f"There is no {kind} {name[:80]!r}.{hint} {_ELSEWHERE[kind]}.", param=kind
        )
