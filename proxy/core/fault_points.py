"""A named place in the code where a fault test may stop the process or make a step fail."""

from __future__ import annotations

from collections.abc import Callable

FaultPoint = Callable[[str], None]  # called with the place's name; raises OSError or returns


def no_fault(_name: str) -> None:
    """Do nothing: what every part calls outside of fault tests."""
