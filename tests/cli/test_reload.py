"""`tollkeeper reload`: what the running process says, and that one is needed."""

from __future__ import annotations

from pathlib import Path

from tests.admin.test_reload import rewrite
from tests.admin.test_tenants import desk
from tests.cli.test_desk import called, done, told


async def test_it_prints_what_changed_and_how_many_requests_it_ended(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        rewrite(admin, support="desk", log={"format": "json"})
        printed = await done(tmp_path, "reload", "--cut", "--reason", "ticket 7")
        assert printed == (
            'support: "" -> "desk"\n'
            "These need a restart to take effect: log.format.\n"
            "Requests that were ended: 0.\n"
        )
        assert (await done(tmp_path, "reload")).splitlines()[-1] == "Nothing changed."
        assert (await told(tmp_path, "reload"))["changed"] == []


async def test_without_a_process_and_with_a_broken_config_it_says_what_to_do(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as admin:
        rewrite(admin, suport="x")
        result = await called(tmp_path, "reload")
        assert result.exit_code == 1 and "suport" in result.output
        rewrite(admin, suport=None)
    (tmp_path / "config.yaml").write_text(
        "\n".join(
            line
            for line in (tmp_path / "config.yaml").read_text().splitlines()
            if not line.startswith("suport")
        )
    )
    result = await called(tmp_path, "reload")
    assert result.exit_code == 1 and "No process runs on" in result.output
