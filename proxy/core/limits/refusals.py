"""What a client is told about limits: 429s, the end of a cut stream, fields on every answer.

A rate comes back by itself, so its refusal says when to try again. That may be further off than an
SDK can wait for: one gives up, another sleeps however long it is told. Then the refusal tells them
not to try. So does the refusal of a budget that is used up, which does not come back by waiting.
Between the two is a budget of which running requests hold the rest. It may have room again as soon
as one of them ends, so that is told as a rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import quote

from proxy.core.calendar import Per
from proxy.core.errors import ProxyError
from proxy.core.limits.dimensions import MISSING, OTHERS
from proxy.core.limits.language import SMOOTH_MS, Unit, show_amount
from proxy.core.limits.limit import Limit, Scope, describe
from proxy.core.limits.state import LimitState, Refused

# The longest wait that an SDK is told: the openai SDK for Node sleeps however long that is.
WAIT_MAX_MS = 60_000
USED_UP_STATUS = 429  # of a used-up budget, as OpenAI has it
POLICIES_MAX = 4096  # that are remembered: keys may be made up under `auth: forward`
INTEGER_MAX = 10**15 - 1  # of an HTTP structured field (RFC 9651)
_MICRO = 1_000  # nano-units in a millionth: what money is shown in where only integers may stand
_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WINDOW_S = {Per.DAY: _DAY_S, Per.WEEK: 7 * _DAY_S}
# The other registered unit, content-bytes, is not ours.
_QUOTA_UNITS = {
    Unit.REQUESTS: "requests",
    Unit.CONCURRENT: "concurrent-requests",
}

Fields = tuple[tuple[str, str], ...]


def refusal(
    refused: Refused,
    now_ms: int,
    zone: tzinfo,
    limit_fields: Callable[[Sequence[LimitState], int], Fields],
    *,
    quota_status: int = USED_UP_STATUS,
) -> ProxyError:
    """429 `rate_limit_exceeded` or `insufficient_quota`, with the fields that the SDKs act on.

    The latter has the status `quota_status`; `limit_fields` are those of the caller's dialect.

    Limits are named to a client where they are of its own key or team. Of those that others share
    it learns that one is reached, and when to try again.
    """
    limit = refused.limit
    own = tuple(state for state in refused.states if not state.limit.shared)
    final = refused.never or refused.retry_after_ms is None
    code = (
        "insufficient_quota" if limit.windowed and not refused.by_holds else "rate_limit_exceeded"
    )
    family = "requests" if limit.unit in (Unit.REQUESTS, Unit.CONCURRENT) else "tokens"
    headers = (("x-should-retry", "false"),) if final else _retry_after(refused)
    used_up = code == "insufficient_quota"
    return ProxyError(
        quota_status if used_up else 429,
        "insufficient_quota" if used_up else family,
        code,
        _message(refused, zone),
        headers=headers
        + limit_fields(own, now_ms)
        + (() if limit.shared else ratelimit_fields(refused.state, now_ms)),
        limit=limit.id,
    )


def cut(state: LimitState, zone: tzinfo) -> ProxyError:
    """The event that ends a stream in its course.

    The answer so far was delivered and is charged. The event's status is not sent any more.
    """
    message = (
        f"This answer was ended here, because {named(state.limit, 'the')} {_standing(state)}. What"
        f" was delivered is charged. {_reset(state, zone)}"
    )
    if state.limit.windowed:
        return ProxyError(429, "insufficient_quota", "insufficient_quota", message)
    return ProxyError(429, "tokens", "rate_limit_exceeded", message)


def not_boundable(
    limit: Limit, *, cap_ignored: bool = False, tokens_known: bool = False
) -> ProxyError:
    """400: a strict limit lets through only what it can bound beforehand.

    `cap_ignored`: this model is known to answer beyond its caps. `tokens_known`: only the price of
    what may answer cannot be told.
    """
    if tokens_known:
        remedy = (
            "a model or a tier that may answer it has no price. "
            "Use another model, or ask the operator to add a row to `prices`."
        )
    elif cap_ignored:
        remedy = (
            "this model's vendor has answered beyond the cap of a request, so a cap bounds nothing"
            " here. Use another model, or ask the operator to set `strict.output_tokens` to the"
            " most that it can answer."
        )
    else:
        remedy = (
            "name `max_completion_tokens` (or `max_tokens`), and send only what can be counted,"
            " text and no references to files or images."
        )
    message = (
        f"{named(limit)} is strict, and nothing says how much this request may use at most:"
        f" {remedy}"
    )
    return ProxyError(400, "invalid_request_error", "not_boundable", message, limit=limit.id)


def ratelimit_fields(state: LimitState, now_ms: int) -> Fields:
    """`ratelimit-policy` and `ratelimit` for the request's tightest limit.

    As in draft-ietf-httpapi-ratelimit-headers-11.
    """
    return _as_policy(state.limit, _quota(state)), _as_it_stands(
        state, now_ms, _structured(state.limit.id)
    )


class RateLimitFields:
    """The same two fields as bytes.

    A limit's name and its policy stay the same between two answers. They are written once, and
    remembered within a bound.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[str, int], tuple[tuple[bytes, bytes], bytes, int]] = {}

    def of(self, state: LimitState, now_ms: int) -> tuple[tuple[bytes, bytes], ...]:
        limit = state.limit
        quota = state.amount + state.granted if limit.burst is None else limit.burst
        written = self._written.get((limit.rule_id, quota))
        if written is None:
            written = self._write(limit, quota)
        policy, begin, one = written
        left = state.remaining // one
        if left > INTEGER_MAX or left < 0:
            left = INTEGER_MAX if left > 0 else 0
        resets_at_ms = state.resets_at_ms
        if resets_at_ms is None:
            return policy, (b"ratelimit", b"%b%d" % (begin, left))
        in_s = -((now_ms - resets_at_ms) // 1000) if resets_at_ms > now_ms else 0
        return policy, (b"ratelimit", b"%b%d;t=%d" % (begin, left, in_s))

    def _write(self, limit: Limit, quota: int) -> tuple[tuple[bytes, bytes], bytes, int]:
        """The policy as a field, how the other one begins, and what is one there."""
        if len(self._written) >= POLICIES_MAX:
            self._written.clear()
        name, value = _as_policy(limit, quota)
        written = (
            (name.encode(), value.encode()),
            f"{_structured(limit.id)};r=".encode(),
            _MICRO if limit.unit is Unit.MONEY else 1,
        )
        self._written[limit.rule_id, quota] = written
        return written


def _quota(state: LimitState) -> int:
    burst = state.limit.burst
    return state.amount + state.granted if burst is None else burst


def _as_policy(limit: Limit, quota: int) -> tuple[str, str]:
    policy = f"{_structured(limit.id)};q={_integer(limit, quota)};qu={_quota_unit(limit)}"
    window_s = _window_s(limit)
    return "ratelimit-policy", policy if window_s is None else f"{policy};w={window_s}"


def _as_it_stands(state: LimitState, now_ms: int, name: str) -> tuple[str, str]:
    reset = "" if state.resets_at_ms is None else f";t={_seconds_up(state.resets_at_ms - now_ms)}"
    return "ratelimit", f"{name};r={_integer(state.limit, state.remaining)}{reset}"


def _retry_after(refused: Refused) -> Fields:
    assert refused.retry_after_ms is not None
    wait_ms = max(refused.retry_after_ms, 1)
    seconds = ("retry-after", str(_seconds_up(wait_ms)))
    return (
        (seconds, ("retry-after-ms", str(wait_ms)))
        if wait_ms <= WAIT_MAX_MS
        else (seconds, ("x-should-retry", "false"))
    )


def tightest(states: Sequence[LimitState]) -> LimitState | None:
    """The limit with the smallest share left; of equal ones the first."""
    found: LimitState | None = None
    for state in states:
        if found is None or state.remaining * (found.amount + found.granted) < found.remaining * (
            state.amount + state.granted
        ):
            found = state
    return found


def _message(refused: Refused, zone: tzinfo) -> str:
    state, limit = refused.state, refused.limit
    whose = f"{named(limit)} {_standing(state)}."
    if refused.never and state.amount + state.granted <= 0:
        return (
            f"{named(limit)} lets nothing through: {_whom(limit)} can raise it. {_not_the_vendor()}"
        )
    if refused.never:
        wanted = show_amount(refused.wanted, limit.unit, limit.currency)
        return (
            f"This request may use up to {wanted}, more than {named(limit, 'the')} ever lets"
            f" through. Ask for a shorter answer, or send less. {_not_the_vendor()}"
        )
    if refused.by_holds:
        return (
            f"{whose} Running requests hold the rest: try again when one of them has ended."
            f" {_not_the_vendor()}"
        )
    if limit.unit is Unit.CONCURRENT:
        return f"{whose} Try again when one of them has ended. {_not_the_vendor()}"
    if refused.retry_after_ms is not None:
        return f"{whose} Try again in {show_span(refused.retry_after_ms)}. {_not_the_vendor()}"
    return f"{whose} {_reset(state, zone)} {_not_the_vendor()}"


def named(limit: Limit, article: str = "The") -> str:
    """A limit as its client may know it.

    It begins a sentence, or stands inside of one (`the`).
    """
    if limit.shared:
        return f"{'A' if article == 'The' else 'a'} limit that others share"
    name = f" ({limit.id})" if "/" not in limit.id else ""
    return f"{article} limit {describe(limit)}{name}{_of_value(limit)}"


def _of_value(limit: Limit) -> str:
    """Behind a limit's name, where its count is not that of the one value that was named."""
    if limit.value == MISSING:
        return ", for requests that name no value,"
    return ", for all values without a count of their own," if limit.value == OTHERS else ""


def _whom(limit: Limit) -> str:
    return {
        Scope.PROXY: "the proxy's operator",
        Scope.UPSTREAM: "the proxy's operator",
        Scope.TEAM: "the team's administrator",
        Scope.KEY: "the person who gave you the key",
    }[limit.scope]


def _standing(state: LimitState) -> str:
    """How it stands, in its own unit."""
    limit = state.limit
    unit, currency = limit.unit, limit.currency
    if limit.shared:
        return "is reached"
    granted = (
        f", {show_amount(state.granted, unit, currency)} of credit added" if state.granted else ""
    )
    if unit is Unit.CONCURRENT:
        return f"has {state.used} requests running{granted}"
    if limit.smooth:
        burst = f" (at most {limit.burst} at once)" if limit.burst is not None else ""
        return (
            f"is reached{burst}: it takes {show_amount(state.remaining, unit, currency)} more now"
        )
    held = (
        f" and {show_amount(state.held, unit, currency)} held by running requests"
        if state.held
        else ""
    )
    return f"has {show_amount(state.used, unit, currency)} used{held}{granted}"


def _reset(state: LimitState, zone: tzinfo) -> str:
    whom = _whom(state.limit)
    if state.limit.smooth and state.resets_at_ms is not None:
        return "It comes back by itself."
    if state.resets_at_ms is None:
        return f"It does not come back by itself: {whom} can raise it or give credit."
    moment = (
        (_EPOCH + timedelta(milliseconds=state.resets_at_ms))
        .astimezone(zone)
        .isoformat(timespec="seconds")
    )
    return f"It resets at {moment}; before that {whom} can raise it or give credit."


def _not_the_vendor() -> str:
    return "This is a limit of the proxy, not of the vendor: nothing was sent or charged."


def _window_s(limit: Limit) -> int | None:
    """Seconds over which the quota is given; a month counts as thirty days."""
    if limit.per in SMOOTH_MS:
        period_ms = SMOOTH_MS[limit.per]
        # A burst comes back in its own time: the quota is the burst, so the window is what it takes
        # to refill it.
        span_ms = period_ms if limit.burst is None else -(-limit.burst * period_ms // limit.amount)
        return _seconds_up(span_ms)
    if limit.per is Per.MONTH:
        return 30 * _DAY_S
    return _WINDOW_S.get(limit.per)


def _quota_unit(limit: Limit) -> str:
    return _structured(
        f"micro-{limit.currency}"
        if limit.unit is Unit.MONEY
        else _QUOTA_UNITS.get(limit.unit, limit.unit)
    )


def _integer(limit: Limit, amount: int) -> int:
    shown = amount // _MICRO if limit.unit is Unit.MONEY else amount
    return min(max(shown, 0), INTEGER_MAX)


def _structured(text: str) -> str:
    """A structured field's string: printable ASCII in quotes; what is not is percent-encoded."""
    ascii_text = (
        quote(text, safe=" !#$&'()*+,/:;<=>?@[]^`{|}~-._")
        if not text.isascii() or "%" in text
        else text
    )
    escaped = ascii_text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _seconds_up(span_ms: int) -> int:
    return -(-max(span_ms, 0) // 1000)


def show_span(span_ms: int) -> str:
    """`120ms`, `1s`, `6m0s`, `2h0m0s`: as OpenAI writes its resets.

    From one second on, a part of a second counts as a whole one.
    """
    span_ms = max(span_ms, 0)
    if span_ms < 1000:
        return f"{span_ms}ms"
    minutes, seconds = divmod(_seconds_up(span_ms), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
