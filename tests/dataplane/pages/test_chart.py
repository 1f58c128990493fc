"""Bars: the highest fills the drawing, what is there at all is seen, nothing leaves it."""

from proxy.dataplane.pages import chart


def test_bars_stay_inside_and_what_is_used_is_seen() -> None:
    values = [("1", 0), ("2", 1), ("3", 10**18), ("4", -5)]
    found = chart.bars(values)
    assert [bar.height for bar in found] == [0, 1, chart.HEIGHT, 0]
    assert all(bar.x >= 0 and bar.x + bar.width <= chart.WIDTH for bar in found)
    assert all(bar.y + bar.height == chart.HEIGHT for bar in found)
    assert chart.bars([]) == []
    assert len(chart.bars([("x", 1)] * 400)) == 400


def test_a_share_is_seen_and_never_more_than_whole() -> None:
    assert [chart.filled(ppm) for ppm in (0, 1, 500_000, 1_000_000, 9_000_000)] == [
        0,
        1,
        50,
        100,
        100,
    ]
