"""Limits and credits as lines of a table."""

from __future__ import annotations

import re
from typing import Final

from proxy.admin.pages.look import PageLook, link
from proxy.core.limits.credit import Credit
from proxy.core.limits.language import Unit, show_money
from proxy.core.limits.limit import PPM
from proxy.dataplane.pages import chart
from proxy.dataplane.pages.months import moment
from proxy.dataplane.pages.wording import resets
from proxy.quota.status import LimitStatus

PERCENT: Final = 100
_BUDGET: Final = re.compile(r"/(day|week|month|total)\b")


def limit_line(one: LimitStatus, look: PageLook) -> dict[str, object]:
    """A limit, how wide its bar is, and the pages of it and its owner."""
    owner = None
    if one.scope in ("team", "key") and one.scope_id is not None:
        owner = f"/ui/{one.scope}s/{one.scope_id}"
    return {
        "limit": one,
        "filled": chart.filled(int(one.taken * PPM)),
        "percent": int(one.taken * PERCENT),
        "resets": resets(one.resets_at, look.now_ms, look.snapshot.zone),
        "owner": owner,
        "page": link("/ui/credit", limit=one.id),
    }


def takes_credit(one: LimitStatus) -> bool:
    """Whether it is a budget: a rate or a number of slots comes back by itself."""
    return _BUDGET.search(one.rule) is not None


def credit_line(credit: Credit, look: PageLook) -> dict[str, object]:
    """A credit, its amount in the limit's unit, when it was given and how long it is good."""
    zone, money = look.snapshot.zone, credit.unit not in tuple(Unit)
    until_ms = credit.valid_until_ms
    return {
        "credit": credit,
        "amount": show_money(credit.amount) if money else credit.amount,
        "at": moment(credit.granted_at_ms, zone),
        "until": None if until_ms is None else moment(until_ms, zone),
    }
