"""How requests end and the book is corrected in the shared store: sent until the server answers."""

from __future__ import annotations

import os
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

from proxy.core.limits.decisions import Used, counts
from proxy.quota.valkey.calls import Calls, Sending, What
from proxy.quota.valkey.epochs import Epochs
from proxy.quota.valkey.lines import LimitLine, used_pairs
from proxy.quota.valkey.reservation import Look, SharedReservation
from proxy.quota.valkey.telling import Telling

NOTHING: Final = Used(requests=0)
DONE: Final = 1
REFUSED: Final = 0
UNKNOWN: Final = 2  # there is no such hold


class Ends:
    """What the server is told of reservations that are over, and of corrections.

    `running` are the reservations that are not over, by exchange.
    """

    def __init__(
        self,
        calls: Calls,
        epochs: Epochs,
        telling: Telling,
        running: MutableMapping[str, SharedReservation],
    ) -> None:
        # How often a reservation was ended a second time: a fault of ours that changes nothing.
        self.resolved_twice = 0
        self._calls = calls
        self._epochs = epochs
        self._telling = telling
        self._running = running

    def close(self, held: SharedReservation) -> bool:
        """Whether it was open until now."""
        if not held.open:
            self.resolved_twice += 1
            return False
        held.open = False
        self._running.pop(held.ask.exchange_id, None)
        return True

    def settle(self, held: SharedReservation, used: Used, now_ms: int) -> None:
        """It is over and has used this."""
        if held.look.lines:
            self._send(held, used, now_ms)
        if held.strict:
            amounts = counts(used)
            for line, bound in zip(held.look.lines, held.taken, strict=True):
                if line.strict and amounts[line.index] > bound:
                    self._telling.breach(line.limit, bound, amounts[line.index])

    def undo(self, held: SharedReservation, *, unsure: bool = True) -> None:
        """Have the store forget it, whether it knows of it or not.

        A reserve that is still on its way must change nothing when it comes.
        """
        pairs = used_pairs(NOTHING)

        def undone(answer: list[Any], sending: Sending) -> None:
            if answer[0] == UNKNOWN and unsure:
                self._epochs.tidy(held.attempt, later=True)

        self._calls.deliver((b"settle", (held.attempt, pairs, unsure)), held.epoch, undone)

    def settle_left(self, exchange_id: str, used: Used | None) -> None:
        """End what an earlier life of this process holds; `used` None: it was never sent."""
        pairs = used_pairs(NOTHING if used is None else used)
        for attempt in (exchange_id, f"{exchange_id}+"):
            self._calls.deliver((b"settle", (attempt, pairs, False)), self._calls.epoch)

    def adjust(
        self, lines: Sequence[LimitLine], started_at_ms: int, used: Used, now_ms: int
    ) -> None:
        """Count a correction of the book in the windows of its record's start."""
        pairs = used_pairs(used)
        spans = [line.span_of(started_at_ms, now_ms) for line in lines]
        if not lines:
            return
        id = os.urandom(16).hex()
        corrections = [
            (
                span.name,
                span.lasts_ms(now_ms),
                *pairs[line.index],
                span.end_ms <= now_ms,
                span.apart or False,
            )
            for line, span in zip(lines, spans, strict=True)
        ]

        def adjusted(answer: list[Any], sending: Sending) -> None:
            self._epochs.tidy(id)
            if answer[0] == DONE:
                after = Look(lines, spans, answer[2], (), answer[1], now_ms)
                for place in range(len(lines)):
                    self._telling.look(after, place)

        what = (b"adjust", (id, corrections))
        self._calls.deliver(what, self._calls.epoch, adjusted, lambda: what)

    def _send(self, held: SharedReservation, used: Used, now_ms: int) -> None:
        look, pairs = held.look, used_pairs(used)

        def settled(answer: list[Any], sending: Sending) -> None:
            if answer[0] == UNKNOWN and sending.times == 1:
                self._epochs.distrust("it did not know of a request that it had let through")
            if sending.what[0] == b"join":
                self._epochs.tidy(held.attempt, later=True)
            elif answer[0] == DONE:
                after = Look(look.lines, look.spans, answer[2], look.together, answer[1], now_ms)
                for place in range(len(look.lines)):
                    self._telling.look(after, place)

        def instead() -> What:
            return b"join", (held.joining(pairs),)

        what = (b"settle", (held.attempt, pairs, False))
        self._calls.deliver(what, held.epoch, settled, instead)
