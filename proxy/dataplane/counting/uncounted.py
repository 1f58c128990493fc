"""The counts of an exchange of which nothing is counted: it is passed through unread.

What it used is remembered where its answer states that: the next of its path holds as much.
"""

from __future__ import annotations

from proxy.core.dialects.contract import Meter
from proxy.core.dialects.texts import Texts
from proxy.core.records.ending import OwnCount
from proxy.core.usage import Source, UsageRecord
from proxy.dataplane.counting.calibration import Calibration


class Uncounted:
    """Stands where an `ExchangeCount` would."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration

    measure = (0, 1)
    text_bytes_max: int | None = 0

    def unasked(self) -> None:
        """It has asked for nothing."""

    def abandon(self) -> None:
        """It has begun nothing."""

    def take(self, texts: Texts) -> None:
        """It keeps no text."""

    async def over(self, meter: Meter) -> OwnCount | None:
        """It has no count."""
        return None

    def learn(self, meter: Meter, record: UsageRecord) -> None:
        """It learns what an answer has used that states it."""
        path = record.model_requested
        if record.source is not Source.REPORTED or path is None:
            return
        if record.input_tokens is not None and record.output_tokens is not None:
            self._calibration.used(
                record.upstream,
                path,
                record.input_tokens,
                record.output_tokens,
                record.charge_nano,
            )
