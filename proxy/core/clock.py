"""Time of day that does not run back: what stands in records and decides on days must not jump
about because a clock is set right.

Durations are not its matter: those are measured on a monotonic clock, which nobody sets.
"""

from __future__ import annotations

STEP_BACK_MAX_MS = 3_600_000  # a clock set back by more was wrong by more: the new time is taken


class SteadyClock:
    """Unix milliseconds that stand still while the system's clock makes up for a step back of at
    most an hour. A larger step is taken and told."""

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
        """How far the clock was last set back (negative milliseconds) beyond what is made up for;
        None: not since the last call."""
        step_ms, self._step_ms = self._step_ms, None
        return step_ms
