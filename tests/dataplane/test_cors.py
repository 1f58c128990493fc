"""Web pages: the exact requests that a browser sends for the SDKs' browser mode."""

from __future__ import annotations

from pathlib import Path

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

PAGE = "https://app.example.com"
CORS = {"cors": {"origins": [PAGE]}}
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
SDK_FIELDS = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-timeout"
)


async def vendor(visit: Visit) -> None:
    await visit.answer(
        ANSWER,
        headers=("Content-Type: application/json", "Access-Control-Allow-Origin: *", "X-V: 1"),
    )


async def send(proxy: Running, head: str, body: bytes = b"") -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.send(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    answer = await client.answer()
    await client.aclose()
    return answer


def question(origin: str, path: str = "/v1/chat/completions") -> str:
    return (
        f"OPTIONS {path} HTTP/1.1\nHost: p\nOrigin: {origin}\nAccept: */*\n"
        f"Access-Control-Request-Method: POST\nAccess-Control-Request-Headers: {SDK_FIELDS}\n"
        "Sec-Fetch-Mode: cors"
    )


def ask(origin: str, key: str = "sk-test") -> str:
    return (
        f"POST /v1/chat/completions HTTP/1.1\nHost: p\nOrigin: {origin}\nReferer: {origin}/\n"
        f"Authorization: Bearer {key}\nContent-Type: application/json\nContent-Length: 13"
    )


async def test_a_page_asks_without_a_key_and_then_reads_its_answer(tmp_path: Path) -> None:
    async with raw_upstream(vendor) as up, running(tmp_path, config(up.url, **CORS)) as proxy:
        allowed = await send(proxy, question(PAGE))
        assert (allowed.status, allowed.body) == (204, b"")
        assert allowed.header("access-control-allow-origin") == PAGE.encode()
        assert allowed.header("access-control-allow-headers") == SDK_FIELDS.encode()
        assert b"POST" in (allowed.header("access-control-allow-methods") or b"")
        answer = await send(proxy, ask(PAGE), b'{"model":"m"}')
        assert (answer.status, answer.body) == (200, ANSWER)
        assert answer.header("access-control-allow-origin") == PAGE.encode()
        assert b"x-tollkeeper-id" in (answer.header("access-control-expose-headers") or b"")
        assert answer.header("x-v") == b"1" and answer.head.lower().count(b"allow-origin") == 1
        assert up.visits[0].header("origin") is None
        refused = await send(proxy, ask(PAGE, "sk-wrong"), b'{"model":"m"}')
        assert refused.status == 401
        assert refused.header("access-control-allow-origin") == PAGE.encode()


async def test_another_page_may_not(tmp_path: Path) -> None:
    async with raw_upstream(vendor) as up, running(tmp_path, config(up.url, **CORS)) as proxy:
        refused = await send(proxy, question("https://evil.example"))
        assert refused.status in (404, 405)
        answer = await send(proxy, ask("https://evil.example"), b'{"model":"m"}')
        for found in (refused, answer):
            assert b"access-control-" not in found.head.lower()
            assert found.header("vary") == b"Origin"


async def test_off_by_default_nothing_changes(tmp_path: Path) -> None:
    async with raw_upstream(vendor) as up, running(tmp_path, config(up.url)) as proxy:
        assert (await send(proxy, question(PAGE))).status == 405
        answer = await send(proxy, ask(PAGE), b'{"model":"m"}')
        assert answer.header("access-control-allow-origin") == b"*"
        assert answer.header("vary") is None
        assert up.visits[0].header("origin") == PAGE.encode()
