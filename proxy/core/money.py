"""Money is counted in nano-units, as integers: 1 USD is 10**9."""

from __future__ import annotations

NANO_DIGITS = 9
NANO = 10**NANO_DIGITS


def decimal(amount_nano: int, *, grouped: bool = False) -> str:
    """An exact amount in units of its currency, with at least two decimals.

    1500000000 -> 1.50, -1 -> -0.000000001. `grouped` puts a comma between thousands.
    """
    units, rest = divmod(abs(amount_nano), NANO)
    decimals = f"{rest:0{NANO_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount_nano < 0 else ''}{units:{',' if grouped else ''}}.{decimals}"
