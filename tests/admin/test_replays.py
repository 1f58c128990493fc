"""Asking again under the same Idempotency-Key makes nothing twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.admin.control_socket import NAME
from proxy.admin.reload import RELOAD_PATH, Reloaded
from proxy.admin.replays import KEPT_BYTES_MAX, KEPT_MAX, KEPT_S, Replays
from proxy.core.errors import ProxyError
from tests.admin.test_reload import ADMIN, OTHER, rewrite
from tests.admin.test_tenants import answering, desk, desk_of


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Answers:
    """Gives another answer each time that it is really asked."""

    def __init__(self, size: int = 1) -> None:
        self.count = 0
        self._size = size

    async def __call__(self) -> bytes:
        self.count += 1
        await asyncio.sleep(0)
        return b"%d" % self.count * self._size


async def test_the_same_again_gives_the_first_answer_to_the_same_asker_alone() -> None:
    replays, answers = Replays(), Answers()
    assert await replays.once("a", "/k", "1", b"{}", answers) == (b"1", False)
    assert await replays.once("a", "/k", "1", b"{}", answers) == (b"1", True)
    for who, what, key in (("b", "/k", "1"), ("a", "/t", "1"), ("a", "/k", "2")):
        assert (await replays.once(who, what, key, b"{}", answers))[1] is False
    with pytest.raises(ProxyError) as refused:
        await replays.once("a", "/k", "1", b'{"other":1}', answers)
    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
    assert answers.count == 4


async def test_those_who_ask_at_once_share_one_answer_also_when_the_first_leaves() -> None:
    replays, answers = Replays(), Answers()
    first = asyncio.create_task(replays.once("a", "/k", "1", b"", answers))
    others = [asyncio.create_task(replays.once("a", "/k", "1", b"", answers)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [(b"1", True)] * 5
    assert answers.count == 1


async def test_a_refusal_is_not_kept() -> None:
    async def refuse() -> bytes:
        raise ProxyError(409, "invalid_request_error", "conflict", "Not now.")

    replays, answers = Replays(), Answers()
    with pytest.raises(ProxyError):
        await replays.once("a", "/k", "1", b"", refuse)
    assert await replays.once("a", "/k", "1", b"", answers) == (b"1", False)


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
async def test_a_key_has_bounds(key: str) -> None:
    with pytest.raises(ProxyError, match="printable ASCII"):
        await Replays().once("a", "/k", key, b"", Answers())


async def test_what_is_kept_is_bounded_in_time_number_and_bytes() -> None:
    clock = Clock()
    replays, answers = Replays(clock), Answers()
    for number in range(KEPT_MAX + 5):
        await replays.once("a", "/k", str(number), b"", answers)
    assert (await replays.once("a", "/k", "0", b"", answers))[1] is False
    assert (await replays.once("a", "/k", str(KEPT_MAX), b"", answers))[1] is True
    clock.now_s = KEPT_S
    assert (await replays.once("a", "/k", str(KEPT_MAX), b"", answers))[1] is False
    large = Answers(KEPT_BYTES_MAX // 2)
    for key in ("x", "y", "z"):
        await replays.once("a", "/k", key, b"", large)
    assert [(await replays.once("a", "/k", key, b"", large))[1] for key in ("z", "x")] == [
        True,
        False,
    ]


async def test_a_key_is_made_once_and_after_a_restart_the_name_exists(tmp_path: Path) -> None:
    async def post(body: dict[str, Any], key: str | None) -> tuple[int, Any, str | None]:
        connector = aiohttp.UnixConnector(str(tmp_path / "var" / NAME))
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(
                "http://control/admin/v1/keys",
                data=json.dumps(body),
                headers=headers | ({} if key is None else {"Idempotency-Key": key}),
            ) as response,
        ):
            again = response.headers.get("Idempotent-Replayed")
            return response.status, await response.json(), again

    async with desk(tmp_path) as admin:
        status, made, again = await post({"name": "bob"}, "k1")
        assert (status, again) == (200, None)
        assert await post({"name": "bob"}, "k1") == (200, made, "true")
        assert (await post({"name": "bab"}, "k1"))[0] == 422
        assert (await post({"name": "bob"}, None))[0] == 409
        assert (await admin.call(made["keys"][0]["secret"]))[0] == 200
    async with desk(tmp_path):
        status, refused, _ = await post({"name": "bob"}, "k1")
        assert status == 409 and "There is a key 'bob' already" in refused["error"]["message"]


async def test_a_token_that_replaced_another_gets_none_of_its_answers(tmp_path: Path) -> None:
    def tokens(secret: str) -> dict[str, object]:
        return {"listen": "127.0.0.1:0", "tokens": {"ops": {"token": secret, "role": "admin"}}}

    async def create(address: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k1"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"http://{address}/admin/v1/keys", json={"name": "bob"}) as response,
        ):
            return response.status

    async with desk_of(answering, tmp_path, admin=tokens(ADMIN)) as admin:
        address = admin.proxy.server.addresses.admin
        assert [await create(address, ADMIN) for _ in range(2)] == [200, 200]
        rewrite(admin, admin=tokens(OTHER))
        await admin.ask("POST", RELOAD_PATH, {}, type=Reloaded)
        assert await create(address, OTHER) == 409
