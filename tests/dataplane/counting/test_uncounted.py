"""Nothing is counted of what is passed through unread."""

from __future__ import annotations

from proxy.core.dialects.passthrough.meter import PassMeter
from proxy.dataplane.counting.uncounted import Uncounted


async def test_it_has_no_count() -> None:
    counting = Uncounted()
    meter = PassMeter(stream=False)
    counting.unasked()
    counting.abandon()
    assert await counting.over(meter) is None
    assert (counting.measure, counting.text_bytes_max) == ((0, 1), 0)
