"""What upstreams say that they leave us, from their answers' heads to a page."""

from __future__ import annotations

import pytest

from proxy.core.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from proxy.core.dialects.openai_chat.refusals import REMAINING_FIELDS
from proxy.metrics.families import Families
from proxy.metrics.upstream_limits import STALE_S, UpstreamLimits


def shown(upstream_limits: UpstreamLimits) -> dict[tuple[str, str], float]:
    families = Families()
    upstream_limits.collect(families)
    return {
        (sample.labels["upstream"], sample.labels["unit"]): sample.value
        for family in families.all()
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("fields", "remaining"),
    [
        (
            [(b"x-ratelimit-remaining-requests", b"59"), (b"X-RateLimit-Remaining-Tokens", b"0")],
            {"requests": 59, "tokens": 0},
        ),
        (
            [(b"x-ratelimit-remaining-tokens", b"7"), (b"x-ratelimit-remaining-tokens", b"6")],
            {"tokens": 6},
        ),
        ([(b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-remaining", b"5")], {}),
        *(
            ([(b"x-ratelimit-remaining-requests", value)], {})
            for value in (b"", b"-1", b"1e3", b"59.5", b"many", b"\xff", b"\xc2\xb2", b"9" * 16)
        ),
    ],
)
def test_plain_numbers_are_shown_and_all_else_is_passed_over(fields, remaining):
    upstream_limits = UpstreamLimits(lambda: 0.0)
    upstream_limits.seen("up", [(b"Content-Type", b"application/json"), *fields], REMAINING_FIELDS)
    assert shown(upstream_limits) == {("up", unit): value for unit, value in remaining.items()}


def test_each_dialect_has_its_own_fields():
    upstream_limits = UpstreamLimits(lambda: 0.0)
    fields = ANTHROPIC_MESSAGES.remaining_fields
    upstream_limits.seen(
        "up",
        [
            (b"anthropic-ratelimit-requests-remaining", b"3"),
            (b"anthropic-ratelimit-tokens-remaining", b"70"),
            (b"x-ratelimit-remaining-tokens", b"1"),
        ],
        fields,
    )
    assert shown(upstream_limits) == {("up", "requests"): 3, ("up", "tokens"): 70}


def test_the_last_answer_counts_and_an_old_one_says_nothing_any_more():
    now_s = [0.0]
    upstream_limits = UpstreamLimits(lambda: now_s[0])
    upstream_limits.seen(
        "up",
        [(b"x-ratelimit-remaining-requests", b"9"), (b"x-ratelimit-remaining-tokens", b"900")],
        REMAINING_FIELDS,
    )
    upstream_limits.seen("down", [(b"x-ratelimit-remaining-requests", b"1")], REMAINING_FIELDS)
    now_s[0] = STALE_S
    upstream_limits.seen("up", [(b"x-ratelimit-remaining-requests", b"8")], REMAINING_FIELDS)
    assert shown(upstream_limits) == {
        ("up", "requests"): 8,
        ("up", "tokens"): 900,
        ("down", "requests"): 1,
    }
    now_s[0] = STALE_S + 1
    assert shown(upstream_limits) == {("up", "requests"): 8}
