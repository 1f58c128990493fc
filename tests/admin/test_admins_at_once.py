"""Several administrators at once: no order is lost, none is carried out twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp

from proxy.admin.control_socket import NAME
from proxy.admin.imports import IMPORT_PATH, ImportAnswer
from proxy.admin.limits import CREDITS_PATH, CreditAnswer, Credits, credit_path
from proxy.admin.tenant_views import KeyView
from proxy.admin.tenants import KEYS_PATH
from proxy.cli.common import Failed
from proxy.tenants.importing import ImportOutcome
from tests.admin.test_tenants import Desk, desk
from tests.support.running import KEY

LIMIT = "key:alice/requests/month"
AT_ONCE = 4  # clients in threads, of which the proxy here needs some too


def alice(*limits: str) -> dict[str, object]:
    return {"alice": {"team": "research", "secret": KEY, "limits": list(limits)}}


async def credit(admin: Desk, amount: str) -> CreditAnswer:
    order = {"amount": amount, "reason": "a race"}
    done: CreditAnswer = await admin.ask("POST", credit_path(LIMIT), order, CreditAnswer)
    return done


async def test_credits_at_once_beside_requests_add_up_and_let_no_more_through(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path, keys=alice("10 requests/month")) as admin:
        amounts = [3, -1] * 10
        answers = await asyncio.gather(
            *(credit(admin, str(amount)) for amount in amounts),
            *(admin.call(KEY) for _ in range(60)),
        )
        through = sum(answer == (200, "") for answer in answers[len(amounts) :])
        assert through <= 10 + 30, "no more than all that was given at any time"
        room = 10 + sum(amounts)
        while (await admin.call(KEY)) == (200, ""):
            through += 1
        assert through >= room and (await admin.call(KEY))[1] == "insufficient_quota"
        booked = await admin.ask("GET", f"{CREDITS_PATH}?limit=100", None, Credits)
        assert Counter(one.amount for one in booked.credits) == Counter(amounts)
        assert len({one.id for one in booked.credits}) == len(amounts)
        [last] = await admin.proxy.server.services.quota.states(
            [one for one in admin.proxy.server.services.quota.limits() if one.id == LIMIT],
            admin.proxy.server.services.now_ms(),
        )
        assert (last.granted, last.used, last.held) == (sum(amounts), through, 0)


async def test_one_idempotency_key_asked_at_once_credits_once(tmp_path: Path) -> None:
    async with desk(tmp_path, keys=alice("10 requests/month")) as admin:
        connector = aiohttp.UnixConnector(str(admin.proxy.data_dir / NAME))
        async with aiohttp.ClientSession(connector=connector) as session:

            async def post() -> tuple[int, str]:
                async with session.post(
                    f"http://control{credit_path(LIMIT)}",
                    data='{"amount": "5", "reason": "once"}',
                    headers={"Content-Type": "application/json", "Idempotency-Key": "k"},
                ) as response:
                    return response.status, (await response.json())["id"]

            assert len(set(await asyncio.gather(*(post() for _ in range(20))))) == 1
        assert len(await admin.proxy.server.services.ledger.credits()) == 1


async def test_two_who_change_one_key_both_have_their_way(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        await admin.make("bob", team="research")
        words = ({"models": ["m-*"]}, {"labels": {"a": "b"}}, {"limits": ["9 requests/day"]})
        for _ in range(5):
            await asyncio.gather(
                *(
                    admin.ask("PATCH", f"{KEYS_PATH}/bob", {"says": says})
                    for says in (*words, {"expires": "90d"})
                )
            )
        bob: KeyView = await admin.ask("GET", f"{KEYS_PATH}/bob", None, KeyView)
        assert (list(bob.models), bob.labels, bob.limits) == (
            ["m-*"],
            {"a": "b"},
            ["9 requests/day"],
        )
        assert bob.expires is not None


async def test_one_name_or_secret_asked_for_at_once_is_made_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:

        async def make(name: str) -> str:
            try:
                return await admin.make(name)
            except Failed as refused:
                assert f"There is a key {name!r} already" in str(refused)
                return ""

        made = [
            secret
            for secret in await asyncio.gather(*(make("bob") for _ in range(AT_ONCE)))
            if secret
        ]
        assert len(made) == 1 and await admin.call(made[0]) == (200, "")
        rows = [
            {"kind": "key", "name": f"k{number}", "says": {}, "secret_sha256": f"{number:064x}"}
            for number in range(1, 40)
        ]
        order = {"rows": rows, "dry_run": False, "reason": "twice"}
        answers: list[ImportAnswer] = await asyncio.gather(
            *(admin.ask("POST", IMPORT_PATH, order, ImportAnswer) for _ in range(AT_ONCE))
        )
        outcomes = Counter(row.outcome for answer in answers for row in answer.rows)
        assert outcomes == {ImportOutcome.MADE: 39, ImportOutcome.KNOWN: (AT_ONCE - 1) * 39}
