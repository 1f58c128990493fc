"""What a client is told: the code, the sentence and the fields of each kind of refusal, and the
fields on every answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from proxy.core.dialects.openai_chat.refusals import limit_fields
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of
from proxy.core.limits.refusals import (
    RateLimitFields,
    cut,
    not_boundable,
    ratelimit_fields,
    refusal,
    tightest,
)
from proxy.core.limits.state import LimitState, Refused

NOW_MS = (datetime(2026, 11, 22, 12, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
    milliseconds=1
)
MONTH_END_MS = (
    datetime(2026, 11, 30, 23, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
) // timedelta(milliseconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
NANO = 10**9


def limit(
    text: str, scope: Scope = Scope.KEY, scope_id: str = "alice", **settings: object
) -> Limit:
    return limit_of(parse(text), scope, scope_id, **settings)  # type: ignore[arg-type]


RATE = limit("60 requests/minute")
MONTHLY = limit("500 USD/month for gpt-*", Scope.TEAM, "research")
SLOTS = limit("8 concurrent")
TOKENS = limit("100_000 tokens/hour", burst=5000)
CREDIT = limit("10 USD/total", name="trial")
SPENT = LimitState(
    limit=MONTHLY, amount=500 * NANO, used=500_120_000_000, remaining=0, resets_at_ms=MONTH_END_MS
)
REACHED = LimitState(limit=RATE, amount=60, used=60, remaining=0, resets_at_ms=NOW_MS + 60_000)


def told(refused: Refused) -> tuple[int, str, str, str, dict[str, str]]:
    error = refusal(refused, NOW_MS, BERLIN, limit_fields)
    return error.status, error.type, error.code, error.message, dict(error.headers)


def test_a_rate_says_when_to_try_again() -> None:
    status, family, code, message, headers = told(
        Refused(limit=RATE, state=REACHED, wanted=1, retry_after_ms=870, states=(REACHED,))
    )
    assert (status, family, code) == (429, "requests", "rate_limit_exceeded")
    assert message == (
        "The limit 60 requests/minute of key alice is reached: it takes 0 requests more now. Try again in 870ms. "
        "This is a limit of the proxy, not of the vendor: nothing was sent or charged."
    )
    assert headers == {
        "retry-after": "1",
        "retry-after-ms": "870",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
        "ratelimit-policy": '"key:alice/requests/minute";q=60;qu="requests";w=60',
        "ratelimit": '"key:alice/requests/minute";r=0;t=60',
    }


def test_of_a_limit_that_others_share_a_client_learns_that_it_is_reached_and_no_more() -> None:
    rate = limit("1000 tokens/minute", Scope.UPSTREAM, "vendor", enforce=Enforce.STRICT)
    state = LimitState(
        limit=rate, amount=1000, used=777, remaining=223, resets_at_ms=NOW_MS + 46_620
    )
    own = LimitState(limit=TOKENS, amount=100_000, used=3, remaining=4997, resets_at_ms=NOW_MS + 1)
    other = LimitState(
        limit=limit("9 requests/day", Scope.PROXY, ""), amount=9, used=5, remaining=4
    )
    status, _, code, message, headers = told(
        Refused(
            limit=rate, state=state, wanted=300, retry_after_ms=4620, states=(other, state, own)
        )
    )
    assert (status, code) == (429, "rate_limit_exceeded")
    assert message.startswith("A limit that others share is reached. Try again in 5s.")
    assert headers == {
        "retry-after": "5",
        "retry-after-ms": "4620",
        "x-ratelimit-limit-tokens": "100000",
        "x-ratelimit-remaining-tokens": "4997",
        "x-ratelimit-reset-tokens": "1ms",
    }


@pytest.mark.parametrize("scope", [Scope.PROXY, Scope.UPSTREAM])
@pytest.mark.parametrize("never", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "777 tokens/minute for gpt-CANARY*",
        "777 USD/month for gpt-CANARY*",
        "777 concurrent for gpt-CANARY*",
        "0 requests/day for gpt-CANARY*",
    ],
)
def test_no_answer_names_a_limit_that_others_share(scope: Scope, never: bool, text: str) -> None:
    common = limit(text, scope, "CANARY", name="CANARY")
    state = LimitState(
        limit=common, amount=common.amount, used=0, remaining=0, held=0, resets_at_ms=NOW_MS + 5000
    )
    refused = Refused(
        limit=common,
        state=state,
        wanted=300,
        never=never,
        retry_after_ms=None if never else 4620,
        states=(state,),
    )
    for error in (
        refusal(refused, NOW_MS, BERLIN, limit_fields),
        cut(state, BERLIN),
        not_boundable(common),
        not_boundable(common, cap_ignored=True),
    ):
        told_all = f"{error.message} {error.headers}"
        assert "CANARY" not in told_all and "777" not in told_all


def test_a_budget_that_is_used_up_says_when_it_resets_and_not_to_try_again() -> None:
    status, family, code, message, headers = told(
        Refused(limit=MONTHLY, state=SPENT, wanted=1, states=(REACHED, SPENT))
    )
    assert (status, family, code) == (429, "insufficient_quota", "insufficient_quota")
    assert message == (
        "The limit 500 USD/month for gpt-* of team research has 500.12 USD used. It resets at 2026-12-01T00:00:00+01:00; "
        "before that the team's administrator can raise it or give credit. This is a limit of the proxy, not of the vendor: nothing was sent or charged."
    )
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers, "one SDK would sleep until then"
    assert "retry-after-ms" not in headers
    assert (
        headers["ratelimit-policy"]
        == '"team:research/USD/month/gpt-*";q=500000000;qu="micro-USD";w=2592000'
    )
    assert (
        headers["ratelimit"]
        == f'"team:research/USD/month/gpt-*";r=0;t={(MONTH_END_MS - NOW_MS) // 1000}'
    )


def test_a_budget_of_which_running_requests_hold_the_rest_comes_back_by_itself() -> None:
    state = LimitState(
        limit=MONTHLY,
        amount=500 * NANO,
        granted=100 * NANO,
        used=400 * NANO,
        held=200 * NANO,
        remaining=0,
        resets_at_ms=MONTH_END_MS,
    )
    status, family, code, message, headers = told(
        Refused(limit=MONTHLY, state=state, wanted=1, retry_after_ms=1000, by_holds=True)
    )
    assert (status, family, code) == (429, "tokens", "rate_limit_exceeded")
    assert message.startswith(
        "The limit 500 USD/month for gpt-* of team research has 400 USD used and 200 USD held by running requests, 100 USD of credit added. "
        "Running requests hold the rest: try again when one of them has ended."
    )
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "1000")
    assert "x-should-retry" not in headers


def test_slots() -> None:
    state = LimitState(limit=SLOTS, amount=8, used=8, remaining=0)
    _, family, code, message, headers = told(
        Refused(limit=SLOTS, state=state, wanted=1, retry_after_ms=1000)
    )
    assert (family, code) == ("requests", "rate_limit_exceeded")
    assert message.startswith(
        "The limit 8 concurrent of key alice has 8 requests running. Try again when one of them has ended."
    )
    assert (headers["retry-after"], headers["ratelimit-policy"], headers["ratelimit"]) == (
        "1",
        '"key:alice/concurrent";q=8;qu="concurrent-requests"',
        '"key:alice/concurrent";r=0',
    )


def test_a_credit_that_is_used_up_does_not_come_back() -> None:
    state = LimitState(limit=CREDIT, amount=10 * NANO, used=10 * NANO, remaining=0)
    _, _, code, message, headers = told(Refused(limit=CREDIT, state=state, wanted=1))
    assert code == "insufficient_quota"
    assert message.startswith(
        "The limit 10 USD/total of key alice (trial) has 10 USD used. It does not come back by itself: the person who gave you the key can raise it or give credit."
    )
    assert headers["ratelimit"] == '"trial";r=0'


def test_what_asks_for_more_than_there_ever_is_is_told_not_to_try_again() -> None:
    state = LimitState(limit=TOKENS, amount=100_000, used=0, remaining=5000, resets_at_ms=NOW_MS)
    _, family, code, message, headers = told(
        Refused(limit=TOKENS, state=state, wanted=64_100, never=True)
    )
    assert (family, code) == ("tokens", "rate_limit_exceeded")
    assert message.startswith(
        "This request may use up to 64100 tokens, more than the limit 100000 tokens/hour of key alice ever lets through. Ask for a shorter answer, or send less."
    )
    assert headers["x-should-retry"] == "false"
    assert headers["ratelimit-policy"] == '"key:alice/tokens/hour";q=5000;qu="tokens";w=180', (
        "a burst comes back in its own time"
    )


def test_a_limit_of_nothing_says_so() -> None:
    nothing = limit("0 requests/minute")
    _, _, _, message, headers = told(
        Refused(
            limit=nothing,
            state=LimitState(limit=nothing, amount=0, used=0, remaining=0),
            wanted=1,
            never=True,
        )
    )
    assert message.startswith(
        "The limit 0 requests/minute of key alice lets nothing through: the person who gave you the key can raise it."
    )
    assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("wait_ms", "seconds", "milliseconds"),
    [
        (0, "1", "1"),
        (1, "1", "1"),
        (999, "1", "999"),
        (1001, "2", "1001"),
        (59_001, "60", "59001"),
        (60_000, "60", "60000"),
        (60_001, "61", None),
        (3_600_000, "3600", None),
    ],
)
def test_the_wait_is_told_as_it_is_and_beyond_a_minute_not_to_be_waited_for(
    wait_ms: int, seconds: str, milliseconds: str | None
) -> None:
    headers = told(Refused(limit=RATE, state=REACHED, wanted=1, retry_after_ms=wait_ms))[4]
    assert (headers["retry-after"], headers.get("retry-after-ms")) == (seconds, milliseconds)
    assert headers.get("x-should-retry") == (None if milliseconds else "false")


@pytest.mark.parametrize("status", [402, 403, 429])
def test_a_used_up_budget_has_the_status_that_the_operator_wants(status: int) -> None:
    error = refusal(
        Refused(limit=MONTHLY, state=SPENT, wanted=1),
        NOW_MS,
        BERLIN,
        limit_fields,
        quota_status=status,
    )
    assert (error.status, error.code, dict(error.headers)["x-should-retry"]) == (
        status,
        "insufficient_quota",
        "false",
    )
    rate = refusal(
        Refused(limit=RATE, state=REACHED, wanted=1, retry_after_ms=1),
        NOW_MS,
        BERLIN,
        limit_fields,
        quota_status=status,
    )
    held = refusal(
        Refused(limit=MONTHLY, state=SPENT, wanted=1, retry_after_ms=1000, by_holds=True),
        NOW_MS,
        BERLIN,
        limit_fields,
        quota_status=status,
    )
    assert (rate.status, held.status) == (429, 429), "these come back by themselves"


def test_openais_fields_show_the_tightest_limit_of_each_kind() -> None:
    states = (
        LimitState(
            limit=limit("60 requests/minute"),
            amount=60,
            used=30,
            remaining=30,
            resets_at_ms=NOW_MS + 120,
        ),
        LimitState(
            limit=limit("1_000 requests/day"),
            amount=1000,
            used=900,
            remaining=100,
            resets_at_ms=NOW_MS + 7_200_001,
        ),
        LimitState(limit=TOKENS, amount=100_000, used=10, remaining=4990, resets_at_ms=NOW_MS + 1),
        LimitState(
            limit=limit("50 output_tokens/total"), amount=50, granted=50, used=99, remaining=1
        ),
        SPENT,
    )
    headers = told(Refused(limit=MONTHLY, state=SPENT, wanted=1, states=states))[4]
    assert {name: value for name, value in headers.items() if name.startswith("x-ratelimit")} == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "100",
        "x-ratelimit-reset-requests": "2h0m1s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "1",
    }
    assert tightest(()) is None
    raised = LimitState(limit=RATE, amount=10, granted=90, used=91, remaining=9)
    assert (
        tightest((raised, LimitState(limit=RATE, amount=100, used=90, remaining=10))) == raised
    ), "a share of what there is with credit"


@pytest.mark.parametrize(
    ("state", "policy", "current"),
    [
        (
            LimitState(
                limit=limit("5 requests/day"),
                amount=5,
                granted=2,
                used=1,
                remaining=6,
                resets_at_ms=NOW_MS + 1,
            ),
            '"key:alice/requests/day";q=7;qu="requests";w=86400',
            '"key:alice/requests/day";r=6;t=1',
        ),
        (
            LimitState(
                limit=limit("5 requests/week"),
                amount=5,
                used=9,
                remaining=0,
                resets_at_ms=NOW_MS - 5,
            ),
            '"key:alice/requests/week";q=5;qu="requests";w=604800',
            '"key:alice/requests/week";r=0;t=0',
        ),
        (
            LimitState(
                limit=limit("5 tokens/second", Scope.TEAM, "研发"),
                amount=5,
                used=0,
                remaining=5,
                resets_at_ms=NOW_MS,
            ),
            '"team:%E7%A0%94%E5%8F%91/tokens/second";q=5;qu="tokens";w=1',
            '"team:%E7%A0%94%E5%8F%91/tokens/second";r=5;t=0',
        ),
        (
            LimitState(
                limit=limit('5 tokens/day for a"b\\c*'),
                amount=5,
                used=0,
                remaining=5,
                resets_at_ms=NOW_MS,
            ),
            '"key:alice/tokens/day/a\\"b\\\\c*";q=5;qu="tokens";w=86400',
            '"key:alice/tokens/day/a\\"b\\\\c*";r=5;t=0',
        ),
        (
            LimitState(
                limit=limit("999_999_999_999_999 USD/total", name="all"),
                amount=999_999_999_999_999 * NANO,
                used=0,
                remaining=10**24,
            ),
            '"all";q=999999999999999;qu="micro-USD"',
            '"all";r=999999999999999',
        ),
        (
            LimitState(
                limit=limit("1 USD/total", name="x"), amount=NANO, used=2 * NANO, remaining=-NANO
            ),
            '"x";q=1000000;qu="micro-USD"',
            '"x";r=0',
        ),
    ],
)
def test_the_fields_of_every_answer(state: LimitState, policy: str, current: str) -> None:
    assert ratelimit_fields(state, NOW_MS) == (("ratelimit-policy", policy), ("ratelimit", current))
    remembering = RateLimitFields()
    for _ in range(2):
        assert remembering.of(state, NOW_MS) == (
            (b"ratelimit-policy", policy.encode()),
            (b"ratelimit", current.encode()),
        )
    assert f"{policy}{current}".isascii()


@pytest.mark.parametrize("remaining", [-1, 0, 1, 10**24])
@pytest.mark.parametrize("span_ms", [None, -5000, -1, 0, 1, 999, 1000, 1001, 86_400_000])
def test_the_fields_that_are_written_fast_say_the_same(remaining: int, span_ms: int | None) -> None:
    for rule in ("7 USD/day", "100 requests/minute"):
        state = LimitState(
            limit=limit(rule),
            amount=100,
            used=0,
            remaining=remaining,
            resets_at_ms=None if span_ms is None else NOW_MS + span_ms,
        )
        said = tuple(
            (name.encode(), text.encode()) for name, text in ratelimit_fields(state, NOW_MS)
        )
        assert RateLimitFields().of(state, NOW_MS) == said


def test_the_end_of_a_stream_that_was_cut() -> None:
    error = cut(SPENT, BERLIN)
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert error.message.startswith(
        "This answer was ended here, because the limit 500 USD/month for gpt-* of team research has 500.12 USD used. "
    )
    assert "What was delivered is charged. It resets at 2026-12-01T00:00:00+01:00" in error.message
    error = cut(
        LimitState(limit=TOKENS, amount=100_000, used=5000, remaining=0, resets_at_ms=NOW_MS),
        BERLIN,
    )
    assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
    assert "It comes back by itself." in error.message


def test_a_request_that_cannot_be_bounded_is_told_what_to_name() -> None:
    error = not_boundable(limit("5 USD/day", enforce=Enforce.STRICT))
    assert (error.status, error.code) == (400, "not_boundable")
    assert "5 USD/day of key alice is strict" in error.message
    assert "max_completion_tokens" in error.message
