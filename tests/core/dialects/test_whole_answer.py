"""A whole answer has all that the contract's meter has, and nothing can be fed to it."""

from __future__ import annotations

import pytest

from proxy.core.dialects.contract import Meter
from proxy.core.dialects.whole_answer import WholeAnswer
from proxy.core.usage import Usage

WHOLE = WholeAnswer(Usage(input_tokens=9, output_tokens=4), 12, 3, "stop", "m-1", "c-1")


def test_it_is_a_meter_that_is_over() -> None:
    meter: Meter = WHOLE
    meter.end()
    assert meter.shows_its_end and meter.usage_current and meter.usage_final and meter.answered
    assert (meter.output_measure, meter.output_so_far, meter.whole_events(b"{}")) == (3, 4, b"")


def test_there_is_no_second_chunk() -> None:
    with pytest.raises(AssertionError):
        WHOLE.feed(b"{}")
