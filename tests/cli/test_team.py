"""`tollkeeper team`: teams of the database and of the config."""

from __future__ import annotations

from pathlib import Path

from tests.admin.test_tenants import desk
from tests.cli.test_desk import called, done, told


async def test_a_team_is_made_changed_shown_and_ended(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    await done(tmp_path, "team", "create", "lab", "--limit", "5 USD/day", "--model", "gpt-*")
    await done(tmp_path, "team", "edit", "lab", "--limit-add", "9 USD/week", "--no", "limits")
    shown = await done(tmp_path, "team", "show", "lab")
    assert "9 USD/week" in shown and "5 USD/day" not in shown and "gpt-*" in shown
    await done(tmp_path, "key", "create", "bob", "--team", "lab")
    assert (await told(tmp_path, "team", "show", "lab"))["keys"] == 1
    assert await done(tmp_path, "team", "revoke", "lab") == "Revoked: lab, bob.\n"
    states = {one["name"]: one["state"] for one in await told(tmp_path, "team", "list")}
    assert states == {"lab": "revoked", "research": "active"}
    refused = await called(tmp_path, "team", "revoke", "research")
    assert refused.exit_code == 1 and "stands in config.yaml" in refused.output
