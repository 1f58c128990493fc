"""The Prometheus text format, version 0.0.4: what a series looks like on `/metrics`. Knows no series of its own.

Written here and not taken from a client library for two reasons: integers leave exactly as they were counted (money as an exact decimal, not the nearest
float), and 10,000 lines take a few milliseconds, so that a scrape does not hold the interpreter while streams wait for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NANO = 1_000_000_000
_Values = TypeVar("_Values", bound=tuple[str | int, ...])


class Spec(msgspec.Struct, frozen=True):
    """One metric as it is declared: name without the prefix, type, label names in order, unit, and its meaning in one sentence."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    meaning: str


class Snapshot(msgspec.Struct, frozen=True):
    """A histogram at one moment. `counts` has one entry per bound and a last one for what exceeds them all; not cumulative."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


class Histogram:
    """Durations in buckets; `observe` is two list look-ups and an addition."""

    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    def snapshot(self) -> Snapshot:
        return Snapshot(self.bounds_s, tuple(self.counts), self.sum_s)


class Page:
    """One page of samples: lines are added in any order and come out by metric, in the order of the specs."""

    def __init__(self, specs: Sequence[Spec], prefix: str) -> None:
        self._prefix = prefix
        self._lines = {spec.name: [_head(spec, prefix)] for spec in specs}

    def add(self, name: str, labels: str, value: int | float | str) -> None:
        """One sample. `labels` comes from `pairs`; a value of type str is already formatted. A name that was not declared is a KeyError."""
        self._lines[name].append(f"{self._prefix}{name}{{{labels}}} {value}\n" if labels else f"{self._prefix}{name} {value}\n")

    def counts(self, name: str, label_names: Sequence[str], table: dict[_Values, int]) -> None:
        """The samples of a whole table, keyed by label values."""
        for labels, count in table.copy().items():
            self.add(name, pairs(label_names, labels), count)

    def histogram(self, name: str, labels: str, snapshot: Snapshot) -> None:
        """The lines of one histogram: cumulative buckets, sum and count."""
        lines = self._lines[name]
        start = f"{self._prefix}{name}_bucket{{{labels}{',' if labels else ''}le="
        total = 0
        for bound_s, count in zip((*snapshot.bounds_s, "+Inf"), snapshot.counts, strict=True):
            total += count
            lines.append(f'{start}"{bound_s}"}} {total}\n')
        braces = f"{{{labels}}}" if labels else ""
        lines.append(f"{self._prefix}{name}_sum{braces} {snapshot.sum_s}\n{self._prefix}{name}_count{braces} {total}\n")

    def encode(self) -> bytes:
        """The page's bytes. A name from outside may hold what UTF-8 cannot carry: one such name must not cost the whole scrape."""
        return "".join(line for lines in self._lines.values() for line in lines).encode("utf-8", "replace")


def pairs(names: Sequence[str], values: Sequence[str | int]) -> str:
    """The inside of the braces, escaped: `team="research",key="alice"`."""
    return ",".join(f'{name}="{_escape(str(value))}"' for name, value in zip(names, values, strict=True))


def nano(value_nano: int) -> str:
    """Nano-units as a decimal, exact: 1_500_000_000 -> "1.500000000"."""
    whole, part = divmod(abs(value_nano), _NANO)
    return f"{'-' if value_nano < 0 else ''}{whole}.{part:09d}"


def _head(spec: Spec, prefix: str) -> str:
    meaning = spec.meaning.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {prefix}{spec.name} {meaning}\n# TYPE {prefix}{spec.name} {spec.kind}\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
