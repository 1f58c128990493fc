"""Notices of limits, word by word."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec

from proxy.core.limits.language import parse
from proxy.core.limits.limit import Enforce, Limit, Scope, limit_of
from proxy.core.limits.state import LimitState
from proxy.core.notices.limits import limit_crossed
from proxy.core.notices.notice import Notice

BERLIN = ZoneInfo("Europe/Berlin")
ENDS_MS = 1_798_758_000_000  # midnight of 2027-01-01 in Berlin
NANO = 10**9


def month(**more: object) -> Limit:
    return limit_of(parse("500 USD/month for gpt-*"), Scope.TEAM, "research", **more)


def crossed(state: LimitState, share_ppm: int) -> Notice:
    return limit_crossed(state, share_ppm, "research", BERLIN, 7)


def standing(limit: Limit, used: int, granted: int = 0) -> LimitState:
    return LimitState(
        limit=limit,
        amount=limit.amount,
        granted=granted,
        used=used,
        remaining=max(0, limit.amount + granted - used),
        resets_at_ms=ENDS_MS,
    )


def test_a_budget_that_is_used_to_a_share() -> None:
    assert crossed(standing(month(name="vendors"), 400 * NANO), 800_000) == Notice(
        event="limit_near",
        at_ms=7,
        subject=f"limit {month(name='vendors').count_id} {ENDS_MS} {500 * NANO} 800000",
        until_ms=ENDS_MS,
        team="research",
        title="The limit 500 USD/month for gpt-* of team research is used to 80%: 400 USD used.",
        facts=(
            ("Limit", "vendors"),
            ("Used", "400 USD of 500 USD"),
            ("Resets", "2027-01-01 00:00 Europe/Berlin"),
        ),
        data={
            "limit": "vendors",
            "rule": "500 USD/month for gpt-*",
            "scope": "team",
            "scope_id": "research",
            "enforce": "finish",
            "unit": "USD",
            "share": "80%",
            "amount": "500",
            "granted": "0",
            "used": "400",
            "resets_at": "2027-01-01T00:00:00+01:00",
        },
    )


def test_a_budget_that_is_used_up_says_what_follows() -> None:
    for enforce, follows in (
        (Enforce.WARN, "Requests go on"),
        (Enforce.FINISH, "Further requests are refused."),
        (Enforce.CUT, "running streams are ended"),
        (Enforce.STRICT, "may use more than the rest"),
    ):
        notice = crossed(standing(month(enforce=enforce), 510 * NANO), 1_000_000)
        assert notice.event == "limit_reached"
        assert " of team research is reached: 510 USD used." in notice.title
        assert follows in dict(notice.facts)["Now"]
        assert "Limit" not in dict(notice.facts), "a name that nobody gave says nothing new"


def test_one_with_a_rest_that_is_too_little_is_not_called_used_up() -> None:
    notice = crossed(standing(month(enforce=Enforce.STRICT), 499 * NANO), 1_000_000)
    assert notice.event == "limit_reached"
    assert "has too little left for a request: 499 USD used." in notice.title


def test_what_is_told_anew() -> None:
    """Another window, another share, more to reach; not more use of the same."""
    one = standing(month(), 400 * NANO)
    same = crossed(one, 800_000).subject
    assert crossed(standing(month(), 450 * NANO), 800_000).subject == same
    other = [
        crossed(one, 950_000),
        crossed(standing(month(), 500 * NANO, granted=100 * NANO), 800_000),
        crossed(msgspec.structs.replace(one, resets_at_ms=ENDS_MS + 1), 800_000),
        crossed(
            standing(limit_of(parse("500 USD/month"), Scope.KEY, "alice"), 400 * NANO), 800_000
        ),
    ]
    assert len({same, *(notice.subject for notice in other)}) == 5


def test_a_total_never_resets_and_is_told_once_for_ever() -> None:
    total = limit_of(parse("9 requests/total"), Scope.PROXY)
    state = LimitState(limit=total, amount=9, used=9, remaining=0)
    notice = limit_crossed(state, 1_000_000, None, BERLIN, 7)
    assert notice.until_ms is None and notice.team is None
    assert (
        notice.title == "The limit 9 requests/total of the whole proxy is reached: 9 requests used."
    )
    assert notice.data["resets_at"] is None and notice.data["used"] == 9
    assert [name for name, _ in notice.facts] == ["Used", "Now"]


def test_shares_are_written_as_the_config_has_them() -> None:
    for share_ppm, text in ((800_000, "80%"), (995_000, "99.5%"), (1, "0.0001%"), (50_000, "5%")):
        assert crossed(standing(month(), 0), share_ppm).data["share"] == text


def test_the_values_of_a_limit_are_told_once_and_no_notice_names_one() -> None:
    rule = limit_of(parse("5 USD/day per end_user"), Scope.TEAM, "red")
    one, other = (
        crossed(standing(rule.of_value(value), 5_000_000_000), 1_000_000)
        for value in ("zoe-secret", "max-secret")
    )
    assert one == other and "secret" not in repr(one)
    assert "5 USD/day per end_user of team red" in one.title
