"""How limits stand, in Prometheus' words."""

from __future__ import annotations

import pytest

from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of
from proxy.core.limits.state import LimitState
from proxy.metrics.definitions import PREFIX
from proxy.metrics.families import Families
from proxy.metrics.limits import LimitMetrics, limit_label


def limit(rule: str, scope: Scope = Scope.KEY, scope_id: str = "alice", name: str = "") -> Limit:
    return limit_of(parse(rule), scope, scope_id, name=name)


def page(metrics: LimitMetrics) -> dict[tuple[str, ...], float]:
    """Every sample, by its name without the prefix and its label values."""
    families = Families()
    metrics.collect(families)
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in families.all()
        for sample in family.samples
    }


def test_how_a_limit_stands_is_shown_in_its_unit() -> None:
    metrics = LimitMetrics(10)
    metrics.show(
        [
            LimitState(
                limit=limit("5 USD/month"),
                amount=5_000_000_000,
                granted=500_000_000,
                used=1_250_000_000,
                held=1,
                remaining=0,
                resets_at_ms=1_500,
            ),
            LimitState(
                limit=limit("8 concurrent", Scope.PROXY, "", "slots"), amount=8, used=3, remaining=5
            ),
        ]
    )
    money, slots = (
        ("key", "alice", "key:alice/USD/month", "USD", "month"),
        ("proxy", "", "slots", "concurrent", ""),
    )
    assert page(metrics) == {
        ("limit_amount", *money): 5.5, ("limit_used", *money): 1.25, ("limit_held", *money): 1e-9, ("limit_reset_timestamp_seconds", *money): 1.5,
        ("limit_crossings_total", "key", "alice", "key:alice/USD/month", "1"): 0,
        ("limit_amount", *slots): 8, ("limit_used", *slots): 3, ("limit_held", *slots): 0,
    }  # fmt: skip
    metrics.show([])
    assert page(metrics) == {}, "a limit that is gone has no sample"


def test_what_may_come_is_counted_from_zero_on() -> None:
    metrics = LimitMetrics(10)
    soft = limit_of(
        parse("9 tokens/day"), Scope.KEY, "alice", enforce=Enforce.WARN, warn_at_ppm=(800_000,)
    )
    hard = limit_of(parse("9 requests/day"), Scope.KEY, "alice", enforce=Enforce.STRICT)
    metrics.show([LimitState(limit=each, amount=9, used=0, remaining=9) for each in (soft, hard)])
    metrics.crossing(soft, 800_000)
    counts = {
        labels: value for labels, value in page(metrics).items() if labels[0].endswith("_total")
    }
    whose = ("limit_crossings_total", "key", "alice", "key:alice/tokens/day")
    assert counts == {
        (*whose, "0.8"): 1,
        (*whose, "1"): 0,
        ("limit_crossings_total", "key", "alice", "key:alice/requests/day", "1"): 0,
        ("strict_breaches_total", "key", "alice", "key:alice/requests/day"): 0,
    }


@pytest.mark.parametrize(
    ("share_ppm", "share"), [(800_000, "0.8"), (955_000, "0.955"), (1_000_000, "1")]
)
def test_crossings_and_breaches_are_counted(share_ppm: int, share: str) -> None:
    metrics = LimitMetrics(10)
    for _ in range(2):
        metrics.crossing(limit("9 tokens/day"), share_ppm)
    metrics.breach(limit("9 tokens/day"), 3)
    whose = ("key", "alice", "key:alice/tokens/day")
    assert page(metrics) == {
        ("limit_crossings_total", *whose, share): 2,
        ("strict_breaches_total", *whose): 3,
    }


def test_series_are_bounded_and_nothing_counted_is_lost() -> None:
    metrics = LimitMetrics(2)
    limits = [limit("9 tokens/day", scope_id=f"k{number}") for number in range(4)]
    metrics.show([LimitState(limit=each, amount=9, used=0, remaining=9) for each in limits])
    for each in limits:
        metrics.breach(each, 1)
    found = page(metrics)
    assert [name for name in found if name[0] == "limit_used"] == [
        ("limit_used", "key", k, f"key:{k}/tokens/day", "tokens", "day") for k in ("k0", "k1")
    ]
    assert found["strict_breaches_total", "key", "other", "other"] == 2
    assert metrics.dropped == 4


def test_no_value_is_a_label_and_the_fullest_one_is_shown() -> None:
    rule, metrics = limit("5 requests/day per end_user"), LimitMetrics(10)
    metrics.show(
        [
            LimitState(limit=rule.of_value(value), amount=5, used=used, remaining=5 - used)
            for value, used in (("zoe", 1), ("max", 4), ("", 2))
        ]
    )
    whose = ("key", "alice", "key:alice/requests/day/per:end_user")
    assert page(metrics) == {
        ("limit_amount", *whose, "requests", "day"): 5,
        ("limit_used", *whose, "requests", "day"): 4,
        ("limit_held", *whose, "requests", "day"): 0,
        ("limit_values", *whose): 3,
        ("limit_values_shared", *whose): 0,
        ("limit_crossings_total", *whose, "1"): 0,
    }


@pytest.mark.parametrize(
    ("limit_id", "shown", "label"),
    [
        (None, ("research", "alice"), ""),
        ("key:alice/tokens/day", ("research", "alice"), "key:alice/tokens/day"),
        ("key:alice/tokens/day", ("research", "other"), "key/tokens/day"),
        ("key:alice/tokens/day", ("research", ""), "key/tokens/day"),
        ("team:research/USD/month", ("", "alice"), "team/USD/month"),
        ("team:research/USD/month", ("research", ""), "team:research/USD/month"),
        ("proxy/requests/minute", ("", ""), "proxy/requests/minute"),
        ("soft-day", ("", ""), "soft-day"),
    ],
)
def test_the_label_of_a_limit_names_nobody_who_is_no_label(
    limit_id: str | None, shown: tuple[str, str], label: str
) -> None:
    assert limit_label(limit_id, ("research", "alice"), shown) == label
