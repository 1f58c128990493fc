"""From the limits of a config to rules: whose they are, what is shared, what cannot be counted."""

from __future__ import annotations

from proxy.config.limits import check, rules_of
from proxy.config.settings import (
    KeySettings,
    LimitSettings,
    PrivacySettings,
    Settings,
    TeamSettings,
    UpstreamSettings,
)
from proxy.config.settings.limits import Defaults, LimitDefaults


def limits(*texts: str) -> tuple[LimitSettings, ...]:
    return tuple(LimitSettings(limit=text) for text in texts)


SETTINGS = Settings(
    limits=limits("100 concurrent"),
    upstreams={"up": UpstreamSettings(base_url="http://h", limits=limits("9 requests/second"))},
    defaults=Defaults(
        team=LimitDefaults(limits=limits("50 USD/month")),
        key=LimitDefaults(limits=limits("8 concurrent")),
    ),
    teams={"own": TeamSettings(limits=limits("7 USD/day")), "usual": TeamSettings()},
    keys={"free": KeySettings(team="own", limits=()), "usual": KeySettings(team="usual")},
)


def ids(key: str, team: str | None) -> list[str]:
    return [limit.id for limit in rules_of(SETTINGS).limits_for(key, team, "up", "m")]


def test_a_request_has_the_limits_of_proxy_upstream_team_and_key_in_this_order() -> None:
    assert ids("usual", "usual") == [
        "proxy/concurrent",
        "upstream:up/requests/second",
        "team:usual/USD/month",
        "key:usual/concurrent",
    ]


def test_own_limits_take_the_place_of_the_defaults_and_an_empty_list_is_none() -> None:
    assert ids("free", "own")[2:] == ["team:own/USD/day"]


def test_each_key_counts_a_default_limit_for_itself_also_one_that_no_config_names() -> None:
    assert ids("fwd-1", None)[2:] == ["key:fwd-1/concurrent"]
    assert ids("fwd-2", None)[2:] == ["key:fwd-2/concurrent"]


def problems(settings: Settings) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    check(settings, lambda path, message: found.append((path, message)))
    return found


def test_limits_that_can_be_counted_have_no_problem() -> None:
    assert problems(SETTINGS) == []


def test_two_limits_with_one_count_and_another_currency_are_told_with_their_places() -> None:
    twice = Settings(limits=limits("5 tokens/day", "9 tokens/day", "3 CNY/month"))
    [(first, same), (second, currency)] = problems(twice)
    assert first == "limits[1]" and "limits[0]" in same and "give one of them a name" in same
    assert second == "limits[2]" and "USD" in currency


def test_a_name_makes_two_of_the_same_limit_apart() -> None:
    named = (LimitSettings(limit="5 tokens/day"), LimitSettings(limit="9 tokens/day", name="b"))
    assert problems(Settings(limits=named)) == []


def test_values_may_be_said_in_the_rule_or_beside_it() -> None:
    settings = Settings(
        limits=(
            LimitSettings(limit="5 USD/day per end_user"),
            LimitSettings(limit="5 USD/day", per="header:x-run"),
        )
    )
    assert problems(settings) == []
    assert [limit.id for limit in rules_of(settings).configured()] == [
        "proxy/USD/day/per:end_user",
        "proxy/USD/day/per:header:x-run",
    ]


def test_values_that_are_not_known_or_would_never_end_are_told_with_the_remedy() -> None:
    settings = Settings(
        limits=(
            LimitSettings(limit="5 USD/day per tag:run"),
            LimitSettings(limit="5 USD/total", per="tag:env"),
            LimitSettings(limit="5 USD/day per end_user", per="tag:env"),
            LimitSettings(limit="9 requests/minute", per="end_user"),
        ),
        privacy=PrivacySettings(end_user="off"),
    )
    assert [message for _, message in problems(settings)] == [
        "the tag run is not kept; add it to attribution.tags.keep",
        "a total never ends, so the counts of its values would never end either; write /month",
        "per stands in the rule too, and says something else; leave one out",
        "no end user is kept under privacy.end_user: off, so none can be counted; set it to hash"
        " or plain",
    ]
