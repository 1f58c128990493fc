"""The admin plane on its real listeners: both serve the same, every answer is JSON, and a fault of
ours is one line for who asks."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from proxy.admin.app import BODY_BYTES_MAX, AdminPlane
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.config.settings import AdminSettings, AdminToken, Settings
from proxy.core.errors import ProxyError
from proxy.core.http.health import Health
from tests.support.waiting import guard

TOKENS = {
    "ops": AdminToken(token="secret-a", role="admin"),
    "board": AdminToken(token="secret-v", role="viewer"),
}
ADMIN = {"Authorization": "Bearer secret-a"}


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    number: int


class Asked(msgspec.Struct):
    a: str = ""
    b: str = ""


async def echo(ask: AdminRequest) -> object:
    query = {name: value for name, value in msgspec.structs.asdict(ask.query).items() if value}
    return {"who": ask.asker.name, "number": ask.body.number, "query": query}


async def refuse(ask: AdminRequest) -> object:
    raise ProxyError(
        409, "invalid_request_error", "conflict", "Not now.", headers=(("retry-after", "3"),)
    )


async def fail(ask: AdminRequest) -> object:
    raise RuntimeError("secret detail")


ROUTES = (
    AdminEndpoint("POST", "/admin/v1/echo", "", echo, Asked, Wanted),
    AdminEndpoint("GET", "/admin/v1/refuse", "", refuse),
    AdminEndpoint("GET", "/admin/v1/fail", "", fail),
)


class Listeners:
    def __init__(self, path: Path, address: str, plane: AdminPlane) -> None:
        self.path, self.address, self.plane = path, address, plane

    async def ask(
        self, listener: str, method: str, path: str, *, data: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, object], dict[str, str]]:
        """Status, JSON body and headers of an answer; on TCP with the admin's token unless
        `headers` say otherwise."""
        connector = aiohttp.UnixConnector(str(self.path)) if listener == "socket" else None
        url = "http://control" if listener == "socket" else f"http://{self.address}"
        named = (
            {"Content-Type": "application/json"}
            | (ADMIN if listener == "tcp" else {})
            | {name.replace("_", "-"): value for name, value in headers.items()}
        )
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, url + path, data=data, headers=named) as response,
        ):
            assert response.content_type == "application/json"
            return response.status, json.loads(await response.read()), dict(response.headers)


@contextlib.asynccontextmanager
async def listeners(
    tokens: dict[str, AdminToken] = TOKENS, why_not_ready: str | None = None, header_s: float = 10.0
) -> AsyncIterator[Listeners]:
    plane = AdminPlane(ROUTES, Health(lambda: why_not_ready), header_s=header_s)
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            data_dir=Path(directory), admin=AdminSettings(listen="127.0.0.1:0", tokens=tokens)
        )
        try:
            address = await plane.start(settings, lambda: settings.admin)
            yield Listeners(Path(directory) / "control.sock", address, plane)
        finally:
            await plane.aclose()


@pytest.mark.parametrize("listener", ["socket", "tcp"])
async def test_both_listeners_serve_the_same_and_say_who_asks(listener: str) -> None:
    async with listeners() as open_:
        status, answer, _ = await open_.ask(
            listener, "POST", "/admin/v1/echo?a=1", data=b'{"number":7}'
        )
        assert (status, answer) == (
            200,
            {
                "who": getpass.getuser() if listener == "socket" else "ops",
                "number": 7,
                "query": {"a": "1"},
            },
        )


# asked, by a listener's usual credential -> status, code
@pytest.mark.parametrize("listener", ["socket", "tcp"])
@pytest.mark.parametrize(
    ("method", "path", "data", "status", "code"),
    [
        ("POST", "/admin/v1/echo", b'{"number":"x"}', 400, "invalid_request"),
        ("POST", "/admin/v1/echo", b'{"number":1,"more":2}', 400, "invalid_request"),
        ("POST", "/admin/v1/echo", b"{", 400, "invalid_request"),
        ("POST", "/admin/v1/echo", b'{"number":1,"number":2}', 400, "invalid_request"),
        ("POST", "/admin/v1/echo", b'{"number":1,"numb\\u0065r":2}', 400, "invalid_request"),
        ("POST", "/admin/v1/echo", b"", 400, "invalid_request"),
        ("POST", "/admin/v1/echo", b" " * (BODY_BYTES_MAX + 1), 413, "body_too_large"),
        ("GET", "/admin/v1/echo", None, 404, "unknown_path"),
        ("DELETE", "/admin/v1/echo", None, 404, "unknown_path"),
        ("GET", "/v1/models", None, 404, "unknown_path"),
        ("GET", "/metrics", None, 404, "unknown_path"),
        ("GET", "/admin/v1/refuse", None, 409, "conflict"),
    ],
)
async def test_refusals_are_json_with_a_code(
    listener: str, method: str, path: str, data: bytes | None, status: int, code: str
) -> None:
    async with listeners() as open_:
        found, answer, headers = await open_.ask(listener, method, path, data=data)
        assert (found, answer["error"]["code"]) == (status, code)  # type: ignore[index]
        assert headers.get("Retry-After") == ("3" if code == "conflict" else None)


@pytest.mark.parametrize(
    "path", ["/admin/v1/echo", "/admin/v1/refuse", "/admin/v1/fail", "/admin/v1/nothing", "/"]
)
@pytest.mark.parametrize(
    ("listener", "headers", "status"),
    [
        ("tcp", {"Authorization": "Bearer wrong"}, 401), ("tcp", {"Host": "attacker.example"}, 403), ("tcp", {"Origin": "http://attacker.example"}, 403),
        ("socket", {"Origin": "http://attacker.example"}, 403), ("tcp", {"Content_Type": "text/plain"}, 415), ("socket", {"Content_Type": "text/plain"}, 415),
        ("tcp", {"Content_Encoding": "gzip"}, 415), ("socket", {"Content_Encoding": "br"}, 415),
    ],
)  # fmt: skip
async def test_who_may_not_ask_learns_of_no_route(
    listener: str, headers: dict[str, str], status: int, path: str
) -> None:
    async with listeners() as open_:
        for method in ("POST", "PUT", "DELETE"):
            assert (await open_.ask(listener, method, path, data=b"{}", **headers))[0] == status


async def test_a_viewer_changes_nothing() -> None:
    async with listeners() as open_:
        viewer = {"Authorization": "Bearer secret-v"}
        assert (await open_.ask("tcp", "POST", "/admin/v1/echo", data=b'{"number":7}', **viewer))[
            0
        ] == 403
        assert (await open_.ask("tcp", "GET", "/admin/v1/refuse", **viewer))[0] == 409


async def test_a_fault_of_ours_is_in_the_log_and_nowhere_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listeners() as open_:
        status, answer, _ = await open_.ask("socket", "GET", "/admin/v1/fail")
    assert (status, "secret detail" in json.dumps(answer), "secret detail" in caplog.text) == (
        500,
        False,
        True,
    )


@pytest.mark.parametrize(("reason", "status"), [(None, 200), ("draining", 503)])
@pytest.mark.parametrize("listener", ["socket", "tcp"])
async def test_health_needs_no_credential(listener: str, reason: str | None, status: int) -> None:
    async with listeners(why_not_ready=reason) as open_:
        nobody = {"Authorization": "Bearer wrong", "Origin": "http://x", "Host": "balancer.example"}
        assert (await open_.ask(listener, "GET", "/readyz", **nobody))[0] == status
        assert (await open_.ask(listener, "GET", "/healthz", **nobody))[0] == 200


async def test_without_a_token_there_is_no_listener_on_tcp() -> None:
    async with listeners({"ops": AdminToken(token="", role="admin")}) as open_:
        assert open_.address == ""
        assert (await open_.ask("socket", "GET", "/healthz"))[0] == 200


async def test_the_end_takes_the_file_away() -> None:
    async with listeners() as open_:
        assert open_.path.exists()
        await open_.plane.aclose()
        assert not open_.path.exists()
        with pytest.raises(aiohttp.ClientConnectorError):
            await open_.ask("tcp", "GET", "/healthz")


async def test_neither_a_head_nor_a_body_is_waited_for_for_long() -> None:
    """On TCP a head needs no token; a body does, and still a writer who is stuck is told."""
    async with listeners(header_s=0.1) as open_:
        for connecting in (
            lambda: asyncio.open_unix_connection(open_.path),
            lambda: asyncio.open_connection(*open_.address.rsplit(":", 1)),
        ):
            reader, writer = await connecting()
            writer.write(b"POST /admin/v1/echo HTTP/1.1\r\nHost: localhost\r\n")
            async with guard():
                assert await reader.read() == b""
            writer.close()
            reader, writer = await connecting()
            head = b"POST /admin/v1/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret-a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            writer.write(head)
            async with guard():
                said = await reader.read()
            assert said.startswith(b"HTTP/1.1 408 ") and b"request_timeout" in said
            writer.close()


async def test_a_socket_that_cannot_be_there_is_a_warning(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    plane = AdminPlane(ROUTES, Health(lambda: None))
    (tmp_path / "control.sock").write_text("")
    assert await plane.start(Settings(data_dir=tmp_path), AdminSettings) == ""
    await plane.aclose()
    assert [(record.levelname, "is no socket" in record.message) for record in caplog.records] == [
        ("WARNING", True)
    ]
    assert (tmp_path / "control.sock").exists()
