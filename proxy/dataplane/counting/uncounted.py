"""The counts of an exchange of which nothing is counted: it is passed through unread."""

from __future__ import annotations

from proxy.core.dialects.contract import Meter
from proxy.core.dialects.texts import Texts
from proxy.core.records.ending import OwnCount
from proxy.core.usage import UsageRecord


class Uncounted:
    """Stands where an `ExchangeCount` would."""

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
        """It learns nothing."""
