"""What the shared store tells operators: each share that is reached, once over all instances.

The count of a budget holds the highest share that was told. The instance that raises it tells.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.core.limits.language import SMOOTH_MS
from proxy.core.limits.limit import PPM, Limit
from proxy.core.limits.state import LimitState
from proxy.quota import Breach, Crossing
from proxy.quota.valkey.calls import Calls, Sending
from proxy.quota.valkey.readings import Reading
from proxy.quota.valkey.reservation import Look

SLOTS_EVERY_MS: Final = 60_000  # of a limit on concurrent requests that only warns


class Telling:
    """What has come up to warn of since it was last asked for."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._crossings: dict[tuple[str, int], Crossing] = {}
        self._breaches: dict[str, Breach] = {}

    def take(self) -> list[Crossing | Breach]:
        """All of it, once."""
        told: list[Crossing | Breach] = [*self._crossings.values(), *self._breaches.values()]
        self._crossings.clear()
        self._breaches.clear()
        return told

    def look(self, look: Look, place: int, *, used_up: bool = False) -> None:
        """Tell what this count of a budget has reached and was not told yet."""
        line = look.lines[place]
        if line.kind != "B" or not look.raws[place]:
            return
        reading = look.reading(place)
        reached_ppm = reading.reached_ppm(used_up)
        if reached_ppm > reading.told_ppm:
            self._claim(look.name(place), reading, reached_ppm)
        elif line.raised and reached_ppm < reading.told_ppm:
            # More room puts a share out of reach again, so it is told again once it is reached.
            self._deliver(b"tell", (look.name(place), reached_ppm, True), _ignore)
        line.raised = False

    def exceeded(self, look: Look, place: int) -> None:
        """Tell of a limit that only warns, and that a request exceeds."""
        line = look.lines[place]
        if line.kind == "B":
            self.look(look, place)
            return
        state = look.reading(place).state()
        every_ms = SMOOTH_MS.get(line.limit.per, SLOTS_EVERY_MS)

        def told(answer: list[Any], sending: Sending) -> None:
            if answer[0] == 1:
                self._note(state, PPM)

        self._deliver(b"once", ("W" + look.name(place), every_ms), told)

    def breach(self, limit: Limit, bound: int, used: int) -> None:
        """A request used more of a strict limit than its bound."""
        before = self._breaches.get(limit.count_id)
        self._breaches[limit.count_id] = Breach(
            limit, 1 if before is None else before.count + 1, bound, used
        )

    def _claim(self, name: str, reading: Reading, reached_ppm: int) -> None:
        state = reading.state()

        def told(answer: list[Any], sending: Sending) -> None:
            if answer[0] == 1:
                for share_ppm in state.limit.told_at_ppm:
                    if answer[2] < share_ppm <= reached_ppm:
                        self._note(state, share_ppm)

        self._deliver(b"tell", (name, reached_ppm, False), told)

    def _note(self, state: LimitState, share_ppm: int) -> None:
        self._crossings[state.limit.count_id, share_ppm] = Crossing(state, share_ppm)

    def _deliver(self, operation: bytes, args: Any, answered: Any) -> None:
        self._calls.deliver((operation, args), self._calls.epoch, answered)


def _ignore(told: list[Any], sending: Sending) -> None:
    """Whether it changed anything does not matter."""
