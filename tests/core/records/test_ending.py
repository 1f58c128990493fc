"""What an ending says of the usage that came with it."""

from __future__ import annotations

import pytest

from proxy.core.records.ending import Ending, How


@pytest.mark.parametrize(
    ("current", "final", "counts_all"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_a_stated_output_counts_all_if_no_text_came_behind_it(
    current: bool, final: bool, counts_all: bool
) -> None:
    ending = Ending(how=How.ANSWERED, usage_current=current, usage_final=final)
    assert ending.counts_all is counts_all
