"""I2 on real processes: whatever is killed, and wherever, each request that reached the upstream is
booked once, within the bounds.

The loop is in `kills.py`, the clients in `load.py`, the comparison in `checking.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.server.failpoints import NAMES
from tests.crash.kills import VARIANTS, Outcome, Variant, campaign, plan, run_round

pytestmark = pytest.mark.whole

SEED = 1
CYCLES = 8  # of two kills each, in each of the four variants
CAMPAIGN_KILLS = 1000


def shares() -> list[tuple[Variant, list[str]]]:
    """Each name to the variant that passes it and has the fewest so far, those that only few can
    pass first."""
    given: dict[Variant, list[str]] = {variant: [] for variant in VARIANTS}
    for name in sorted(NAMES, key=lambda name: sum(variant.passes(name) for variant in VARIANTS)):
        fewest = min(
            (variant for variant in VARIANTS if variant.passes(name)),
            key=lambda variant: len(given[variant]),
        )
        given[fewest].append(name)
    return list(given.items())


@pytest.mark.parametrize(
    ("variant", "names"),
    shares(),
    ids=lambda value: f"{value.sync}-{value.keep}" if isinstance(value, Variant) else "",
)
async def test_killed_at_every_named_point_and_at_random(
    tmp_path: Path, variant: Variant, names: list[str]
) -> None:
    outcome = Outcome()
    seed = f"{SEED}/{variant.sync}/{variant.keep}"
    await run_round(tmp_path, variant, seed, plan(variant, seed, CYCLES, names), outcome)
    assert not outcome.findings, "\n".join(outcome.findings)
    assert outcome.kills == 2 * CYCLES
    assert not outcome.missed, "faults that never happened test nothing"
    # The comparison has seen what it is about.
    tally = outcome.tally
    assert (
        min(tally.recovered, tally.saw_usage, tally.within_bounds, tally.records - tally.recovered)
        > 20
    ), tally


@pytest.mark.campaign
@pytest.mark.parametrize("kills", [CAMPAIGN_KILLS])
async def test_a_thousand_kills(kills: int) -> None:
    outcome = Outcome()
    await campaign(kills, int(os.environ.get("SEED", "1")), outcome)
    assert not outcome.findings, "\n".join(outcome.findings)
    assert outcome.kills >= kills
    assert not [name for name in NAMES if not outcome.at[name]], (
        "points at which no process was killed"
    )
