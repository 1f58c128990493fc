"""The options of keys and teams: what they say, and what they refuse before anything is asked."""

from __future__ import annotations

from pathlib import Path

from tests.admin.test_tenants import desk
from tests.cli.test_desk import called, done, told


async def test_each_option_says_what_config_yaml_would(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    words = ["--limit", "5 USD/day", "--limit", "9 requests/minute", "--limit-add", "1 concurrent"]
    words += ["--model", "gpt-*", "--model", "o3", "--label", "a=1=2", "--expires", "2027-01-01"]
    await done(tmp_path, "key", "create", "bob", "--team", "research", *words)
    bob = await told(tmp_path, "key", "show", "bob")
    assert {name: bob[name] for name in ("limits", "limits_add", "models", "labels", "team")} == {
        "limits": ["5 USD/day", "9 requests/minute"],
        "limits_add": ["1 concurrent"],
        "models": ["gpt-*", "o3"],
        "labels": {"a": "1=2"},
        "team": "research",
    }
    assert bob["expires"] == "2027-01-01"
    refused = await called(tmp_path, "key", "edit", "bob", "--label", "x")
    assert refused.exit_code == 1 and "write NAME=VALUE" in refused.output


async def test_a_team_is_not_offered_what_only_a_key_has(tmp_path: Path) -> None:
    offered = (await called(tmp_path, "key", "create", "--help")).output
    assert "--expires" in offered and "--role" in offered
    for verb in ("create", "edit"):
        offered = (await called(tmp_path, "team", verb, "--help")).output
        assert "--limit" in offered and "--expires" not in offered and "--role" not in offered


async def test_a_change_of_state_says_what_was_done(tmp_path: Path) -> None:
    async with desk(tmp_path):
        await done(tmp_path, "key", "create", "bob", "--team", "research")
        cut = await done(tmp_path, "key", "suspend", "bob", "--cut")
        assert cut == "Suspended: bob. Requests ended: 0.\n"
        assert await done(tmp_path, "key", "resume", "bob") == "Resumed: bob.\n"
