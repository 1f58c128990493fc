"""Waits for tests: they end on the event. The one limit is a guard against a hang, not a
measure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

GUARD_S = 600.0  # far beyond what a slow, busy machine takes; pytest's own guard comes after it
PAUSE_S = 0.002

T = TypeVar("T")


def guard() -> asyncio.Timeout:
    """Raises TimeoutError if the block hangs: `async with guard():`."""
    return asyncio.timeout(GUARD_S)


async def until(condition: Callable[[], T], pause_s: float = PAUSE_S) -> T:
    """Lets the loop run until the condition is true, and returns what it then says."""
    async with guard():
        while not (found := condition()):
            await asyncio.sleep(pause_s)
    return found


def until_blocking(condition: Callable[[], T], pause_s: float = PAUSE_S) -> T:
    """The same for a test without a loop; other processes work meanwhile."""
    deadline_s = time.monotonic() + GUARD_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "a wait hangs"
        time.sleep(pause_s)
    return found
