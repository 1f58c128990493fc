"""A change of keys while the proxy serves, and what a new config makes of the database's keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.admin.tenants import KEYS_PATH
from proxy.cli.common import Failed
from tests.admin.test_tenants import desk
from tests.support.running import KEY


async def test_a_key_that_a_new_config_has_no_place_for_is_refused_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob", team="research")
        carol = await admin.make("carol")
    keys = {"carol": {"secret": KEY}}
    async with desk(tmp_path, teams={}, keys=keys) as admin:
        assert await admin.call(bob) == (401, "key_suspended")
        assert await admin.call(carol) == (401, "invalid_api_key")
        assert await admin.call(KEY) == (200, "")
        assert "there is no team 'research'" in caplog.text
        assert "config.yaml names it too" in caplog.text
    async with desk(tmp_path) as admin:
        assert await admin.call(bob) == await admin.call(carol) == (200, "")


async def test_a_reload_and_changes_at_once_lose_none_of_both(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        made, *_ = await asyncio.gather(
            asyncio.gather(*(admin.make(f"k{n}") for n in range(3))),  # each keeps a thread
            *(admin.proxy.server.reload() for _ in range(4)),
        )
        assert [await admin.call(secret) for secret in made] == [(200, "")] * 3


async def test_what_cannot_be_written_is_not_in_effect(tmp_path: Path) -> None:
    async with desk(tmp_path) as admin:
        bob = await admin.make("bob")
        ledger = admin.proxy.data_dir / "ledger.db"
        ledger.rename(ledger.with_name("away.db"))
        with pytest.raises(Failed, match="nothing was changed"):
            await admin.ask("POST", f"{KEYS_PATH}/bob/suspend", {})
        assert await admin.call(bob) == (200, "")
        ledger.with_name("away.db").rename(ledger)
        await admin.ask("POST", f"{KEYS_PATH}/bob/suspend", {})
        assert await admin.call(bob) == (401, "key_suspended")
