"""The tier that is billed: the one that the answer names, else the dearer of two."""

from __future__ import annotations

import pytest

from proxy.core.pricing.amounts import Priced
from proxy.core.records.tier import in_tier

PRICES = {None: Priced(10, 10), "priority": Priced(30, 30), "flex": Priced(5, 5), "x": Priced()}


@pytest.mark.parametrize(
    ("served", "asked", "charge_nano", "tier", "doubtful"),
    [
        ("flex", "priority", 5, "flex", False),
        (None, None, 10, None, False),
        (None, "priority", 30, "priority", True),
        (None, "flex", 10, None, True),
        (None, "x", None, "x", True),
    ],
)
def test_a_tier_that_nobody_names_costs_the_dearer_of_both(
    served: str | None, asked: str | None, charge_nano: int | None, tier: str | None, doubtful: bool
) -> None:
    priced, found, in_doubt = in_tier(PRICES.__getitem__, served, asked)
    assert (priced.charge_nano, found, in_doubt) == (charge_nano, tier, doubtful)
