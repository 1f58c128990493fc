"""Damaged answers and requests: no reader raises, and none reads the same bytes differently in
other pieces. `run.py` is the same for a report."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.run import guided, parts, run
from tests.fuzz.targets import SEEN, SHARES

INPUTS, CAMPAIGN_INPUTS = 6_000, 1_000_000
SEED = 1


@pytest.mark.parametrize("target", SHARES)
def test_no_input_raises_or_reads_differently(target: str) -> None:
    part = run(SEED, target, range(round(INPUTS * SHARES[target])))
    assert not part.findings, "\n".join(part.findings)
    # The inputs came everywhere they should: a reader that refuses all of them has read nothing.
    assert {word for word, count in part.seen.items() if count >= part.inputs // 100} >= SEEN[
        target
    ], part.seen


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("target", "numbers"),
    parts(CAMPAIGN_INPUTS),
    ids=lambda value: value if isinstance(value, str) else str(value.start),
)
def test_a_million_inputs(target: str, numbers: range) -> None:
    part = run(int(os.environ.get("SEED", "1")), target, numbers)
    assert not part.findings, "\n".join(part.findings)


@pytest.mark.campaign
def test_a_million_inputs_guided_by_branches() -> None:
    if guided(CAMPAIGN_INPUTS, int(os.environ.get("SEED", "1"))) is None:
        pytest.skip(
            "atheris is not installed: `make campaign` does it where there is a wheel for this Python"
        )
