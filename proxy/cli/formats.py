"""Counts and money as people read them. Exact: integers in, decimals out, no float between."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from proxy.core.money import decimal

UNKNOWN = "–"
_DIGITS = re.compile(r"([^0-9]*)([0-9]*)")


def money(nano: int) -> str:
    """An amount in units of its currency, as people read it: 1500000000 -> 1.50."""
    return decimal(nano, grouped=True)


def count(number: int) -> str:
    return f"{number:,}"


def size(number_bytes: int) -> str:
    """Bytes in the largest binary unit that keeps one digit before the point."""
    if number_bytes < 1024:
        return f"{number_bytes} B"
    value, unit = number_bytes, "B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024 * 1024 or unit == "TiB":
            break
        value //= 1024
    return f"{value // 1024}.{value % 1024 * 10 // 1024} {unit}"


def text(value: str | int | None) -> str:
    return UNKNOWN if value is None else str(value)


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """A key to sort names as people count: ci-2 before ci-10, whatever the letter case."""
    parts = _DIGITS.findall(name.casefold())
    return (*((text, int(digits or "0")) for text, digits in parts), (name, 0))


def moment(at_ms: int | None) -> str:
    """A time in UTC, to the minute."""
    if at_ms is None:
        return UNKNOWN
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
