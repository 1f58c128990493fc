"""The kinds of quota stores that the contract is tested over, and the clock that they run by."""

from __future__ import annotations

from typing import Protocol
from zoneinfo import ZoneInfo

from proxy.quota import Quota, connect


class Clock:
    """Time of day and a steady clock, moved by hand; `skew` sets the time of day apart."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.steady_ms = 10_000_000

    def __call__(self) -> int:
        return self.steady_ms

    def pass_ms(self, span_ms: int) -> None:
        self.now_ms += span_ms
        self.steady_ms += span_ms


class Store(Protocol):
    """One kind of store: each `open` is a new, empty one, with nothing of the others in it."""

    async def open(self, zone: ZoneInfo, clock: Clock) -> Quota: ...


class InMemory:
    """The store in the memory of one process."""

    async def open(self, zone: ZoneInfo, clock: Clock) -> Quota:
        return await connect("memory:", zone, monotonic_ms=clock)


KINDS = ("memory", "valkey")
