"""`tollkeeper team`: teams of the database and of the config."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
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


async def test_an_end_for_good_is_asked_about_at_a_terminal(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    await done(tmp_path, "team", "create", "lab")

    def at_a_terminal(typed: bytes, *words: str) -> subprocess.CompletedProcess[str]:
        ours, theirs = pty.openpty()
        try:
            os.write(ours, typed)
            config = str(tmp_path / "config.yaml")
            command = [sys.executable, "-m", "proxy", "team", "revoke", "lab", *words, "-c", config]
            return subprocess.run(
                command, stdin=theirs, capture_output=True, text=True, check=False
            )
        finally:
            os.close(ours)
            os.close(theirs)

    refused = await asyncio.to_thread(at_a_terminal, b"n\n")
    assert refused.returncode == 1 and "`team suspend` could be taken back" in refused.stderr
    assert (await told(tmp_path, "team", "show", "lab"))["state"] == "active"
    ended = await asyncio.to_thread(at_a_terminal, b"y\n")
    assert ended.returncode == 0 and ended.stdout == "Revoked: lab.\n"
    again = await asyncio.to_thread(at_a_terminal, b"", "--yes")
    assert "End the team" not in again.stderr
