"""Notices of limits: use has reached a share at which to warn, or all of it."""

from __future__ import annotations

from datetime import tzinfo

from proxy.core.limits.language import Unit, show, show_amount, show_money
from proxy.core.limits.limit import PPM, Enforce, describe
from proxy.core.limits.state import LimitState
from proxy.core.notices.notice import Notice, Value, iso, moment

_NOW = {
    Enforce.WARN: "Requests go on: this limit only warns.",
    Enforce.FINISH: "Further requests are refused.",
    Enforce.CUT: "Further requests are refused, and running streams are ended.",
    Enforce.STRICT: "Requests that may use more than the rest are refused.",
}


def limit_crossed(
    state: LimitState, share_ppm: int, team: str | None, zone: tzinfo, now_ms: int
) -> Notice:
    """The notice of a budget whose use has reached this share, in millionths.

    It is told once for each window, share and amount: after a credit there is more to reach. Of a
    limit that counts values apart, the first value tells, and no notice names it.
    """
    limit = state.limit
    room = state.amount + state.granted
    reached = share_ppm >= PPM
    used, whole = (show_amount(amount, limit.unit, limit.currency) for amount in (state.used, room))
    share = _percent(share_ppm)
    if not reached:
        happened = f"is used to {share}"
    elif state.used >= room:
        happened = "is reached"
    else:
        happened = "has too little left for a request"
    facts = [("Used", f"{used} of {whole}")]
    if (
        "/" not in limit.id
    ):  # a name of the operator's; one without is made of what stands in the title
        facts.insert(0, ("Limit", limit.id))
    if reached:
        facts.append(("Now", _NOW[limit.enforce]))
    if state.resets_at_ms is not None:
        facts.append(("Resets", moment(state.resets_at_ms, zone)))

    def amount(value: int) -> str | int:
        return show_money(value) if limit.unit is Unit.MONEY else value

    data: dict[str, Value] = {
        "limit": limit.id,
        "rule": show(limit.rule),
        "scope": limit.scope.value,
        "scope_id": limit.scope_id or None,
        "enforce": limit.enforce.value,
        "unit": limit.unit.value if limit.currency is None else limit.currency,
        "share": share,
        "amount": amount(state.amount),
        "granted": amount(state.granted),
        "used": amount(state.used),
        "resets_at": None if state.resets_at_ms is None else iso(state.resets_at_ms, zone),
    }
    return Notice(
        event="limit_reached" if reached else "limit_near",
        at_ms=now_ms,
        subject=f"limit {limit.rule_id} {state.resets_at_ms or 0} {room} {share_ppm}",
        until_ms=state.resets_at_ms,
        team=team,
        title=f"The limit {describe(limit)} {happened}: {used} used.",
        facts=tuple(facts),
        data=data,
    )


def _percent(share_ppm: int) -> str:
    """`80%` of 800,000 millionths, `99.5%` of 995,000."""
    whole, rest = divmod(share_ppm, PPM // 100)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + "%"
