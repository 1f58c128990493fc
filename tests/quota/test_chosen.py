"""Which limits a team or a key has, and pages of them that lose none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.limits import rules_of
from proxy.config.settings import KeySettings, LimitSettings, Settings, TeamSettings
from proxy.core.errors import ProxyError
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Limit, Scope, limit_of
from proxy.core.limits.state import LimitState
from proxy.quota.chosen import holding, page
from tests.support.effort import examples

OWN = (LimitSettings(limit="5 requests/day"),)
SETTINGS = Settings(
    limits=(LimitSettings(limit="9 requests/day"),),
    teams={"lab": TeamSettings(limits=OWN), "ops": TeamSettings(limits=OWN)},
    keys={
        "bob": KeySettings(secret="s1", team="lab", limits=OWN),
        "amy": KeySettings(secret="s2", team="lab", limits=OWN),
        "eve": KeySettings(secret="s3", limits=OWN),
    },
)
STRANGER = limit_of(parse("3 requests/day"), Scope.KEY, "fwd-1")
ALL = (*rules_of(SETTINGS).configured(), STRANGER)


@pytest.mark.parametrize(
    ("team", "key", "held"),
    [
        ("lab", None, {"proxy", "team:lab"}),
        (None, "bob", {"proxy", "team:lab", "key:bob"}),
        (None, "eve", {"proxy", "key:eve"}),
        (None, "fwd-1", {"proxy", "key:fwd-1"}),
        (
            None,
            None,
            {"proxy", "team:lab", "team:ops", "key:bob", "key:amy", "key:eve", "key:fwd-1"},
        ),
    ],
)
def test_a_limit_is_told_for_whom_it_holds(
    team: str | None, key: str | None, held: set[str]
) -> None:
    holds = holding(SETTINGS, team, key, ALL)
    assert {limit.id for limit in filter(holds, ALL)} == {f"{name}/requests/day" for name in held}


@pytest.mark.parametrize(
    ("team", "key", "status", "said"),
    [
        ("lob", None, 404, "the nearest is lab"),
        (None, "bo", 404, "the nearest is bob"),
        ("", None, 404, "There is no team '', or it was revoked"),
        (None, "lab", 404, "There is no key"),
        ("lab", "bob", 400, "not for both"),
    ],
)
def test_a_name_that_nobody_has_is_refused(
    team: str | None, key: str | None, status: int, said: str
) -> None:
    with pytest.raises(ProxyError) as refused:
        holding(SETTINGS, team, key, ALL)
    assert refused.value.status == status and said in refused.value.message


def state(limit: Limit, used: int) -> LimitState:
    return LimitState(
        limit=limit,
        amount=limit.amount,
        granted=0,
        used=used,
        held=0,
        remaining=limit.amount - used,
        resets_at_ms=None,
    )


@settings(max_examples=examples(100))
@given(st.lists(st.integers(0, 4), max_size=9), st.integers(1, 4))
def test_pages_give_each_limit_once_and_the_fullest_first(used: list[int], most: int) -> None:
    valued = limit_of(parse("4 requests/day per end_user"), Scope.PROXY)
    states = [state(valued.of_value(f"ü{at}"), one) for at, one in enumerate(used)]
    seen: list[LimitState] = []
    after: str | None = None
    for _ in range(len(used) + 1):
        got = page(states, after, most)
        assert len(got.states) <= most
        seen += got.states
        if (after := got.next) is None:
            break
    assert seen == page(states, None, None).states
    assert sorted(one.limit.count_id for one in seen) == sorted(s.limit.count_id for s in states)
    assert [one.used for one in seen] == sorted(used, reverse=True)


@pytest.mark.parametrize("after", ["", "x", "ü", "\ud800", "W10", "WzEsMl0", "e30", "////", "a b"])
def test_a_cursor_that_no_page_gave_is_refused(after: str) -> None:
    with pytest.raises(ProxyError) as refused:
        page([], after, None)
    assert (refused.value.status, refused.value.param) == (400, "after")
