"""Tells in `check` which strict limits on money can be exceeded once.

It happens when a dearer model answers than the client asked for.
"""

from __future__ import annotations

from proxy.config.limits import rules_of
from proxy.config.settings import Settings
from proxy.core.limits.limit import Enforce

_NAMED_MAX = 3


def strict_limits(settings: Settings) -> list[str]:
    """One line, if there is such a limit and an upstream with more than one price."""
    names = [
        limit.id
        for limit in rules_of(settings).configured()
        if limit.currency is not None and limit.enforce is Enforce.STRICT
    ]
    upstreams = [name for name in settings.upstreams if _surprises(settings, name)]
    if not names or not upstreams:
        return []
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    where = ", ".join(f"upstreams.{name}" for name in upstreams)
    return [
        f"strict limits on money ({', '.join(names[:_NAMED_MAX])}{more}): the first time that a "
        "dearer model answers than was asked for, it is charged as it is, beyond the limit if need "
        "be, and counted as a breach; from then on its price bounds each request for that name. "
        "Where the contract bills the model that was asked for, write served_price: requested "
        f"({where})"
    ]


def _surprises(settings: Settings, name: str) -> bool:
    upstream = settings.upstreams[name]
    prices = sum(row.upstream in (None, name) for row in settings.prices)
    return upstream.served_price == "served" and (prices > 1 or bool(upstream.price_source))
