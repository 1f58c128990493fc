"""The gauges of this day and month say what `tollkeeper usage` says, across restarts, midnights and
a ledger that cannot be read."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, connect, connect_reader
from proxy.metrics.families import Families
from proxy.metrics.spend import KEEP_S, Spend
from tests.ledger.samples import make_id, make_record
from tests.support.waiting import guard

KOLKATA = ZoneInfo("Asia/Kolkata")
URL = "sqlite:ledger.db"


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=KOLKATA).timestamp() * 1000)


def records(*rows: tuple[str, str | None, str | None, int | None, int | None]) -> list[UsageRecord]:
    """One record for each (local time, team, currency, charge_nano, output_tokens), of 100 input
    tokens."""
    return [
        msgspec.structs.replace(make_record(number), id=make_id(number, at_ms(time)), started_at_ms=at_ms(time), team=team, currency=currency, charge_nano=charge, cost_nano=charge, output_tokens=output)
        for number, (time, team, currency, charge, output) in enumerate(rows, 1)
    ]  # fmt: skip


def shown(periods: Spend) -> dict[tuple[str, ...], float]:
    families = Families()
    periods.collect(families)
    return {
        (sample.name.removeprefix("tollkeeper_period_"), *sample.labels.values()): sample.value
        for family in families.all()
        for sample in family.samples
    }


async def test_this_day_and_month_of_the_zone_read_anew_after_some_seconds_or_midnight(tmp_path):
    now_ms, now_s = [at_ms("2026-11-30T23:50")], [0.0]
    queries = connect_reader(URL, tmp_path)
    periods = Spend(queries, lambda: KOLKATA, lambda: now_ms[0], 100, lambda: now_s[0])
    ledger = await connect(URL, tmp_path)
    try:
        await ledger.book(Batch("w0", list(enumerate(records(
            # the month before, in Kolkata alone
            ("2026-10-31T23:59", "research", "USD", 10**9, 1),
            ("2026-11-01T00:00", "research", "USD", 2 * 10**9, 20),
            ("2026-11-29T23:59", "research", "CNY", 1, 20),
            ("2026-11-30T00:00", "research", "USD", 1_500_000_001, 20),
            # no price, no count of the output
            ("2026-11-30T12:00", "research", None, None, None),
            ("2026-11-30T12:00", None, "USD", 0, 0),
        ), 1))))  # fmt: skip
        await periods.refresh()
        known = {
            ("charge", "research", "day", "USD"): 1.500000001, ("charge", "", "day", "USD"): 0, ("tokens", "research", "day"): 220, ("tokens", "", "day"): 100,
            ("charge", "research", "month", "USD"): 3.500000001, ("charge", "research", "month", "CNY"): 1e-9, ("charge", "", "month", "USD"): 0,
            ("tokens", "research", "month"): 460, ("tokens", "", "month"): 100,
            **{("unpriced_requests", team, period): count for team, count in (("research", 1), ("", 0)) for period in ("day", "month")},
        }  # fmt: skip
        assert shown(periods) == known
        month = queries.usage(
            ("team", "key"), at_ms("2026-11-01T00:00"), at_ms("2026-12-01T00:00"), KOLKATA
        )
        assert sum(row["charge_nano"] or 0 for row in month) == 3_500_000_002, (
            "and that is what usage says"
        )
        await ledger.book(
            Batch(
                "w0",
                [
                    (
                        9,
                        msgspec.structs.replace(
                            records(("2026-11-30T23:55", "research", "USD", 10**9, 0))[0],
                            id=make_id(9),
                        ),
                    )
                ],
            )
        )
        await periods.refresh()
        assert shown(periods) == known, "not read at each scrape"
        now_s[0] += KEEP_S
        await periods.refresh()
        assert shown(periods)["charge", "research", "day", "USD"] == 2.500000001
        now_ms[0] = at_ms("2026-12-01T00:00")
        await periods.refresh()
        assert shown(periods) == {}, "midnight does not wait"
    finally:
        await ledger.aclose()


async def test_no_sample_while_the_ledger_cannot_be_read_and_at_most_so_many(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    now_s = [0.0]
    periods = Spend(
        connect_reader(URL, tmp_path),
        lambda: KOLKATA,
        lambda: at_ms("2026-11-30T23:50"),
        2,
        lambda: now_s[0],
    )
    await periods.refresh()
    assert shown(periods) == {}
    assert "cannot be read for the metrics" in caplog.text
    ledger = await connect(URL, tmp_path)
    try:
        await ledger.book(
            Batch(
                "w0",
                list(
                    enumerate(
                        records(
                            *(
                                ("2026-11-02T00:00", f"team{number}", "USD", 1, 1)
                                for number in range(5)
                            )
                        ),
                        1,
                    )
                ),
            )
        )
    finally:
        await ledger.aclose()
    now_s[0] += KEEP_S
    await periods.refresh()
    assert {labels[1] for labels in shown(periods)} == {"team0", "team1"}


async def test_a_ledger_that_hangs_keeps_no_page_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.metrics.spend.ANSWER_MAX_S", 0.01)
    goes_on = threading.Event()
    reader = connect_reader(URL, tmp_path)
    monkeypatch.setattr(reader, "usage", lambda *_: [] * goes_on.wait())
    periods = Spend(reader, lambda: KOLKATA, lambda: at_ms("2026-11-30T12:00"), 100)
    try:
        async with guard():
            await periods.refresh()
        assert shown(periods) == {}
    finally:
        goes_on.set()
