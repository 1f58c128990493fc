"""25 differences a month, of any kinds and two causes at once: each is found and rightly named."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.core.reconciling.lines import Level
from tests.accounting.reconciling.books import DAY_MS, NOVEMBER_MS, held
from tests.accounting.reconciling.mixtures import DIFFERENCES, mixture, mixture_by_day

MONTH = {"from_ms": NOVEMBER_MS, "to_ms": NOVEMBER_MS + 30 * DAY_MS}


@pytest.mark.parametrize("seed", range(4))
def test_each_difference_of_a_request_has_one_of_its_causes(tmp_path: Path, seed: int) -> None:
    records, bill, causes = mixture(seed)
    found = held(tmp_path, records, bill, "openrouter", **MONTH)
    told = {str(one.id): one.cause for one in found.differences}
    assert told.keys() == causes.keys() and len(told) == DIFFERENCES
    wrong = {id: (cause, causes[id]) for id, cause in told.items() if cause not in causes[id]}
    assert not wrong
    assert found.matched.count == len(records) - DIFFERENCES


@pytest.mark.parametrize("seed", range(4))
def test_each_difference_of_a_days_sum_has_its_name(tmp_path: Path, seed: int) -> None:
    records, bill, names = mixture_by_day(seed)
    found = held(tmp_path, records, bill, "openrouter")
    told = {
        (
            ((one.at_ms or 0) - NOVEMBER_MS) // DAY_MS,
            str(one.model).removeprefix("openai/"),
        ): str(one.cause or one.verdict)
        for one in found.differences
    }
    assert found.level is Level.DAY and len(found.differences) == DIFFERENCES
    assert told.keys() == names.keys()
    assert not {key: (name, names[key]) for key, name in told.items() if name not in names[key]}
