"""`tollkeeper key import`: callers of another gateway keep their secrets, here and while it serves."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.admin.tenant_views import Deeds
from proxy.admin.tenants import AUDIT_PATH
from proxy.cli import export_source, main
from tests.admin.test_tenants import desk
from tests.dataplane.test_hold import PRICES
from tests.support.raw import Visit, raw_upstream

SECRETS = [f"sk-{n:032x}" for n in range(700)]


def token(n: int, **fields: object) -> dict[str, object]:
    digest = hashlib.sha256(SECRETS[n].encode()).hexdigest()
    return {
        "token": digest,
        "key_name": "sk-...0000",
        "key_alias": f"user-{n}",
        "spend": 0,
        **fields,
    }


TEAMS = [
    {
        "team_id": "t-1",
        "team_alias": "physics",
        "max_budget": 100,
        "budget_duration": "30d",
        "keys": [],
    },
    {"team_id": "t-2", "team_alias": "blocked team", "blocked": True, "models": ["m-1"]},
]
KEYS = [
    token(0, team_id="t-1", max_budget=5, budget_duration="1d", spend=1.25),
    token(1, team_id="t-1", blocked=True),
    token(2, team_id="t-2"),
    token(3, team_id="t-9"),
    token(4, key_alias="user-0"),
]  # fmt: skip


async def called(directory: Path, *words: str) -> Result:
    arguments = ["key", "import", *words, "-c", str(directory / "config.yaml")]
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(main, arguments, catch_exceptions=False)
    )


def files(directory: Path, keys: list[dict[str, object]] = KEYS) -> list[str]:
    (directory / "keys.json").write_text(json.dumps({"keys": keys, "total_pages": 1}))
    (directory / "teams.json").write_text(json.dumps(TEAMS))
    return ["--from", "litellm", str(directory / "keys.json"), str(directory / "teams.json")]


def became(result: Result) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in json.loads(result.stdout)}


async def test_callers_keep_their_secrets_while_the_proxy_serves(tmp_path: Path) -> None:
    async with desk(tmp_path, prices=PRICES) as admin:
        words = files(tmp_path)
        dry = await called(tmp_path, *words, "--dry-run", "--json")
        assert [await admin.call(secret) for secret in SECRETS[:2]] == [
            (401, "invalid_api_key")
        ] * 2
        first = await called(tmp_path, *words, "--json")
        assert dry.exit_code == first.exit_code == 1 and "Not taken over: 1." in first.stderr
        assert became(dry) == became(first)
        names = became(first)
        assert names["physics"] == names["blocked-team"] == names["user-1"] == "made"
        assert names["user-3"] == "refused" and "user-0" not in names
        assert [await admin.call(secret) for secret in SECRETS[:5]] == [
            (200, ""), (401, "key_suspended"), (401, "key_suspended"), (401, "invalid_api_key"), (200, ""),
        ]  # fmt: skip
        again = await called(tmp_path, *words, "--json")
        assert set(became(again).values()) == {"here already", "refused"}
        shown = await called(tmp_path, *words)
        assert "Spent there so far: 1.25 USD. None of it is booked here." in shown.stdout
        for text in (first.output, shown.output):
            assert not any(secret in text for secret in SECRETS[:5])
            assert not any(str(one["token"]) in text for one in KEYS)
        deeds = await admin.ask("GET", AUDIT_PATH, None, Deeds)
        made = [(deed.action, deed.reason) for deed in deeds.audit if deed.action[-6:] == "create"]
        why = "import from litellm"
        assert made == [("team.create", why)] * 2 + [("key.create", why)] * 4


async def test_many_keys_without_a_process_and_all_at_once_with_one(tmp_path: Path) -> None:
    many = [token(n, team_id="t-1", metadata={}) for n in range(700)]
    words = files(tmp_path, many)
    (tmp_path / "config.yaml").write_text(
        "upstreams: {v: {base_url: 'http://127.0.0.1:9/v1', api_key: k}}\nroutes: [{model: '*', upstream: v}]\n"
    )
    for dry, outcome in ((["--dry-run"], "made"), ([], "made"), ([], "here already")):
        result = await called(tmp_path, *words, "--json", *dry)
        assert result.exit_code == 0
        told = json.loads(result.stdout)
        assert len(told) == 702 and {one["outcome"] for one in told} == {outcome}
        assert [one["name"] for one in told].count("physics") == 1


async def test_a_running_litellm_is_asked_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def litellm(visit: Visit) -> None:
        path = visit.head.split(b" ")[1].decode()
        asked.append(path)
        if visit.header("authorization") != b"Bearer sk-master":
            await visit.answer(b"{}", status="401 Unauthorized")
        elif path == "/v1/team/list":
            await visit.answer(json.dumps(TEAMS).encode())
        else:
            number = int(path.rpartition("=")[2])
            page: dict[str, Any] = {"keys": [token(number)], "total_pages": 2, "total_count": 2}
            await visit.answer(json.dumps(page).encode())

    async with raw_upstream(litellm) as upstream, desk(tmp_path) as admin:
        monkeypatch.delenv(export_source.TOKEN, raising=False)
        no_token = await called(tmp_path, "--from", "litellm", upstream.url)
        monkeypatch.setenv(export_source.TOKEN, "sk-wrong")
        wrong = await called(tmp_path, "--from", "litellm", upstream.url)
        monkeypatch.setenv(export_source.TOKEN, "sk-master\n")
        right = await called(tmp_path, "--from", "litellm", upstream.url, "--json")
        assert export_source.TOKEN in no_token.stderr and "answers 401" in wrong.stderr
        assert became(right) == dict.fromkeys(
            ("physics", "blocked-team", "user-1", "user-2"), "made"
        )
        assert len(asked) == 4 and "sk-master" not in right.output
        assert await admin.call(SECRETS[2]) == (200, "")


async def test_a_row_that_no_request_can_take_stops_no_other(tmp_path: Path) -> None:
    many = [f"model-{number:020d}" for number in range(4_000)]
    large = {"team_id": "t-3", "team_alias": "large", "models": many[:600]}
    keys = [
        token(0),
        token(1, models=many),
        token(2, team_id="t-3", models=many[:600]),
        token(3, team_id="t-3", models=many[:600]),
    ]
    async with desk(tmp_path):
        (tmp_path / "all.json").write_text(json.dumps({"teams": [large], "keys": keys}))
        result = await called(tmp_path, "--from", "litellm", str(tmp_path / "all.json"), "--json")
        made = ("large", "user-0", "user-2", "user-3")
        assert became(result) == {"user-1": "refused", **dict.fromkeys(made, "made")}
        [told] = [one["notes"] for one in json.loads(result.stdout) if one["name"] == "user-1"]
        assert "one key or team may say 24576 in an import" in told[-1]
        assert result.exit_code == 1 and "Not taken over: 1." in result.stderr


async def test_an_import_that_breaks_off_says_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process goes away behind the first of several requests."""
    taken: list[str] = []

    async def script(visit: Visit) -> None:
        rows = json.loads(visit.body)["rows"]
        if taken:
            await visit.answer(b'{"error":{"message":"Not now.","code":"x"}}', status="503 Later")
            return
        taken.extend(row["name"] for row in rows)
        answers = [{"outcome": "made", "name": row["name"]} for row in rows]
        await visit.answer(json.dumps({"rows": answers}).encode())

    async with raw_upstream(script) as there:
        monkeypatch.setenv("TOLLKEEPER_ADMIN_URL", there.url.removesuffix("/v1"))
        monkeypatch.setenv("TOLLKEEPER_ADMIN_TOKEN", "adm-5Tq8WzL2xVb7NcK4")
        words = files(tmp_path, [token(n) for n in range(700)])
        result = await asyncio.to_thread(
            lambda: CliRunner().invoke(main, ["key", "import", *words, "--json"])
        )
    assert taken and list(became(result)) == taken
    assert result.exit_code == 1 and "what is listed above is done" in result.stderr


async def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    async with desk(tmp_path):
        (tmp_path / "t.csv").write_text("key,name,status\nabcd**efgh,a,1\n")
        (tmp_path / "head.csv").write_text("key,name,status\r\n")
        (tmp_path / "none.json").write_text('{"keys": []}')
        for words, told in (
            (["--from", "new-api", str(tmp_path / "head.csv")], "No key and no team stands in"),
            (["--from", "litellm", str(tmp_path / "none.json")], "No key and no team stands in"),
            (["--from", "new-api", str(tmp_path / "t.csv")], "Not taken over: 1."),
            (["--from", "new-api", str(tmp_path / "gone.csv")], "cannot be read: No such file"),
            (["--from", "new-api", str(tmp_path / "t.csv"), "--rate", "7.1"], "'7.1 CNY'"),
            (
                ["--from", "new-api", str(tmp_path / "t.csv"), "--quota-per-usd", "0"],
                "no number above 0",
            ),
        ):
            result = await called(tmp_path, *words)
            assert result.exit_code == 1 and told in result.stderr
