"""A lead reads what its whole team uses, a member what it itself uses, and nobody another team's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.dataplane.endpoints import team_usage
from proxy.dataplane.endpoints.usage import USAGE_ROUTES
from tests.admin.test_tenants import Desk, desk
from tests.dataplane.test_hold import PRICES
from tests.support.waiting import until

KEYS = {
    "alice": "vk-al-3Qm9ZtW8rLx2PbNc7HsD",
    "bob": "vk-bo-7Yk2RnV5qJd8XfGb4TwM",
    "carol": "vk-ca-5Tq8WzL2xVb7NcK4RfYs",
    "dave": "vk-da-9Hd3RfY6mPj1GsQ8LwTz",
    "loner": "vk-lo-2Wq7ZxC4vBn6MkJ9HgFd",
    "shut": "vk-sh-8Pl3OkM5ijN7uhB2ygVt",
}
ADMIN, VIEWER = "adm-5Tq8WzL2xVb7NcK4", "vwr-9Hd3RfY6mPj1GsQ8"
BLOCKS: dict[str, Any] = {
    "admin": {
        "listen": "127.0.0.1:0",
        "tokens": {
            "ops": {"token": ADMIN, "role": "admin"},
            "board": {"token": VIEWER, "role": "viewer"},
        },
    },
    "prices": PRICES,
    "teams": {
        "research": {"limits": ["1000 requests/month"], "labels": {"secret_label": "x"}},
        "lab": {"limits": ["77 requests/month"]},
    },
    "keys": {
        "alice": {"team": "research", "role": "lead", "secret": KEYS["alice"]},
        "bob": {"team": "research", "secret": KEYS["bob"], "limits": ["55 requests/day"]},
        "carol": {"team": "lab", "role": "lead", "secret": KEYS["carol"]},
        "dave": {"team": "lab", "secret": KEYS["dave"], "models": ["m-1"]},
        "loner": {"secret": KEYS["loner"]},
        "shut": {"team": "research", "role": "lead", "secret": KEYS["shut"]},
    },
}
TEAMS = {"research": {"alice", "bob", "shut"}, "lab": {"carol", "dave"}}
LEADS = {"alice": "research", "carol": "lab"}


class Office:
    def __init__(self, admin: Desk, session: aiohttp.ClientSession) -> None:
        self.admin = admin
        self._session = session

    async def get(self, path: str, credential: str) -> tuple[int, Any]:
        async with self._session.get(
            f"http://{self.admin.proxy.address}{path}",
            headers={"Authorization": f"Bearer {credential}"},
        ) as response:
            return response.status, await response.json()

    async def data(self, path: str, key: str) -> list[dict[str, Any]]:
        status, body = await self.get(path, KEYS[key])
        assert status == 200, body
        found: list[dict[str, Any]] = body["data"]
        return found


@contextlib.asynccontextmanager
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Each key has called once, and was refused once."""
    async with desk(tmp_path, **BLOCKS) as admin, aiohttp.ClientSession() as session:
        for name, secret in KEYS.items():
            assert await admin.call(secret) == (200, ""), name
        await admin.proxy.records(len(KEYS))
        await admin.ask("POST", "/admin/v1/keys/shut/suspend", {})
        assert (await admin.call(KEYS["shut"]))[0] == 401
        assert (await admin.call(KEYS["dave"], "m-2"))[0] == 403
        reader = admin.proxy.server.services.reader
        await until(lambda: sum(row.count for row in reader.refusals(None, None)) == 2)
        yield Office(admin, session)


async def test_every_credential_at_every_route_sees_its_own_and_no_more(tmp_path: Path) -> None:
    async with office(tmp_path) as one:
        rows = one.admin.proxy.rows()
        records = {str(row["key_id"]): str(row["id"]) for row in rows}
        paths = [*USAGE_ROUTES, *(f"/v1/usage/records/{id}" for id in records.values())]
        paths += [path.removeprefix("/v1") for path in USAGE_ROUTES]
        for path in paths:
            for credential in (ADMIN, VIEWER, "vk-no-such-key-0000000000", KEYS["shut"]):
                status, body = await one.get(path, credential)
                assert status == 401, (path, body)
            for key in ("alice", "bob", "carol", "dave", "loner"):
                status, body = await one.get(path, KEYS[key])
                team = next((name for name, keys in TEAMS.items() if key in keys), None)
                may = TEAMS[LEADS[key]] if key in LEADS else {key}
                where = (path, key, body)
                if path.endswith("/team"):
                    assert status == (200 if key in LEADS else 403), where
                elif "/records/" in path:
                    owner = next(name for name, id in records.items() if path.endswith(id))
                    assert status == (200 if owner in may else 404), where
                else:
                    assert status == 200, where
                told = json.dumps(body)
                for name in KEYS:
                    seen = f'"{name}"' in told
                    assert not seen or name in may, where
                    assert records[name] not in told or name in may or status == 404, where
                for other in TEAMS:
                    assert f'"{other}"' not in told or other == team, where
                for secret in (*KEYS.values(), "cost_nano", "secret_label", "sk-upstream"):
                    assert secret not in told, where
        assert one.admin.proxy.rows() == rows, "reading is not metered"


async def test_a_lead_sees_limits_sums_states_and_refusals_of_its_team(tmp_path: Path) -> None:
    async with office(tmp_path) as one:
        _, team = await one.get("/v1/usage/team", KEYS["alice"])
        assert [(limit["id"], limit["used"]) for limit in team["limits"]] == [
            ("team:research/requests/month", 3)
        ]
        assert {row["key"]: row["requests"] for row in team["recent"]["month"]} == {
            "alice": 1,
            "bob": 1,
            "shut": 1,
        }
        assert all(row["charge"] for row in team["recent"]["today"])
        keys = {row["key"]: row for row in await one.data("/v1/usage/keys", "alice")}
        assert {name: row["state"] for name, row in keys.items()} == {
            "alice": "active",
            "bob": "active",
            "shut": "suspended",
        }
        assert keys["alice"]["role"] == "lead" and keys["bob"]["role"] == "member"
        assert [limit["id"] for limit in keys["bob"]["limits"]] == ["key:bob/requests/day"]
        [row] = await one.data("/v1/usage/refusals", "alice")
        assert row["first_ms"] == row["last_ms"] and row["last_ms"] % 900_000 == 0
        assert {**row, "first_ms": 0, "last_ms": 0} == {
            "key": "shut",
            "code": "key_suspended",
            "limit": None,
            "refusals": 1,
            "first_ms": 0,
            "last_ms": 0,
        }
        assert await one.data("/v1/usage/refusals", "bob") == []
        assert {row["key"] for row in await one.data("/v1/usage/refusals", "carol")} == {"dave"}
        assert await one.data("/v1/usage/refusals?from=2020-01-01&to=2020-01-02", "carol") == []


async def test_pages_of_records_go_on_and_their_cursor_tells_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(tmp_path) as one:
        for scanned in (20_000, 1):
            monkeypatch.setattr(team_usage, "SCANNED_MAX", scanned)
            found: list[str] = []
            after = ""
            while True:
                path = f"/v1/usage/records?limit=1{after}"
                status, body = await one.get(path, KEYS["alice"])
                assert status == 200 and len(body["data"]) <= 1
                found += [record["key_id"] for record in body["data"]]
                if body["next"] is None:
                    break
                assert len(body["next"]) == 22
                after = f"&after={body['next']}"
            assert found == ["alice", "bob", "shut"]
        for strange in ("0", "1", "A" * 22, "%00"):
            status, body = await one.get(f"/v1/usage/records?after={strange}", KEYS["alice"])
            assert status == 400 and "ask once more" in body["error"]["message"]
        names: list[str] = []
        after = ""
        while after is not None:
            _, body = await one.get(f"/v1/usage/keys?limit=1&after={after}", KEYS["alice"])
            names += [row["key"] for row in body["data"]]
            after = body["next"]
        assert names == ["alice", "bob", "shut"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/usage/records?team=lab", "no query parameter 'team'"),
        ("/v1/usage/keys?key=dave", "no query parameter 'key'"),
        ("/v1/usage/team?team=lab", "it takes none"),
        ("/v1/usage/refusals?from=soon", "from: 'soon' is no date"),
        ("/v1/usage/records?limit=1001", "limit"),
    ],
)
async def test_no_parameter_names_another_and_a_misspelt_one_is_refused(
    tmp_path: Path, path: str, said: str
) -> None:
    async with office(tmp_path) as one:
        status, body = await one.get(path, KEYS["alice"])
        assert status == 400 and said in body["error"]["message"]


async def test_a_key_becomes_a_lead_while_the_proxy_serves_and_moves_with_its_team(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as one:
        said = {"team": "lab", "role": "lead"}
        KEYS["eve"] = await one.admin.make("eve", **said)
        try:
            assert {row["key"] for row in await one.data("/v1/usage/keys", "eve")} == {
                "carol",
                "dave",
                "eve",
            }
            for says, expected in (
                ({"team": "research"}, {"alice", "bob", "eve", "shut"}),
                ({"role": None}, {"eve"}),
            ):
                await one.admin.ask("PATCH", "/admin/v1/keys/eve", {"says": says})
                assert {row["key"] for row in await one.data("/v1/usage/keys", "eve")} == expected
            status, body = await one.get("/v1/usage/team", KEYS["eve"])
            assert (status, body["error"]["code"]) == (403, "not_a_lead")
        finally:
            del KEYS["eve"]


async def test_a_key_opens_no_route_of_the_admin_plane(tmp_path: Path) -> None:
    async with office(tmp_path) as one, aiohttp.ClientSession() as session:
        for path in ("keys", "usage", "records", "limits", "audit", "openapi.json"):
            for key in ("alice", "bob", "shut"):
                async with session.get(
                    f"http://{one.admin.proxy.server.addresses.admin}/admin/v1/{path}",
                    headers={"Authorization": f"Bearer {KEYS[key]}"},
                ) as response:
                    assert response.status == 401, path


async def test_a_key_that_joins_a_team_does_not_bring_its_refusals_along(tmp_path: Path) -> None:
    async with office(tmp_path) as one:
        reader = one.admin.proxy.server.services.reader
        eve = KEYS["eve"] = await one.admin.make("eva", team="lab", limits=["1 requests/month"])
        try:
            assert [(await one.admin.call(eve))[0] for _ in range(3)] == [200, 429, 429]
            await until(lambda: sum(row.count for row in reader.refusals(None, None)) == 4)
            [seen] = [r for r in await one.data("/v1/usage/refusals", "carol") if r["key"] == "eva"]
            assert (seen["limit"], seen["refusals"]) == ("key:eva/requests/month", 2)
            await one.admin.ask("PATCH", "/admin/v1/keys/eva", {"says": {"team": "research"}})
            assert (await one.admin.call(eve))[0] == 429
            await until(lambda: sum(row.count for row in reader.refusals(None, None)) == 5)
            counts = {}
            for lead in LEADS:
                rows = await one.data("/v1/usage/refusals", lead)
                counts[lead] = sum(row["refusals"] for row in rows if row["key"] == "eva")
            assert counts == {"alice": 1, "carol": 2}
            own = await one.data("/v1/usage/refusals", "eve")
            assert sum(row["refusals"] for row in own) == 3, "its own it reads wherever it was"
        finally:
            del KEYS["eve"]


async def test_a_refusal_names_no_limit_that_others_share(tmp_path: Path) -> None:
    shared = {**BLOCKS, "limits": ["1 requests/month", {"limit": "0 tokens/day", "name": "night"}]}
    async with desk(tmp_path, **shared) as admin, aiohttp.ClientSession() as session:
        assert (await admin.call(KEYS["bob"]))[0] == 429
        reader = admin.proxy.server.services.reader
        await until(lambda: bool(reader.refusals(None, None)))
        assert {row.limit_id for row in reader.refusals(None, None)} == {"night"}
        for key in ("bob", "alice"):
            [row] = await Office(admin, session).data("/v1/usage/refusals", key)
            assert (row["key"], row["limit"], row["refusals"]) == ("bob", None, 1)
