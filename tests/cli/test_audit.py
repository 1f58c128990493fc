"""`tollkeeper audit`: what was done, and whether somebody has changed what it says."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.admin.test_tenants import desk
from tests.cli.test_desk import called, done, told


async def test_an_audit_that_was_changed_behind_the_programs_back_ends_with_3(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path):
        pass
    await done(tmp_path, "key", "create", "bob")
    with sqlite3.connect(tmp_path / "var" / "ledger.db") as other:
        other.execute("DROP TRIGGER audit_no_update")
        other.execute("UPDATE audit SET actor = 'nobody'")
    other.close()
    result = await called(tmp_path, "audit", "verify")
    assert (result.exit_code, result.output) == (
        3,
        "audit entry 1: changed since it was written\n",
    )


async def test_the_list_says_who_when_and_why_and_begins_behind_a_seq(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    for name in ("bob", "carol"):
        await done(tmp_path, "key", "create", name, "--reason", f"for {name}")
    listed = await done(tmp_path, "audit", "list", "--after", "1")
    assert "for carol" in listed and "for bob" not in listed
    [deed] = await told(tmp_path, "audit", "list", "--after", "1")
    assert (deed["before"], deed["after"]["state"], deed["name"]) == (None, "active", "carol")
