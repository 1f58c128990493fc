"""Time of day that does not run back.

It stands in records and decides on days, so it must not jump about when a clock is set right.
Durations are measured on a monotonic clock, which nobody sets.
"""

from __future__ import annotations

STEP_BACK_MAX_MS = 3_600_000  # a clock set back by more was wrong by more: the new time is taken


class SteadyClock:
    """Unix milliseconds that stand still until the system's clock has made up for a step back.

    A step back of more than an hour is taken and told.
    """

    def __init__(self) -> None:
        self._last_ms = 0
        self._step_ms: int | None = None

    def at(self, system_ms: int) -> int:
        """The time to go by when the system's clock shows `system_ms`."""
        if system_ms >= self._last_ms:
            self._last_ms = system_ms
        elif self._last_ms - system_ms > STEP_BACK_MAX_MS:
            self._step_ms = system_ms - self._last_ms
            self._last_ms = system_ms
        return self._last_ms

    def take_step(self) -> int | None:
        """How far the clock was last set back beyond what is made up for, in negative milliseconds.

        None: it was not set back since the last call.
        """
        step_ms, self._step_ms = self._step_ms, None
        return step_ms
