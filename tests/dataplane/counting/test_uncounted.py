"""Nothing is counted of what is passed through unread."""

from __future__ import annotations

from proxy.core.dialects.passthrough.meter import PassMeter
from proxy.core.tokens.peaks import Peaks
from proxy.core.usage import Source
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.uncounted import Uncounted
from tests.ledger.samples import make_record


async def test_it_has_no_count() -> None:
    counting = Uncounted(Calibration())
    meter = PassMeter(stream=False)
    counting.unasked()
    counting.abandon()
    assert await counting.over(meter) is None
    assert (counting.measure, counting.text_bytes_max) == ((0, 1), 0)


def test_it_learns_what_was_stated_and_nothing_else() -> None:
    calibration = Calibration()
    counting = Uncounted(calibration)
    meter = PassMeter(stream=False)
    of_path = {"upstream": "mock", "model_requested": "/v1/images"}
    for source, tokens in ((Source.NONE, 0), (Source.REPORTED, 4_000)):
        counting.learn(
            meter,
            make_record(
                input_tokens=tokens, output_tokens=tokens, charge_nano=7, source=source, **of_path
            ),
        )
    assert calibration.peaks("mock", "/v1/images") == Peaks(4_000, 4_000, 7)
    assert calibration.peaks("other", "/v1/images") == Peaks()
