"""Asking the running process: which one, and what becomes of a refusal, a stranger and nobody."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from proxy.admin.app import AdminPlane
from proxy.admin.control_socket import NAME
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.cli import admin_client
from proxy.cli.common import Failed
from proxy.config.settings import AdminSettings, AdminToken, Settings
from proxy.core.errors import ProxyError
from proxy.core.http.health import Health
from tests.support.running import config, running

TOKENS = {"ops": AdminToken(token="secret-a", role="admin")}


class Answer(msgspec.Struct):
    who: str
    body: dict[str, int]


class Wanted(msgspec.Struct, omit_defaults=True):
    n: int | None = None


async def who(ask: AdminRequest) -> Answer:
    return Answer(ask.asker.name, msgspec.to_builtins(ask.body))


class Slow:
    """An endpoint that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def __call__(self, _ask: AdminRequest) -> Answer:
        self.asked.set()
        await self.answers.wait()
        return Answer("slow", {})


SLOW = Slow()


async def refuse(_ask: AdminRequest) -> object:
    raise ProxyError(409, "invalid_request_error", "conflict", "Not now.")


@contextlib.asynccontextmanager
async def serving(data_dir: Path) -> AsyncIterator[str]:
    plane = AdminPlane(
        (
            AdminEndpoint("POST", "/who", "", who, body=Wanted),
            AdminEndpoint("GET", "/refuse", "", refuse),
            AdminEndpoint("POST", "/slow", "", SLOW),
        ),
        Health(lambda: None),
    )
    try:
        address = await plane.start(
            Settings(data_dir=data_dir, admin=AdminSettings(listen="127.0.0.1:0", tokens=TOKENS)),
            lambda: AdminSettings(tokens=TOKENS),
        )
        yield f"http://{address}/"
    finally:
        await plane.aclose()


def asked(
    data_dir: Path,
    environ: dict[str, str],
    method: str = "POST",
    path: str = "/who",
    body: Any = None,
    patient: bool = False,
) -> Answer:
    process = admin_client.running(data_dir, environ)
    assert process is not None
    return admin_client.ask(process, method, path, body, type=Answer, patient=patient)


async def test_the_process_of_this_data_directory_or_the_one_that_is_named(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        ask = lambda *args, **kwargs: asyncio.to_thread(asked, *args, **kwargs)  # noqa: E731
        assert await ask(tmp_path, {}, body={"n": 1}) == Answer(getpass.getuser(), {"n": 1})
        assert await ask(tmp_path, {admin_client.TOKEN: "wrong"}) == Answer(
            getpass.getuser(), {}
        ), "without a URL the token is nobody's business"
        assert await ask(
            tmp_path / "elsewhere",
            {admin_client.URL: url, admin_client.TOKEN: "secret-a\n"},
            body={"n": 2},
        ) == Answer("ops", {"n": 2})
        for environ in (
            {admin_client.URL: url, admin_client.TOKEN: "wrong"},
            {admin_client.URL: url},
        ):
            with pytest.raises(
                Failed, match=rf"into {admin_client.TOKEN}\. \(invalid_admin_token\)"
            ):
                await ask(tmp_path, environ)
        with pytest.raises(Failed, match=r"Not now\. \(conflict\)"):
            await ask(tmp_path, {}, "GET", "/refuse")


async def test_work_that_takes_long_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the socket of the process alone: its end ends the waiting."""
    monkeypatch.setattr(admin_client, "ANSWER_S", 0.1)
    async with serving(tmp_path) as url:
        ask = lambda *args, **kwargs: asyncio.to_thread(asked, *args, **kwargs)  # noqa: E731
        waiting = asyncio.create_task(ask(tmp_path, {}, "POST", "/slow", patient=True))
        await SLOW.asked.wait()
        elsewhere = {admin_client.URL: url, admin_client.TOKEN: "secret-a"}
        for where, patient in (({}, False), (elsewhere, True)):
            with pytest.raises(Failed, match="does not answer"):
                await ask(tmp_path, where, "POST", "/slow", patient=patient)
        SLOW.answers.set()
        assert await waiting == Answer("slow", {})


async def test_the_address_for_callers_is_told_from_a_wrong_token(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        named = {
            admin_client.URL: proxy.base_url.removesuffix("/v1"),
            admin_client.TOKEN: "secret-a",
        }
        with pytest.raises(Failed, match=r"address for callers: put that of `admin.listen`"):
            await asyncio.to_thread(asked, tmp_path, named)


def test_nobody_answers_on_this_data_directory(tmp_path: Path) -> None:
    assert admin_client.running(tmp_path, {}) is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / NAME))
    assert admin_client.running(tmp_path, {}) is None, "left behind by a process that was killed"
    assert admin_client.running(tmp_path / ("d" * 200), {}) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_another_users_process_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / NAME))
        other.listen()
        (tmp_path / NAME).chmod(0)
        with pytest.raises(Failed, match="belongs to another user"):
            admin_client.running(tmp_path, {})


def test_a_url_that_is_none_or_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="is no URL"):
        admin_client.running(tmp_path, {admin_client.URL: "127.0.0.1:8791"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            Failed, match=rf"The process at {url} does not answer.*Check {admin_client.URL}"
        ):
            asked(tmp_path, {admin_client.URL: url})


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (404, b"not found"), (200, b'{"other":1}'), (302, b"")]
)
async def test_something_else_answers_there(tmp_path: Path, status: int, body: bytes) -> None:
    async def stranger(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"})

    runner = web.ServerRunner(web.Server(stranger))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        with pytest.raises(Failed, match=f"is no admin API of this version \\(status {status}\\)"):
            await asyncio.to_thread(asked, tmp_path, {admin_client.URL: f"http://{host}:{port}"})
    finally:
        await runner.cleanup()
