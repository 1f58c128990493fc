"""Which service tier an answer is billed in, where it names none."""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.pricing.amounts import Priced


def in_tier(
    price: Callable[[str | None], Priced], served: str | None, asked: str | None
) -> tuple[Priced, str | None, bool]:
    """The price, the tier it is of, and whether that tier is in doubt.

    The tier that the answer names is billed. If it names none and the request asked for one, the
    request may have got it or not: the dearer price is charged, so that asking lowers nothing.
    """
    if served is not None or asked is None:
        return price(served), served, False
    usual, as_asked = price(None), price(asked)
    if usual.charge_nano == as_asked.charge_nano:
        return usual, None, False
    if (
        usual.charge_nano is None
        or as_asked.charge_nano is None
        or as_asked.charge_nano > usual.charge_nano
    ):
        return as_asked, asked, True
    return usual, None, True
