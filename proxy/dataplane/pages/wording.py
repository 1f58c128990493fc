"""Words of the pages: when a limit is there again, why a request was refused and what to do."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS: Final = ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"))
_SEVERAL: Final = 2

# By the code of the refusal: why, and what to do. Codes that a key meets.
_ADVICE: Final = {
    "insufficient_quota": (
        "A limit is used up.",
        "Wait until it begins anew, or ask your operator for a credit.",
    ),
    "rate_limit_exceeded": (
        "Too much at once: a rate or the number of requests at a time was reached.",
        "Send fewer at a time. The SDKs wait and try again by themselves.",
    ),
    "not_boundable": (
        "A strict limit lets through only what it can bound beforehand.",
        "Name max_tokens (or max_completion_tokens) in the request.",
    ),
    "model_not_allowed": (
        "The key may not call this model.",
        "Use a model of GET /v1/models, or ask your operator.",
    ),
    "model_not_found": (
        "No route leads to this model.",
        "Check its spelling against GET /v1/models.",
    ),
    "model_not_priced": (
        "The model has no price, and money is limited.",
        "Use another model, or ask your operator to add a price.",
    ),
    "key_suspended": ("The key is suspended.", "Ask your operator to resume it."),
    "key_expired": ("The key has expired.", "Ask your operator for a new one."),
    "key_revoked": (
        "The key, or this secret of it, has ended.",
        "Use the newest secret of the key, or ask your operator for a key.",
    ),
    "ambiguous_body": (
        "The body can be read in two ways.",
        "Send each member once, spelled as in the API.",
    ),
    "field_not_allowed": (
        "The request names a field that chooses a model, a host or a payer.",
        "Leave that field out.",
    ),
    "body_too_large": ("The body is larger than may be.", "Send less at a time."),
    "unknown_path": (
        "The path is not served here.",
        "Check base_url: this address and /v1, and nothing behind it.",
    ),
    "overloaded": ("The proxy had as much to do as it may.", "Try again shortly."),
    "draining": ("The process was about to stop.", "Try again: another one takes over."),
    "upstream_unreachable": (
        "The vendor could not be reached.",
        "Try again; if it stays so, tell your operator.",
    ),
    "upstream_timeout": (
        "The vendor did not answer in time.",
        "Try again; if it stays so, tell your operator.",
    ),
}
_OTHER: Final = (
    "The request could not be taken.",
    "The answer's message says what to do; quote its request id when you ask.",
)


def advice(code: str) -> tuple[str, str]:
    """Why requests are refused with this code, and what to do."""
    return _ADVICE.get(code, _OTHER)


def resets(at: str | None, now_ms: int, zone: tzinfo) -> str:
    """When all of a limit is there again, from an ISO time: `in 3 days, on Monday …`."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at).astimezone(zone)
    left_s = max(0, int(moment.timestamp()) - now_ms // 1000)
    if left_s < _MINUTE:
        return "in less than a minute"
    # Below two of a unit the next smaller one says more.
    unit_s, unit = next(
        (each for each in _UNITS if left_s >= _SEVERAL * each[0]), (_MINUTE, "minute")
    )
    number = left_s // unit_s
    told = f"in {number} {unit}{'' if number == 1 else 's'}"
    if left_s < _HOUR:
        return told
    return f"{told}, on {moment:%A} {moment.day} {moment:%B %Y, %H:%M %Z}"
