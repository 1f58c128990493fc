"""An end user is erased in a running process, and nothing there knows the name any more."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import aiohttp
import pytest

from proxy.admin.erasure import ERASE_PATH, Erased
from proxy.cli.common import Failed
from tests.admin.test_tenants import CALL, Desk, desk
from tests.support.running import KEY

NAME = "ann.canary@example.org"


async def call_for(admin: Desk, end_user: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{admin.proxy.base_url}/chat/completions",
            json={**CALL, "model": "m-1"},
            headers={"Authorization": f"Bearer {KEY}", "x-end-user": end_user},
        ) as response,
    ):
        assert response.status == 200


async def erase(admin: Desk, name: str) -> bool:
    order = {"end_user": name, "reason": "ticket 7"}
    done: Erased = await admin.ask("POST", ERASE_PATH, order, type=Erased)
    return done.erased


async def test_who_was_erased_comes_again_as_somebody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with desk(tmp_path) as admin:
        for name in (NAME, "bob", NAME):
            await call_for(admin, name)
        assert await erase(admin, NAME)
        for name in (NAME, "bob"):
            await call_for(admin, name)
        rows = await admin.proxy.records(5)
        first, bob, again, other, bob_again = [row["end_user"] for row in rows]
        assert first == again != other and bob == bob_again
        assert not await erase(admin, "nobody")
        [entry] = admin.proxy.query("SELECT * FROM audit")
        assert (entry["action"], entry["kind"], entry["reason"]) == (
            "end_user.erase", "end_user", "ticket 7",
        )  # fmt: skip
        told = json.dumps([str(value) for value in entry.values()])
        assert NAME not in told and str(first) not in told
    async with desk(tmp_path) as admin:
        await call_for(admin, NAME)
        assert (await admin.proxy.records(6))[-1]["end_user"] == other, "it kept its new salt"
    assert NAME not in caplog.text and str(first) not in caplog.text
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and NAME.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("name", ["", "a" * 129, "a\nb"])
async def test_what_no_request_is_booked_under_is_refused(tmp_path: Path, name: str) -> None:
    async with desk(tmp_path) as admin:
        with pytest.raises(Failed):
            await erase(admin, name)
