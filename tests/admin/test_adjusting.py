"""Entries by hand over the admin API: budgets hear of them once, and say the same after a start."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.accounting.adjusting import ByHandDone
from proxy.admin.adjusting import ADJUST_PATH
from proxy.admin.limits import LIMITS_PATH, Limits
from proxy.cli.common import Failed
from tests.admin.test_books import Books, shelf
from tests.ledger.samples import make_id, make_record

LIMITS = ["100 USD/month", "1000000 tokens/month"]
TEAMS = {"lab": {"limits": LIMITS}, "research": {"limits": LIMITS}}
MONEY = {"cost_nano": 10**9, "charge_nano": 2 * 10**9, "currency": "USD"}


async def ordered(shown: Books, **order: Any) -> ByHandDone:
    month = datetime.fromtimestamp(shown.admin.proxy.server.services.now_ms() // 1000, UTC)
    said = {"id": "e1", "month": f"{month:%Y-%m}", "reason": "agreed", "dry_run": False} | order
    return await shown.admin.ask("POST", ADJUST_PATH, said, type=ByHandDone)


async def used(shown: Books) -> dict[str, int | str]:
    found = await shown.admin.ask("GET", LIMITS_PATH, type=Limits)
    return {one.id: one.used for one in found.limits if one.id.startswith("team:")}


async def test_budgets_count_an_entry_once_and_after_a_start(tmp_path: Path) -> None:
    amount = {"amount": "-3.5", "currency": "USD", "team": "lab"}
    async with shelf(tmp_path, teams=TEAMS) as shown:
        done = await asyncio.gather(*(ordered(shown, amount=amount) for _ in range(3)))
        assert sorted(len(one.lines) for one in done) == [0, 0, 1]
        expected: dict[str, int | str] = {"team:lab/USD/month": "-3.50", "team:lab/tokens/month": 0}
        found = await used(shown)
        assert {name: found[name] for name in expected} == expected
        with pytest.raises(Failed, match="stands for another entry"):
            await ordered(shown, amount=amount | {"amount": "-4"})
    async with shelf(tmp_path, teams=TEAMS) as shown:
        assert await used(shown) == found


async def test_a_move_takes_use_from_one_budget_to_another(tmp_path: Path) -> None:
    async with shelf(tmp_path, teams=TEAMS) as shown:
        now_ms = shown.admin.proxy.server.services.now_ms()
        await shown.book(make_record(1, id=make_id(1, now_ms), started_at_ms=now_ms, **MONEY))
    async with shelf(tmp_path, teams=TEAMS) as shown:
        before = await used(shown)
        assert before["team:research/USD/month"] == "2"
        await ordered(shown, move={"team": "research", "to_team": "lab"})
        moved = await used(shown)
        assert moved == {
            "team:lab/USD/month": "2",
            "team:lab/tokens/month": 120,
            "team:research/USD/month": "0",
            "team:research/tokens/month": 0,
        }
    async with shelf(tmp_path, teams=TEAMS) as shown:
        assert await used(shown) == moved
