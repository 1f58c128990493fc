"""What a request is expected to use of its limits, and the most that it may."""

from __future__ import annotations

from proxy.core.dialects.contract import Call
from proxy.core.entries import Opened
from proxy.core.limits.decisions import Demand
from proxy.core.usage import Usage
from proxy.dataplane.snapshot import Snapshot


def nothing(exchange_id: str, started_at_ms: int, opened: Opened | None = None) -> Demand:
    """A request that uses no tokens."""
    return Demand(
        exchange_id=exchange_id,
        started_at_ms=started_at_ms,
        charge_nano=0,
        input_bound=0,
        output_bound=0,
        charge_bound_nano=0,
        opened=opened,
    )


def most_output(answers: int | None, cap: int | None) -> int | None:
    """The most output that so many answers may have.

    None: neither the request nor the config caps one, or nobody knows how many there may be.
    """
    if answers == 0:
        return 0
    return None if answers is None or cap is None else cap * answers


def expected_charge(
    snapshot: Snapshot, opened: Opened, call: Call, least_nano: int, output_tokens: int
) -> int | None:
    """What the request is expected to be charged up to so many output tokens.

    By the dearer of the tier it asks for and the usual one; None if it has no price.
    """
    usage = Usage(input_tokens=opened.input_estimate, output_tokens=output_tokens)
    charges = [
        snapshot.prices.price(
            usage,
            upstream=opened.upstream,
            team=opened.team,
            model_requested=opened.model_requested,
            model_served=None,
            service_tier=tier,
            started_at_ms=opened.started_at_ms,
            status=200,
            images=opened.images,
            charge_class=opened.charge_class,
        ).charge_nano
        for tier in {None, call.service_tier}
    ]
    known = [charge for charge in charges if charge is not None]
    return max(least_nano, *known) if len(known) == len(charges) else None
