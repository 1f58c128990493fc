"""The states of limits and credits on them, asked of a running process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from yarl import URL

from proxy.admin.control_socket import NAME
from proxy.admin.limits import (
    CREDITS_PATH,
    LIMITS_PATH,
    CreditAnswer,
    Credits,
    Limits,
    OneLimit,
    credit_path,
    near_ppm,
)
from proxy.cli import admin_client
from proxy.cli.common import Failed
from proxy.core.errors import ProxyError
from tests.admin.test_tenants import desk
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
                order = {"amount": "2.50", "reason": "a test"}
                path = credit_path(limit)
                return admin_client.ask(process, "POST", path, order, type=CreditAnswer)

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
            for path, more in ((f"?after={done.id}", 0), ("?limit_id=proxy/USD/month", 1)):
                found = await asyncio.to_thread(
                    admin_client.ask, process, "GET", f"{CREDITS_PATH}{path}", type=Credits
                )
                assert len(found.credits) == more
            with pytest.raises(Failed, match="after is the id of a credit"):
                await asyncio.to_thread(
                    admin_client.ask, process, "GET", f"{CREDITS_PATH}?after=018f", type=Credits
                )


MODELS = ("a&b;c", "50%", "%2F", "q?x=1#f", "{m}", "über/ü", "a+b", "credit")
NAMES = ("key:alice/requests/day", *(f"proxy/requests/day/{model}" for model in MODELS))


@pytest.mark.parametrize("safe", ["", "/"], ids=["slashes encoded", "slashes as they are"])
async def test_each_limit_is_read_and_credited_under_its_own_id(tmp_path: Path, safe: str) -> None:
    rules = [f"5 requests/day for {model}" for model in MODELS]
    own = {"alice": {"team": "research", "secret": "sk-test", "limits": ["5 requests/day"]}}
    async with desk(tmp_path, limits=rules, keys=own) as admin:
        connector = aiohttp.UnixConnector(str(admin.proxy.data_dir / NAME))
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(method: str, path: str, body: str = "") -> tuple[int, bytes]:
                async with session.request(
                    method,
                    URL(f"http://control{LIMITS_PATH}/{path}", encoded=True),
                    data=body,
                    headers={"Content-Type": "application/json"},
                ) as response:
                    return response.status, await response.read()

            for place, name in enumerate(NAMES, 1):
                path = quote(name, safe=safe)
                status, _ = await ask(
                    "POST", f"{path}/credit", f'{{"amount": "{place}", "reason": "r"}}'
                )
                assert status == 200, name
            for place, name in enumerate(NAMES, 1):
                status, answer = await ask("GET", quote(name, safe=safe))
                assert status == 200, (name, answer)
                shown = msgspec.json.decode(answer, type=OneLimit).limit
                assert (shown.id, shown.amount, shown.granted) == (name, 5, place)
                assert (shown.used, shown.held, shown.remaining) == (0, 0, 5 + place)
                assert shown.resets_at is not None
            for strange in (
                "nobody",
                "proxy%252Frequests",
                "%00",
                "%ff",
                "/",
                "%0A%7B",
                "x" * 5000,
            ):
                assert (await ask("GET", strange))[0] == 404, strange
                order = '{"amount": "1", "reason": "r"}'
                assert (await ask("POST", f"{strange}/credit", order))[0] == 404, strange
            for left in ("credit", ""):
                assert (await ask("POST", left, '{"amount": "1", "reason": "r"}'))[0] == 404
        assert len(await admin.proxy.server.services.ledger.credits()) == len(NAMES)
