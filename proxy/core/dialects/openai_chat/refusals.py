"""How this API says no, as an answer and as an event, and how it tells limits."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.contract import Fields, Meter, RemainingFields
from proxy.core.errors import ProxyError
from proxy.core.limits.language import Unit
from proxy.core.limits.refusals import show_span, tightest
from proxy.core.limits.state import LimitState

_UNITS = (
    ("requests", (Unit.REQUESTS,)),
    ("tokens", (Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)),
)
# Vendors tell theirs in the same fields.
REMAINING_FIELDS: RemainingFields = (
    (b"x-ratelimit-remaining-requests", "requests"),
    (b"x-ratelimit-remaining-tokens", "tokens"),
)


def error_body(error: ProxyError) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}`."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )


def error_event(error: ProxyError, meter: Meter) -> bytes:
    """The same as an event, which the SDKs raise."""
    return b"data: " + error_body(error) + b"\n\n"


def limit_fields(states: Sequence[LimitState], now_ms: int) -> Fields:
    """`x-ratelimit-…` of the tightest limit on requests and of the tightest on tokens."""
    fields: list[tuple[str, str]] = []
    for kind, units in _UNITS:
        state = tightest([state for state in states if state.limit.unit in units])
        if state is not None:
            amount = state.amount + state.granted
            fields += [
                (f"x-ratelimit-limit-{kind}", str(amount)),
                (f"x-ratelimit-remaining-{kind}", str(state.remaining)),
            ]
            if state.resets_at_ms is not None:
                resets = show_span(state.resets_at_ms - now_ms)
                fields.append((f"x-ratelimit-reset-{kind}", resets))
    return tuple(fields)
