"""What holds for every test: fixed seeds, and no verdict by the clock."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from tests.support.effort import examples
from tests.support.waiting import GUARD_S

# `too_slow` is a verdict by the clock, too. A test that suppresses another check names this one
# again.
settings.register_profile(
    "tollkeeper",
    max_examples=examples(100),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tollkeeper")


@pytest.fixture(autouse=True)
def counts_take_as_long_as_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy waits five seconds for a count and then estimates: on a slow machine another answer
    than the tests'."""
    monkeypatch.setattr("proxy.dataplane.counting.exchange_count.WAIT_S", GUARD_S)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The guard against a hang is the suite's; the campaign's tests run for hours."""
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker(pytest.mark.timeout(0))


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end; the garbage collector need not walk through
    it again and again."""
    gc.collect()
    gc.freeze()
