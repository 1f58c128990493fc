"""The states of limits and credits on them, asked of a running process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.admin.limits import CREDIT_PATH, LIMITS_PATH, CreditAnswer, Limits, near_ppm
from proxy.cli import admin_client
from proxy.cli.common import Failed
from proxy.core.errors import ProxyError
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config, running


@pytest.mark.parametrize(
    ("text", "ppm"),
    [("80%", 800_000), ("80", 800_000), ("0.8", 800_000), (" 12.5% ", 125_000), ("0%", 0)],
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, ppm: int) -> None:
    assert near_ppm(text) == ppm


@pytest.mark.parametrize("text", ["much", "-1%", "2000%", "nan"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ProxyError) as refused:
        near_ppm(text)
    assert (refused.value.status, refused.value.param) == (400, "near")


async def never(visit: Visit) -> None:
    raise AssertionError("nothing is forwarded here")


async def test_a_credit_is_booked_once_and_shows_in_the_list(tmp_path: Path) -> None:
    async with raw_upstream(never) as upstream:
        settings = config(upstream.url, limits=["10 USD/month", "4 concurrent"])
        async with running(tmp_path, settings) as proxy:
            process = admin_client.running(proxy.data_dir, {})
            assert process is not None

            def listed() -> list[tuple[str, object, object]]:
                found = admin_client.ask(process, "GET", LIMITS_PATH, type=Limits).limits
                return sorted((one.id, one.granted, one.remaining) for one in found)

            def credit(limit: str) -> CreditAnswer:
                order = {"limit": limit, "amount": "2.50", "reason": "a test"}
                return admin_client.ask(process, "POST", CREDIT_PATH, order, type=CreditAnswer)

            assert await asyncio.to_thread(listed) == [
                ("proxy/USD/month", "0", "10"),
                ("proxy/concurrent", 0, 4),
            ]
            done = await asyncio.to_thread(credit, "proxy/USD/month")
            assert (done.limit.id, done.limit.granted) == ("proxy/USD/month", "2.50")
            assert [one.id for one in await proxy.server.services.ledger.credits()] == [done.id]
            with pytest.raises(Failed, match="is no budget"):
                await asyncio.to_thread(credit, "proxy/concurrent")
            assert (await asyncio.to_thread(listed))[0] == ("proxy/USD/month", "2.50", "12.50")
