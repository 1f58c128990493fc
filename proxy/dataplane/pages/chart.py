"""Bars of a chart, as numbers for SVG: what is drawn has its figures in the table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

WIDTH: Final = 720
HEIGHT: Final = 160
DAYS: Final = 31  # a month in its course leaves room for the days to come
_GAP: Final = 2


class Bar(msgspec.Struct, frozen=True):
    """One bar: its left edge, top, width and height in the units of the drawing."""

    x: int
    y: int
    width: int
    height: int
    label: str


def bars(values: Sequence[tuple[str, int]]) -> list[Bar]:
    """A bar for each (label, value). Values below zero, which corrections make, have none.

    A value above zero is at least one unit high, so that it is seen.
    """
    if not values:
        return []
    most = max(max(value for _, value in values), 1)
    step = WIDTH // max(len(values), DAYS)
    found = []
    for place, (label, value) in enumerate(values):
        height = max(1, value * HEIGHT // most) if value > 0 else 0
        found.append(Bar(place * step, HEIGHT - height, max(1, step - _GAP), height, label))
    return found


def filled(taken_ppm: int) -> int:
    """The width out of 100 of a bar for a share in millionths; what is used at all is seen."""
    return min(100, max(1, taken_ppm // 10_000)) if taken_ppm > 0 else 0
