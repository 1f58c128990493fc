"""Every change of the config stands in the audit: a reload's, and one made while nothing ran."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.admin.tenant_views import Deed, Deeds
from proxy.admin.tenants import AUDIT_PATH
from proxy.server.config_history import FILE
from tests.admin.test_tenants import Desk
from tests.support.running import Running, config, running

URL = "http://127.0.0.1:9/v1"
CANARY = "c4n4ry-3Qm9ZtW8rLx2PbNc7HsD"


def write(tmp_path: Path, **blocks: object) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(URL, **blocks)))


async def deeds(proxy: Running) -> list[Deed]:
    page: Deeds = await Desk(proxy).ask("GET", AUDIT_PATH, type=Deeds)
    return page.audit


def told(deed: Deed) -> tuple[Any, ...]:
    return deed.action, deed.actor, deed.origin, deed.name, deed.before, deed.after


async def test_a_start_with_another_config_tells_what_changed_and_the_first_has_nothing_to_tell(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, config(URL)) as proxy:
        assert await deeds(proxy) == []
        seen = proxy.data_dir / FILE
        assert stat.S_IMODE(seen.stat().st_mode) == 0o600
    async with running(tmp_path, config(URL)) as proxy:
        assert await deeds(proxy) == [], "nothing changed"
    keys = {"alice": {"team": "research", "secret": CANARY}}
    async with running(tmp_path, config(URL, keys=keys, support="desk")) as proxy:
        [deed] = await deeds(proxy)
        assert told(deed) == (
            "config.start",
            "file",
            "start",
            "config.yaml",
            {"keys.alice.secret_sha256": "***", "support": ""},
            {"keys.alice.secret_sha256": "changed", "support": "desk"},
        )
        assert CANARY not in seen.read_text()


async def test_a_signal_tells_what_changed_once(tmp_path: Path) -> None:
    async with running(tmp_path, config(URL)) as proxy:
        write(tmp_path, support="desk")
        for _ in range(2):
            await proxy.server.reload()
        [deed] = await deeds(proxy)
        assert told(deed)[:3] == ("config.reload", "file", "SIGHUP")
        assert (deed.before, deed.after) == ({"support": ""}, {"support": "desk"})


async def test_what_needs_a_restart_is_told_when_it_holds(tmp_path: Path) -> None:
    async with running(tmp_path, config(URL)) as proxy:
        write(tmp_path, log={"format": "json"})
        await proxy.server.reload()
        assert await deeds(proxy) == []
    async with running(tmp_path, config(URL, log={"format": "json"})) as proxy:
        assert [deed.after for deed in await deeds(proxy)] == [{"log.format": "json"}]


async def test_what_the_audit_could_not_be_told_is_told_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, config(URL)) as proxy:
        ledger = proxy.data_dir / "ledger.db"
        ledger.rename(ledger.with_name("away.db"))
        write(tmp_path, support="desk")
        await proxy.server.reload()
        assert proxy.server.snapshot.settings.support == "desk", "it holds all the same"
        assert "the audit cannot be told now" in caplog.text
        ledger.with_name("away.db").rename(ledger)
    async with running(tmp_path, config(URL, support="desk")) as proxy:
        assert [deed.after for deed in await deeds(proxy)] == [{"support": "desk"}]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff\x00"])
async def test_a_damaged_file_stops_no_start(
    tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, config(URL)) as proxy:
        seen = proxy.data_dir / FILE
    seen.write_bytes(damaged)
    async with running(tmp_path, config(URL, support="desk")) as proxy:
        assert await deeds(proxy) == []
        assert "cannot be read" in caplog.text
        assert b"desk" in seen.read_bytes()
