"""How this API says no, as an answer and as an event, and how it tells limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from proxy.core.dialects.contract import Fields, Meter, RemainingFields
from proxy.core.errors import ProxyError
from proxy.core.limits.language import Unit
from proxy.core.limits.refusals import tightest
from proxy.core.limits.state import LimitState

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_UNITS = (
    ("requests", Unit.REQUESTS),
    ("tokens", Unit.TOKENS),
    ("input-tokens", Unit.INPUT_TOKENS),
    ("output-tokens", Unit.OUTPUT_TOKENS),
)
# The vendor tells its own in the same fields; `tokens` are those of its tightest limit.
REMAINING_FIELDS: RemainingFields = (
    (b"anthropic-ratelimit-requests-remaining", "requests"),
    (b"anthropic-ratelimit-tokens-remaining", "tokens"),
)


def error_body(error: ProxyError) -> bytes:
    """`{"type": "error", "error": {"type", "message", "details"}, "request_id"}`.

    The vendor's types go by the status; `details.error_code` is our own code.
    """
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {
                "type": _type(error.status),
                "message": error.message,
                "details": {"error_code": error.code},
            },
            "request_id": error.request_id,
        }
    )


def error_event(error: ProxyError, meter: Meter) -> bytes:
    """The same as an event. Without its name the SDKs pass it over, and the answer looks whole."""
    return b"event: error\ndata: " + error_body(error) + b"\n\n"


def limit_fields(states: Sequence[LimitState], now_ms: int) -> Fields:
    """`anthropic-ratelimit-…` of the tightest limit of each unit; the reset is a time in UTC."""
    fields: list[tuple[str, str]] = []
    for kind, unit in _UNITS:
        state = tightest([state for state in states if state.limit.unit is unit])
        if state is None:
            continue
        name = f"anthropic-ratelimit-{kind}"
        fields += [
            (f"{name}-limit", str(state.amount + state.granted)),
            (f"{name}-remaining", str(state.remaining)),
        ]
        if state.resets_at_ms is not None:
            resets = datetime.fromtimestamp(-(-state.resets_at_ms // 1000), UTC)
            fields.append((f"{name}-reset", resets.strftime("%Y-%m-%dT%H:%M:%SZ")))
    return tuple(fields)


def _type(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
