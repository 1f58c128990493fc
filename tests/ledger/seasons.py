"""Books of many days, to sum by days and by ranges."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from proxy.core.usage import UsageRecord
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_record

DAY_MS = 86_400_000
ZONES = (
    "UTC",
    "Asia/Shanghai",
    "Asia/Kolkata",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",
)
FIRST_MS = int(
    datetime(2026, 8, 30, tzinfo=UTC).timestamp() * 1000
)  # every zone's change in autumn or spring is in the 80 days from here


def season(book: BookUnderTest) -> list[UsageRecord]:
    """Books records of 80 days, most at the edge of a local day."""
    rng = random.Random(8)
    starts = []
    for _ in range(500):
        at_ms = FIRST_MS + rng.randrange(80 * DAY_MS)
        if rng.random() < 0.7:
            midnight = datetime.fromtimestamp(at_ms // 1000, ZoneInfo(rng.choice(ZONES))).replace(
                hour=0, minute=0, second=0
            )
            at_ms = int(midnight.timestamp()) * 1000 + rng.choice([-1, 0, 900_000, -900_001])
        starts.append(at_ms)
    booked = [
        make_record(
            n,
            started_at_ms=at_ms,
            team=rng.choice([None, "a", "b"]),
            key_id=f"k{n % 2}",
            output_tokens=rng.randrange(9),
        )
        for n, at_ms in enumerate(sorted(starts))
    ]
    for start in range(0, len(booked), 50):
        part = booked[start : start + 50]
        book.book(*part, now_ms=part[-1].started_at_ms)
    return booked


def year(book: BookUnderTest) -> list[UsageRecord]:
    """Books records over 100 days, of few groups, most at the edge of something.

    They are folded up to 20 hours before the last.
    """
    rng = random.Random(5)
    batch = []
    for n in range(1500):
        at_ms = START_MS - rng.randrange(100 * DAY_MS)
        at_ms = at_ms // (step := rng.choice([1, 900_000, 14_400_000, DAY_MS])) * step - rng.choice(
            [0, 0, 1]
        )
        charge_nano, currency = rng.choice([(rng.randrange(-(2**50), 2**56), "USD"), (None, None)])
        batch.append(make_record(n, started_at_ms=at_ms, key_id=f"k{n % 5}", team=rng.choice([None, "", "a"]), charge_nano=charge_nano, cost_nano=charge_nano,
                                 currency=currency, cached_tokens=rng.choice([None, 0, 7]), kind=rng.choice(["usage", "usage", "adjustment"])))  # fmt: skip
    batch.sort(key=lambda record: record.started_at_ms + rng.choice([0, 0, 0, 9 * DAY_MS]))
    for start in range(0, len(batch), 60):
        part = batch[start : start + 60]
        book.book(*part, now_ms=part[-1].started_at_ms)
    [[folded_ms]] = book.rows("SELECT max(folded_until_ms) FROM fold")
    assert folded_ms < START_MS
    for table in (
        f"{of}_{span}" for of in ("rollups", "teams") for span in ("4h", "daily", "monthly")
    ):
        [[count]] = book.rows(f"SELECT count(*) FROM {table}")
        assert count > 10, table
    return batch
