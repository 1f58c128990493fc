"""Months are closed over the admin API, one after the other, and shown as they were closed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from proxy.accounting.statements.kept import thawed
from proxy.admin.statements import (
    STATEMENT_PATH,
    STATEMENTS_PATH,
    ClosedMonths,
    KeptStatement,
    what_is_behind,
)
from proxy.cli.common import Failed
from proxy.core.entries import Voided
from tests.admin.test_books import shelf
from tests.journal.builders import opened
from tests.ledger.samples import make_id, make_record

OCTOBER_MS = 1_791_000_000_000  # 2026-10-03
MONEY = {"cost_nano": 1, "charge_nano": 2, "currency": "USD", "started_at_ms": OCTOBER_MS}


async def test_a_month_is_closed_once_and_shown_with_its_signature(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(make_record(1, **MONEY))
        ask = shown.admin.ask

        async def close() -> KeptStatement:
            order = {"month": "2026-10", "reason": "month's end"}
            return await ask("POST", STATEMENTS_PATH, order, type=KeptStatement)

        done = await asyncio.gather(close(), close(), return_exceptions=True)
        [kept] = [one for one in done if isinstance(one, KeptStatement)]
        [refused] = [one for one in done if isinstance(one, Failed)]
        assert "2026-10 is closed for all teams" in str(refused) and "not_closed" in str(refused)
        assert thawed(kept.document.encode()).rows[0]["charge_nano"] == 2
        listed = await ask("GET", STATEMENTS_PATH, type=ClosedMonths)
        assert listed.statements == [kept.closing]
        page = await shown.get(STATEMENT_PATH.format(number=1))
        assert json.loads(page.body)["document"] == kept.document
        for number in ("2", "x", "-1", "٣", "9" * 30):
            assert (await shown.get(STATEMENT_PATH.format(number=number))).status == 404
        [deed] = [
            entry.deed
            for entry in shown.admin.proxy.server.services.reader.audit(0, 99)
            if entry.deed.action == "statement.close"
        ]
        assert (deed.name, deed.reason) == ("2026-10", "month's end")


async def test_a_request_of_the_month_that_still_runs_keeps_it_open(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(make_record(1, **MONEY))
        services = shown.admin.proxy.server.services
        settings = shown.admin.proxy.server.snapshot.settings

        async def behind() -> list[str]:
            return await what_is_behind(services.reader, None, settings, OCTOBER_MS + 1, 0)

        assert await behind() == []
        running = make_id(2, OCTOBER_MS)
        services.journal.open(opened(running))
        [told] = await behind()
        assert "has 0 records and 1 running request" in told
        with pytest.raises(Failed, match="not all that began in 2026-10 is booked"):
            await shown.admin.ask("POST", STATEMENTS_PATH, {"month": "2026-10"}, type=KeptStatement)
        services.journal.void(Voided(id=running, reason="x"))
        assert await behind() == []
        await shown.admin.ask("POST", STATEMENTS_PATH, {"month": "2026-10"}, type=KeptStatement)
