"""Shares and rates as steps: one way to write each down, the latest step first."""

from __future__ import annotations

import pytest

from proxy.core.pricing.terms import DatedRate, Share, latest_first, shortest, steps

ALWAYS, OLD, NEW = DatedRate("0.1"), DatedRate("0.2", 10), DatedRate("0.3", 20)


def test_the_latest_step_comes_first_and_what_always_holds_last() -> None:
    assert (
        latest_first([ALWAYS, OLD, NEW]) == latest_first([NEW, ALWAYS, OLD]) == (NEW, OLD, ALWAYS)
    )


@pytest.mark.parametrize(
    ("dated", "written"),
    [
        ((), None),
        ((DatedRate("0"),), None),
        ((ALWAYS,), "0.1"),
        ((OLD,), (OLD,)),
        ((OLD, ALWAYS), (OLD, ALWAYS)),
        ((OLD, DatedRate("0")), (OLD,)),
        ((DatedRate("0", 10), ALWAYS), (DatedRate("0", 10), ALWAYS)),
    ],
)
def test_there_is_one_way_to_write_a_share(
    dated: tuple[DatedRate, ...], written: Share | None
) -> None:
    assert shortest(dated) == written
    assert steps(written) == (() if written is None else latest_first(steps(written)))
