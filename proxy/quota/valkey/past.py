"""Past use as counts of the shared store: what `restore` is given becomes what `base` is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from proxy.core.limits.decisions import counts
from proxy.core.limits.dimensions import MISSING
from proxy.core.limits.gcra import refilled
from proxy.core.limits.limit import Limit
from proxy.quota import VALUES_MAX, Ended, Past
from proxy.quota.valkey.lines import LimitLine, LimitWindow, bounded, pair
from proxy.quota.valkey.readings import reached_ppm

AT_ONCE: Final = 1_000  # entries between two turns of the event loop: a few milliseconds


async def past_counts(
    past: Iterable[Past],
    line_of: Callable[[Limit], LimitLine],
    *,
    since_ms: int,
    now_ms: int,
    values_max: int = VALUES_MAX,
) -> list[Sequence[Any]]:
    """One count for each limit and window that was used.

    `since_ms`: from here on, `past` has every single record.
    """
    by_count: dict[str, tuple[LimitLine, LimitWindow, list[tuple[int, int]]]] = {}
    values: dict[str, set[str]] = {}
    for number, entry in enumerate(past, 1):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
        amounts = counts(entry.used)
        for limit in entry.limits:
            if limit.value not in (None, MISSING):
                known = values.setdefault(limit.rule_id, set())
                if limit.count_id not in known and len(known) >= values_max:
                    limit = limit.of_others()
                else:
                    known.add(limit.count_id)
            line = line_of(limit)
            at_ms = entry.started_at_ms
            span = line.span_of(at_ms if limit.windowed else now_ms, now_ms)
            if line.kind == "S" or (limit.windowed and span.end_ms <= now_ms):
                continue
            found = by_count.setdefault(span.name, (line, span, []))
            found[2].append((at_ms, bounded(amounts[line.index], line.index)))
    return [
        _count(line, span, used, since_ms=since_ms, now_ms=now_ms)
        for line, span, used in by_count.values()
    ]


async def ended_counts(
    ended: Iterable[Ended], line_of: Callable[[Limit], LimitLine], now_ms: int
) -> list[Sequence[Any]]:
    """What requests used that were over before the counts were built (`ended` of the script).

    Use of a rate that has leaked away by now, whatever came after it, does not count.
    """
    found: list[Sequence[Any]] = []
    for number, one in enumerate(ended, 1):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
        amounts, at_ms = counts(one.past.used), one.past.started_at_ms
        lines: list[Sequence[Any]] = []
        for limit in one.past.limits:
            line = line_of(limit)
            span = line.span_of(at_ms if limit.windowed else now_ms, now_ms)
            amount = amounts[line.index]
            over = span.end_ms <= now_ms if limit.windowed else _leaked(line, span, at_ms, now_ms)
            if amount and line.kind != "S" and not over:
                used, leak = line.scaled(amount), pair(limit.amount)
                lasts_ms = span.lasts_ms(now_ms)
                apart = span.apart or False
                lines.append((line.kind, span.name, *used, lasts_ms, *leak, apart))
        if lines:
            found.append((one.id, lines))
    return found


def _leaked(line: LimitLine, span: LimitWindow, at_ms: int, now_ms: int) -> bool:
    """Whether nothing of a full rate of that moment is left."""
    return (now_ms - at_ms) * line.limit.amount >= span.room


def _count(
    line: LimitLine,
    span: LimitWindow,
    used: Sequence[tuple[int, int]],
    *,
    since_ms: int,
    now_ms: int,
) -> Sequence[Any]:
    apart: Any = span.apart or False
    if line.kind == "R":
        level = refilled(
            line.limit.amount,
            span.room,
            ((at_ms, amount * line.scale) for at_ms, amount in used),
            since_ms=since_ms,
            now_ms=now_ms,
        )
        high, low = pair(level)
        leak = pair(line.limit.amount)
        return span.name, 0, (high, low, 0, *leak, high, low, 0, 0, 0, 0, 0), apart
    total = sum(amount for _, amount in used)
    # What was reached before was told before.
    told_ppm = reached_ppm(line.limit, total, span.room)
    return span.name, span.lasts_ms(now_ms), (*pair(total), 0, 0, told_ppm), apart
