"""Which closed month counts a record, against a plain search through all of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.statements.closing import Closing, Closings
from tests.support.effort import examples


def closing(number: int, team: str | None, to_ms: int, through: int) -> Closing:
    return Closing(
        number=number,
        month=f"2026-{number:02d}",
        zone="UTC",
        team=team,
        from_ms=to_ms - 10,
        to_ms=to_ms,
        through=through,
        closed_at_ms=0,
        closed_by="ops",
        digest="",
    )


TEAMS = st.sampled_from([None, "a", "b"])
ALL = st.lists(st.tuples(TEAMS, st.integers(0, 50), st.integers(0, 50)), max_size=8).map(
    lambda rows: [closing(n, *row) for n, row in enumerate(rows, 1)]
)


@settings(max_examples=examples(600), deadline=None)
@given(closings=ALL, team=TEAMS, at_ms=st.integers(-5, 60), seq=st.integers(1, 60))
def test_a_record_is_taken_by_what_covers_its_team_time_and_seq(
    closings: list[Closing], team: str | None, at_ms: int, seq: int
) -> None:
    over = [one for one in closings if one.team is None or one.team == team]
    found = Closings(closings)
    assert found.taken(team, at_ms, seq) == any(
        at_ms < one.to_ms and seq <= one.through for one in over
    )
    assert found.is_late(team, at_ms) == any(at_ms < one.to_ms for one in over)
    last = found.last_over(team)
    assert (None if last is None else last.to_ms) == max((one.to_ms for one in over), default=None)


def test_a_month_is_found_by_its_team_and_teams_stand_apart() -> None:
    closings = [closing(1, None, 20, 5), closing(1, "a", 20, 7), closing(2, "a", 30, 9)]
    found = Closings(closings)
    assert found.of("2026-01", "a") == closings[1] and found.of("2026-01", "b") is None
    assert found.of("2026-02", None) is None
    assert found.apart("2026-01") == closings[1:2]
    assert (found.over(None), found.over("a")) == (closings[:1], closings)
