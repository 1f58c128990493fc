"""Whose a limit is, what its count goes by, and which settings have a meaning for it."""

from __future__ import annotations

import pytest

from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, describe, limit_of, share_ppm

# text                              | scope             | name      | identity
IDENTITIES = """
60 requests/minute                  | proxy             |           | proxy/requests/minute
60 requests/minute                  | key alice         |           | key:alice/requests/minute
70 requests/minute                  | key alice         |           | key:alice/requests/minute
60 requests/hour                    | key alice         |           | key:alice/requests/hour
60 requests/minute                  | key bob           |           | key:bob/requests/minute
60 requests/minute                  | team alice        |           | team:alice/requests/minute
8 concurrent                        | upstream modelmax |           | upstream:modelmax/concurrent
8 concurrent for b,a                | upstream modelmax |           | upstream:modelmax/concurrent/a,b
500 USD/month                       | team research     |           | team:research/USD/month
500 EUR/month                       | team research     |           | team:research/EUR/month
2_000 tokens/day for gpt-*          | key alice         |           | key:alice/tokens/day/gpt-*
2_000 tokens/day for gpt-*          | key alice         | soft-day  | soft-day
"""


@pytest.mark.parametrize("line", IDENTITIES.strip().splitlines())
def test_identity(line: str) -> None:
    text, whose, name, id = (cell.strip() for cell in line.split("|"))
    scope, _, scope_id = whose.partition(" ")
    assert limit_of(parse(text), Scope(scope), scope_id, name=name).id == id


def test_how_much_and_how_strictly_is_no_part_of_the_identity() -> None:
    one = limit_of(parse("60 requests/minute"), Scope.KEY, "alice")
    other = limit_of(
        parse("6 requests/minute"), Scope.KEY, "alice", enforce=Enforce.STRICT, burst=9
    )
    assert one.id == other.id


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        ("60 requests/day", {"burst": 5}, "burst is for limits per second, minute or hour"),
        ("8 concurrent", {"burst": 5}, "burst is for limits per second, minute or hour"),
        ("0 requests/minute", {"burst": 5}, "burst would be used up once"),
        (
            "60 requests/minute",
            {"warn_at_ppm": (800_000,)},
            "warn_at is for limits per day, week, month or total",
        ),
        (
            "8 concurrent",
            {"warn_at_ppm": (800_000,)},
            "warn_at is for limits per day, week, month or total",
        ),
    ],
)
def test_a_setting_without_a_meaning_is_refused(
    text: str, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        limit_of(parse(text), Scope.PROXY, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "model", "applies"),
    [
        ("1 requests/day", "gpt-4o", True),
        ("1 requests/day", None, True),
        ("1 requests/day for gpt-*", "gpt-4o", True),
        ("1 requests/day for gpt-*", None, False),
        ("1 requests/day for gpt-*", "GPT-4o", True),
        ("1 requests/day for GPT-*", "gpt-4o", True),
        ("1 requests/day for gpt-*", "\uff27PT-4o", True),
        ("1 requests/day for claude-*", "GPT-4o", False),
        ("1 requests/day for [G-K]*", "Gpt", True),
        ("1 requests/day for gpt-*,o3", "o3", True),
        ("1 requests/day for gpt-*,o3", "o3-mini", False),
    ],
)
def test_which_models_it_holds_for(text: str, model: str | None, applies: bool) -> None:
    assert limit_of(parse(text), Scope.PROXY).applies(model) == applies


def test_described_for_a_person() -> None:
    assert (
        describe(limit_of(parse("500 USD/month for gpt-*"), Scope.TEAM, "research"))
        == "500 USD/month for gpt-* of team research"
    )
    assert (
        describe(limit_of(parse("8 concurrent"), Scope.PROXY)) == "8 concurrent of the whole proxy"
    )


@pytest.mark.parametrize(
    ("percent", "ppm"),
    [("80%", 800_000), ("99.5%", 995_000), ("0.001%", 10), ("150%", 1_500_000), ("0%", 0)],
)
def test_shares(percent: str, ppm: int) -> None:
    assert share_ppm(percent) == ppm


def test_shares_are_kept_in_order_and_once() -> None:
    limit = limit_of(parse("5 requests/day"), Scope.PROXY, warn_at_ppm=(950_000, 800_000, 950_000))
    assert isinstance(limit, Limit)
    assert limit.warn_at_ppm == (800_000, 950_000)


def test_the_count_of_a_value_is_one_of_its_limit_and_shows_no_value() -> None:
    rule = limit_of(parse("5 USD/day per end_user"), Scope.TEAM, "red", name="each")
    one, other = rule.of_value("zoe"), rule.of_value("max")
    assert one.id == other.id == rule.id == "each"
    assert one.rule_id == other.rule_id == rule.rule_id == rule.count_id
    assert len({one.count_id, other.count_id, rule.count_id, rule.of_value("").count_id}) == 4
    assert describe(one) == "5 USD/day per end_user of team red"
