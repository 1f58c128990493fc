"""Sums over the admin API are in the zone that is asked for."""

from __future__ import annotations

from pathlib import Path

from proxy.admin.sums import USAGE_PATH
from tests.admin.test_books import shelf
from tests.ledger.samples import make_id, make_record

EVENING_MS = 1_793_574_000_000  # 2026-11-01 23:00 UTC


async def test_a_zone_moves_days_and_the_ends_of_the_range(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(make_record(1, id=make_id(1), started_at_ms=EVENING_MS))

        async def days(query: str) -> list[str]:
            rows = (await shown.told(f"{USAGE_PATH}?by=day{query}"))["usage"]
            return [row["day"] for row in rows if row["row"] == "group"]

        assert await days("") == ["2026-11-01"]
        assert await days("&zone=Asia/Shanghai") == ["2026-11-02"]
        assert await days("&zone=Asia/Shanghai&to=2026-11-02") == []
        assert await days("&to=2026-11-02") == ["2026-11-01"]
        page = await shown.get(f"{USAGE_PATH}?zone=Mars")
        assert page.status == 400 and b"there is no zone" in page.body
