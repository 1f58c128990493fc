"""`tollkeeper key`, `team` and `audit`: the same with a running process and without one."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from tests.admin.test_tenants import Desk, desk
from tests.dataplane.test_hold import PRICES
from tests.support.running import KEY


async def called(directory: Path, *words: str, stdin: str | None = None) -> Result:
    """`tollkeeper WORDS`, as another process would call it."""
    config = ["-c", str(directory / "config.yaml")]
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(main, [*words, *config], input=stdin, catch_exceptions=False)
    )


async def done(directory: Path, *words: str, stdin: str | None = None) -> str:
    result = await called(directory, *words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


async def told(directory: Path, *words: str) -> Any:
    return json.loads(await done(directory, *words, "--json"))


def secret_of(printed: str) -> str:
    found = re.search(r"sk-tk-\w+", printed)
    assert found is not None, printed
    return found[0]


async def test_a_day_of_an_administrator(tmp_path: Path) -> None:
    """A new team with twenty keys, a rotation, a suspension, a leaver, and who did it."""
    async with desk(tmp_path, prices=PRICES) as admin:
        run = partial(done, tmp_path)
        await run("team", "create", "lab", "--limit", "500 USD/month", "--label", "cc=4711")
        made = await told(tmp_path, "key", "create", "ci", "--count", "20", "--team", "lab")
        secrets = {one["name"]: one["secret"] for one in made["keys"]}
        assert len(secrets) == 20
        assert [await admin.call(secrets[name]) for name in ("ci-1", "ci-20")] == [(200, "")] * 2
        listed = await told(tmp_path, "key", "list", "--team", "lab")
        assert sorted(one["name"] for one in listed) == sorted(secrets)
        newer = secret_of(await run("key", "rotate", "ci-1", "--grace", "1h"))
        assert await admin.call(secrets["ci-1"]) == await admin.call(newer) == (200, "")
        await run("key", "suspend", "ci-2", "--reason", "leaked, ticket 7")
        assert await admin.call(secrets["ci-2"]) == (401, "key_suspended")
        await run("key", "edit", "ci-3", "--limit", "1 requests/day", "--model", "gpt-*")
        assert await admin.call(secrets["ci-3"]) == (403, "model_not_allowed")
        await run("key", "edit", "ci-3", "--no", "models")
        assert [(await admin.call(secrets["ci-3"]))[0] for _ in range(2)] == [200, 429]
        await run("key", "revoke", "ci-4", "--reason", "left us")
        await run("team", "suspend", "lab")
        assert await admin.call(secrets["ci-5"]) == (401, "key_suspended")
        await run("team", "resume", "lab")
        assert await admin.call(secrets["ci-5"]) == (200, "")
        assert re.search(r"^ci-2 +lab +suspended ", await run("key", "list"), re.MULTILINE)
        teams = await run("team", "list")
        assert re.search(r"^lab +active +19 +500 USD/month +all +api$", teams, re.MULTILINE), teams
        shown = await run("key", "show", "ci-1")
        assert "good until" in shown and "config.yaml" not in shown
        deeds = await told(tmp_path, "audit", "list")
        assert [(one["action"], one["name"], one["reason"]) for one in deeds[21:]] == [
            ("key.rotate", "ci-1", None),
            ("key.suspend", "ci-2", "leaked, ticket 7"),
            ("key.edit", "ci-3", None),
            ("key.edit", "ci-3", None),
            ("key.revoke", "ci-4", "left us"),
            ("team.suspend", "lab", None),
            ("team.resume", "lab", None),
        ]
        assert "leaked, ticket 7" in await run("audit", "list", "--after", "21")
        assert await run("audit", "verify") == "Every entry is as it was written.\n"


async def test_the_lines_of_the_page_about_keys_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("tollkeeper ")]
    assert len(lines) >= 9
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.json").write_text(
        json.dumps({"keys": [{"token": "a" * 64, "key_alias": "ann"}]})
    )
    (tmp_path / "teams.json").write_text(json.dumps([{"team_id": "t-1", "team_alias": "sales"}]))
    (tmp_path / "tokens.csv").write_text(f"key,name,status,unlimited_quota\n{'x' * 48},zoe,2,1\n")
    async with desk(tmp_path):
        for line in lines:
            await done(tmp_path, *shlex.split(line)[1:])
    states = {one["name"]: one["state"] for one in await told(tmp_path, "key", "list")}
    assert states["ci-7"] == "revoked" and states["bob"] == states["ci-20"] == "active"
    assert (states["ann"], states["zoe"]) == ("active", "suspended")


async def test_without_a_process_the_change_waits_in_the_ledger_for_the_next_start(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path):
        pass  # so that there is a config
    made = await done(tmp_path, "key", "create", "bob", "--team", "research")
    assert "bob" in await done(tmp_path, "key", "list")
    async with desk(tmp_path) as admin:
        assert await admin.call(secret_of(made)) == (200, "")
    await done(tmp_path, "key", "suspend", "bob")
    await done(tmp_path, "team", "suspend", "research")
    await done(tmp_path, "team", "resume", "research")
    deeds = await told(tmp_path, "audit", "list")
    # The upstream of each start has another port, which the audit tells too.
    assert {one["origin"] for one in deeds if one["kind"] != "config"} == {"command line"}
    async with desk(tmp_path) as admin:
        assert await admin.call(secret_of(made)) == (401, "key_suspended")
        assert await admin.call(KEY) == (200, "")


async def test_a_secret_from_elsewhere_comes_from_standard_input_alone(tmp_path: Path) -> None:
    secret = "vk-3Qm9ZtW8rLx2PbNc7HsD"
    async with desk(tmp_path) as admin:
        printed = await done(tmp_path, "key", "create", "old", "--given", stdin=f"{secret}\n")
        assert secret not in printed
        assert await admin.call(secret) == (200, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("key", "create", "alice"),
            "config.yaml has a key 'alice': choose another name, or see it with `tollkeeper key show`",
        ),
        (("key", "create", "bob", "--expires", "2020-01-01"), "2020-01-01 is past"),
        (("key", "list", "--team", "reserch"), "no team 'reserch'. The nearest is 'research'"),
        (("key", "create", "bob", "--team", "reserch"), "the nearest is research"),
        (("key", "create", "bob", "--limit", "5 USD per day"), "limits"),
        (("key", "create", "bob", "--expires", "soon"), "expires"),
        (("key", "show", "alcie"), "The nearest is 'alice'"),
        (("key", "rotate", "alice"), "stands in config.yaml"),
        (("key", "suspend", "no/such key"), "There is no key 'no/such key'"),
    ],
)
async def test_mistakes_are_told_in_the_same_words_with_a_process_and_without(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    async with desk(tmp_path) as admin:
        assert isinstance(admin, Desk)
        result = await called(tmp_path, *words)
        assert result.exit_code == 1 and said in result.output.replace("\n", " "), result.output
    result = await called(tmp_path, *words)
    assert result.exit_code == 1 and said in result.output.replace("\n", " "), result.output


async def test_a_rotated_key_shows_when_each_of_its_secrets_was_made(tmp_path: Path) -> None:
    async with desk(tmp_path):
        await done(tmp_path, "key", "create", "bob")
        await done(tmp_path, "key", "rotate", "bob")
        shown = await done(tmp_path, "key", "show", "bob")
        [made] = [line for line in shown.splitlines() if line.startswith("secret made")]
        [before] = [line for line in shown.splitlines() if line.startswith("replaced secret")]
        assert made.count(" UTC") == 1 and before.count(" UTC") == 2 and "good until" in before
        for name in ("ci-10", "ci-9"):
            await done(tmp_path, "key", "create", name)
        names = [one["name"] for one in await told(tmp_path, "key", "list")]
        assert names == ["alice", "bob", "ci-9", "ci-10"]
