"""Keys and teams changed while the proxy serves: each change binds for the next request, is there
after a restart, and stands in the audit without a secret."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.admin.tenant_views import Deeds, Done, Keys, KeyView, MadeKeys, Teams, TeamView
from proxy.admin.tenants import AUDIT_PATH, KEYS_PATH, TEAMS_PATH
from proxy.cli import admin_client
from proxy.cli.common import Failed
from proxy.tenants.key import check
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, Running, config, running

CALL = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
ANSWER = (
    b'{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}'
)


async def answering(visit: Visit) -> None:
    await visit.answer(ANSWER)


class Desk:
    """An administrator at the control socket, and a caller."""

    def __init__(self, proxy: Running) -> None:
        self.proxy = proxy
        process = admin_client.running(proxy.data_dir, {})
        assert process is not None
        self._process = process

    async def ask(self, method: str, path: str, body: object = None, type: Any = Done) -> Any:
        return await asyncio.to_thread(
            lambda: admin_client.ask(self._process, method, path, body, type=type)
        )

    async def make(self, name: str, **says: object) -> str:
        made = await self.ask("POST", KEYS_PATH, {"name": name, "says": says}, MadeKeys)
        secret = made.keys[0].secret
        assert secret is not None and check(secret)
        return str(secret)

    async def call(self, secret: str, model: str = "m-1") -> tuple[int, str]:
        """The status and the error's code of a call with this secret."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self.proxy.base_url}/chat/completions",
                json={**CALL, "model": model},
                headers={"Authorization": f"Bearer {secret}"},
            ) as response,
        ):
            body = await response.json()
            return response.status, body.get("error", {}).get("code", "")


@contextlib.asynccontextmanager
async def desk_of(
    script: Callable[[Visit], Awaitable[None]],
    directory: Path,
    *,
    connections_max_upstream: int = 100,
    **blocks: object,
) -> AsyncIterator[Desk]:
    """A proxy before an upstream that answers by the script."""
    async with raw_upstream(script) as upstream:
        settings = config(upstream.url, **blocks)
        settings["upstreams"]["mock"]["connections_max"] = connections_max_upstream  # type: ignore[index]
        async with running(directory, settings) as proxy:
            yield Desk(proxy)


def desk(directory: Path, **blocks: object) -> AbstractAsyncContextManager[Desk]:
    return desk_of(answering, directory, **blocks)


async def test_the_metrics_show_when_a_key_expires_that_was_made_while_serving(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as admin:
        await admin.make("bob", expires="2090-01-01T00:00Z")
        await admin.make("carol")
        await admin.ask("POST", f"{KEYS_PATH}/carol/rotate", {"grace": "1h"}, MadeKeys)
        async with (
            aiohttp.ClientSession() as session,
            session.get(admin.proxy.metrics_url) as response,
        ):
            page = await response.text()
        name = "tollkeeper_key_expiry_timestamp_seconds"
        assert [line for line in page.splitlines() if line.startswith(f"{name}{{")] == [
            f'{name}{{key="bob"}} 3786912000.0'
        ]


async def test_a_key_serves_from_its_creation_to_its_end_and_over_restarts(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        secret = await admin.make("bob", team="research", labels={"who": "bob"})
        assert await admin.call(secret) == (200, "")
    async with desk(tmp_path) as admin:
        assert await admin.call(secret) == (200, "")
        rows = await admin.proxy.records(2)
        assert {(row["key_id"], row["team"]) for row in rows} == {("bob", "research")}
        assert '"who":"bob"' in str(rows[0]["labels"]) and "4711" in str(rows[0]["labels"])
        for verb, answered in (
            ("suspend", (401, "key_suspended")),
            ("resume", (200, "")),
        ):
            assert (await admin.ask("POST", f"{KEYS_PATH}/bob/{verb}", {})).changed == ["bob"]
            assert await admin.call(secret) == answered
        await admin.ask("DELETE", f"{KEYS_PATH}/bob", {"reason": "left us"})
        assert await admin.call(secret) == (401, "key_revoked")
        with pytest.raises(Failed, match="never used again"):
            await admin.make("bob")
        with pytest.raises(Failed, match="revoked for good"):
            await admin.ask("POST", f"{KEYS_PATH}/bob/resume", {})
    async with desk(tmp_path) as admin:
        assert await admin.call(secret) == (401, "key_revoked")
        refused = admin.proxy.query("SELECT DISTINCT key_id, code, team FROM refusals")
        assert {(row["key_id"], row["code"], row["team"]) for row in refused} >= {
            ("bob", "key_suspended", "research"),
            ("bob", "key_revoked", "research"),
        }


async def test_a_rotation_leaves_both_secrets_good_for_the_grace_period_under_one_name(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as admin:
        first = await admin.make("bob")
        made = await admin.ask("POST", f"{KEYS_PATH}/bob/rotate", {"grace": "1h"}, MadeKeys)
        second = made.keys[0].secret
        assert await admin.call(first) == await admin.call(second) == (200, "")
        made = await admin.ask("POST", f"{KEYS_PATH}/bob/rotate", {"grace": "0s"}, MadeKeys)
        assert await admin.call(first) == await admin.call(second) == (401, "key_revoked")
        assert await admin.call(made.keys[0].secret) == (200, "")
        assert {row["key_id"] for row in await admin.proxy.records(3)} == {"bob"}
        view = await admin.ask("GET", f"{KEYS_PATH}/bob", type=KeyView)
        assert [secret.until_ms is None for secret in view.secrets] == [True, False, False]


async def test_limits_of_a_new_key_hold_from_its_first_request(tmp_path: Path) -> None:
    defaults = {"key": {"limits": ["2 requests/day"]}}
    async with desk(tmp_path, defaults=defaults) as admin:
        own = await admin.make("own", limits=["1 requests/day"])
        usual = await admin.make("usual")
        more = await admin.make("more", limits_add=["8 tokens/day"])
        assert [(await admin.call(own))[0] for _ in range(2)] == [200, 429]
        assert [(await admin.call(usual))[0] for _ in range(3)] == [200, 200, 429]
        assert [(await admin.call(more))[0] for _ in range(2)] == [200, 429]
        await admin.ask("PATCH", f"{KEYS_PATH}/own", {"says": {"limits": ["2 requests/day"]}})
        # What was used before goes on to count.
        assert [(await admin.call(own))[0] for _ in range(2)] == [200, 429]
        await admin.ask("PATCH", f"{KEYS_PATH}/own", {"says": {"limits": ["5 requests/month"]}})
        # So does what was used before there was such a limit.
        assert [(await admin.call(own))[0] for _ in range(4)] == [200, 200, 200, 429]


async def test_a_suspended_team_stops_all_of_its_keys_those_of_the_config_too(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob", team="research")
        await admin.ask("POST", f"{TEAMS_PATH}/research/suspend", {"reason": "not paid"})
        for secret in (KEY, bob):
            assert await admin.call(secret) == (401, "key_suspended")
        listed = await admin.ask("GET", f"{KEYS_PATH}?team=research", type=Keys)
        assert {view.name: view.state for view in listed.keys} == {
            "alice": "team suspended",
            "bob": "team suspended",
        }
        await admin.proxy.server.reload()
        assert await admin.call(KEY) == (401, "key_suspended")
    async with desk(tmp_path) as admin:
        assert await admin.call(KEY) == (401, "key_suspended")
        await admin.ask("POST", f"{TEAMS_PATH}/research/resume", {})
        assert await admin.call(KEY) == await admin.call(bob) == (200, "")


async def test_a_key_narrows_what_its_team_may_call(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        said = {"name": "lab", "says": {"models": ["gpt-*"]}}
        assert (await admin.ask("POST", TEAMS_PATH, said, TeamView)).models == ["gpt-*"]
        wide = await admin.make("wide", team="lab")
        narrow = await admin.make("narrow", team="lab", models=["gpt-4o", "other"])
        for secret, model, status in (
            (wide, "gpt-4o", 200),
            (wide, "gpt-5", 200),
            (wide, "other", 403),
            (narrow, "gpt-4o", 200),
            (narrow, "gpt-5", 403),
            (narrow, "other", 403),
        ):
            assert (await admin.call(secret, model))[0] == status, (model, status)
        await admin.ask("DELETE", f"{TEAMS_PATH}/lab", {})
        assert await admin.call(wide, "gpt-4o") == (401, "key_revoked")
        teams = await admin.ask("GET", TEAMS_PATH, type=Teams)
        assert {team.name: team.state for team in teams.teams} == {
            "lab": "revoked",
            "research": "active",
        }


async def test_many_keys_are_made_at_once_and_listed_page_by_page(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        made = await admin.ask("POST", KEYS_PATH, {"name": "ci", "count": 12}, MadeKeys)
        secrets = {key.name: key.secret for key in made.keys}
        assert len(set(secrets.values())) == 12
        assert await admin.call(str(secrets["ci-12"])) == (200, "")
        found: list[str] = []
        after = ""
        while True:
            page = await admin.ask("GET", f"{KEYS_PATH}?limit=5&after={after}", type=Keys)
            found += [view.name for view in page.keys]
            if page.next is None:
                break
            after = page.next
        assert found == sorted([*secrets, "alice"])


async def test_a_secret_from_elsewhere_is_taken_as_text_or_as_its_digest(tmp_path: Path) -> None:
    old = "vk-3Qm9ZtW8rLx2PbNc7HsD"
    async with desk(tmp_path) as admin:
        digest = hashlib.sha256(b"vk-7Yk2RnV5qJd8XfGb4TwM").hexdigest()
        await admin.ask("POST", KEYS_PATH, {"name": "text", "secret": old}, MadeKeys)
        await admin.ask("POST", KEYS_PATH, {"name": "hex", "secret_sha256": digest}, MadeKeys)
        assert await admin.call(old) == (200, "")
        assert await admin.call("vk-7Yk2RnV5qJd8XfGb4TwM") == (200, "")
        for secret, said in (
            ({"secret": old}, "has this secret already"),
            ({"secret": KEY}, "shorter than 20"),
            ({"secret_sha256": "AB"}, "64 hexadecimal digits in lower case"),
            ({"secret": old, "secret_sha256": digest}, "not both"),
            ({"secret": "ключ" * 10}, "no header can carry"),
        ):
            with pytest.raises(Failed, match=said):
                await admin.ask("POST", KEYS_PATH, {"name": "again", **secret}, MadeKeys)


async def test_what_the_config_names_is_its_own_and_every_deed_is_in_the_audit_without_secrets(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as admin:
        secret = await admin.make("bob", team="research", expires="90d")
        for attempt, said in (
            (("PATCH", f"{KEYS_PATH}/alice", {"says": {}}), "stands in config.yaml"),
            (("DELETE", f"{KEYS_PATH}/alice", {}), "stands in config.yaml"),
            (("POST", f"{KEYS_PATH}/alice/rotate", {}), "stands in config.yaml"),
            (("POST", KEYS_PATH, {"name": "alice"}), "config.yaml has a key"),
            (("POST", f"{KEYS_PATH}/bab/suspend", {}), "There is no key 'bab'. The nearest is"),
            (("POST", KEYS_PATH, {"name": "fwd-1"}), "forwarded credentials"),
            (("POST", KEYS_PATH, {"name": "no name"}), "name"),
        ):
            with pytest.raises(Failed, match=said):
                await admin.ask(*attempt)
        await admin.ask("POST", f"{KEYS_PATH}/alice/suspend", {"reason": "ticket 4711"})
        assert await admin.call(KEY) == (401, "key_suspended")
        await admin.ask("POST", f"{KEYS_PATH}/bob/rotate", {}, MadeKeys)
        deeds = await admin.ask("GET", AUDIT_PATH, type=Deeds)
        assert [
            (deed.action, deed.name, deed.reason, deed.actor == getpass.getuser())
            for deed in deeds.audit
        ] == [
            ("key.create", "bob", None, True),
            ("key.suspend", "alice", "ticket 4711", True),
            ("key.rotate", "bob", None, True),
        ]
        database = (admin.proxy.data_dir / "ledger.db").read_bytes()
        database += (admin.proxy.data_dir / "ledger.db-wal").read_bytes()
        assert secret.encode() not in database
        assert b"bob" in database


async def test_a_resumed_key_that_stays_refused_is_told_why(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob", team="research")
        await admin.ask("POST", f"{TEAMS_PATH}/research/suspend", {})
        await admin.ask("POST", f"{KEYS_PATH}/bob/suspend", {})
        done: Done = await admin.ask("POST", f"{KEYS_PATH}/bob/resume", {})
        assert done.still_refused == {"bob": "its team 'research' is suspended; resume that too"}
        assert await admin.call(bob) == (401, "key_suspended")
        await admin.ask("POST", f"{TEAMS_PATH}/research/resume", {})
        done = await admin.ask("POST", f"{KEYS_PATH}/bob/resume", {})
        assert done.still_refused == {}


async def test_keys_are_known_while_their_database_is_away(tmp_path: Path) -> None:
    """All keys are in memory from the start on, so an unknown one is known to be unknown."""
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob")
        carol = await admin.make("carol")
        await admin.ask("POST", f"{KEYS_PATH}/carol/suspend", {})
        ledger = admin.proxy.data_dir / "ledger.db"
        ledger.rename(ledger.with_name("away.db"))
        try:
            assert await admin.call(bob) == (200, "")
            assert await admin.call(KEY) == (200, "")
            assert await admin.call(carol) == (401, "key_suspended")
            assert await admin.call("vk-3Qm9ZtW8rLx2PbNc7HsD") == (401, "invalid_api_key")
        finally:
            ledger.with_name("away.db").rename(ledger)


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"a\n": "x"}, {"a": "x\x07"}, {"a": "\u202eevil"}, {"a": "x" * 501}]
)
async def test_a_label_is_one_line_that_can_be_seen(tmp_path: Path, labels: dict[str, str]) -> None:
    async with desk(tmp_path) as admin:
        for path, name in ((KEYS_PATH, "bob"), (TEAMS_PATH, "lab")):
            with pytest.raises(Failed, match="visible characters"):
                await admin.ask("POST", path, {"name": name, "says": {"labels": labels}})


async def test_a_lead_needs_a_team(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        with pytest.raises(Failed, match="name its team"):
            await admin.make("bob", role="lead")
        with pytest.raises(Failed, match="role"):
            await admin.make("bob", team="research", role="boss")


async def test_teams_come_in_pages_too(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        for number in range(4):
            await admin.ask("POST", TEAMS_PATH, {"name": f"t{number}"}, TeamView)
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page: Teams = await admin.ask("GET", f"{TEAMS_PATH}?limit=2&after={after}", type=Teams)
            found += [team.name for team in page.teams]
            after = page.next
        assert found == ["research", "t0", "t1", "t2", "t3"]
        with pytest.raises(Failed, match="state is one of active, revoked, suspended"):
            await admin.ask("GET", f"{KEYS_PATH}?state=activ", type=Keys)
