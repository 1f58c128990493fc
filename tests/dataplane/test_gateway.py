"""Every refusal of the data plane: status, type, code, and a message that says what to do. A
refused request reaches no upstream and leaves no record."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import config, running

BODY = b'{"model":"m-1","messages":[]}'
AUTH = "Authorization: Bearer sk-test"


def post(
    body: bytes = BODY,
    *headers: str,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    auth: str = AUTH,
    length: bool = True,
) -> bytes:
    lines = [auth, *headers] if auth else list(headers)
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return (
        f"{method} {path} HTTP/1.1\r\nHost: proxy\r\n{''.join(f'{line}{chr(13)}{chr(10)}' for line in lines)}\r\n".encode(
            "latin-1"
        )
        + body
    )


# name: (request, status, type, code, what the message must say)
REFUSALS = {
    "no credential": (
        post(auth=""),
        401,
        "invalid_request_error",
        "invalid_api_key",
        "Authorization",
    ),
    "unknown key": (
        post(auth="Authorization: Bearer sk-nobody"),
        401,
        "invalid_request_error",
        "invalid_api_key",
        "",
    ),
    "expired key": (
        post(auth="Authorization: Bearer sk-old"),
        401,
        "invalid_request_error",
        "key_expired",
        "expired",
    ),
    "two credentials": (post(BODY, AUTH), 400, "invalid_request_error", "invalid_request", "one"),
    "credentials that disagree": (
        post(BODY, "x-api-key: sk-other"),
        400,
        "invalid_request_error",
        "invalid_request",
        "",
    ),
    "no JSON": (post(b"model=m"), 400, "invalid_request_error", "invalid_request", "JSON"),
    "no object": (post(b"[1]"), 400, "invalid_request_error", "invalid_request", "object"),
    "no model": (
        post(b'{"messages":[]}'),
        400,
        "invalid_request_error",
        "invalid_request",
        "model",
    ),
    "model no string": (
        post(b'{"model":5}'),
        400,
        "invalid_request_error",
        "invalid_request",
        "model",
    ),
    "a name twice": (
        post(b'{"model":"m-1","model":"m-2"}'),
        400,
        "invalid_request_error",
        "ambiguous_body",
        "model",
    ),
    "a name in another case": (
        post(b'{"model":"m-1","MODEL":"m-2"}'),
        400,
        "invalid_request_error",
        "ambiguous_body",
        "another case",
    ),
    "a field that steers": (
        post(b'{"model":"m-1","models":["m-2"]}'),
        403,
        "invalid_request_error",
        "field_not_allowed",
        "models",
    ),
    "a parameter that gateways take for the model": (
        post(path="/v1/chat/completions?api-version=1&mode%6C[]=m-2"),
        403,
        "invalid_request_error",
        "field_not_allowed",
        "model",
    ),
    "a model outside the allow-list": (
        post(auth="Authorization: Bearer sk-narrow"),
        403,
        "invalid_request_error",
        "model_not_allowed",
        "gpt-*",
    ),
    "an unrouted model": (
        post(b'{"model":"x-1"}'),
        404,
        "invalid_request_error",
        "model_not_found",
        "x-2",
    ),
    "an unknown path": (
        post(path="/v1/images/generations"),
        404,
        "invalid_request_error",
        "unknown_path",
        "POST /v1/images/generations is not served",
    ),
    "an unknown path by nobody": (
        post(path="/openai/v1/responses", auth=""),
        404,
        "invalid_request_error",
        "unknown_path",
        "/v1/responses",
    ),
    "an unknown path by a stranger": (
        post(path="/openai/v1/responses", auth="x-api-key: sk-x"),
        401,
        "invalid_request_error",
        "invalid_api_key",
        "",
    ),
    "an encoded path": (
        post(path="/v1/chat%2Fcompletions"),
        404,
        "invalid_request_error",
        "unknown_path",
        "",
    ),
    "a dotted path": (
        post(path="/v1/../v1/chat/completions"),
        404,
        "invalid_request_error",
        "unknown_path",
        "",
    ),
    "another method": (
        post(method="PUT"),
        405,
        "invalid_request_error",
        "method_not_allowed",
        "POST",
    ),
    "GET on a POST path": (
        post(b"", method="GET"),
        405,
        "invalid_request_error",
        "method_not_allowed",
        "POST",
    ),
    "no length": (
        post(b"", length=False),
        411,
        "invalid_request_error",
        "length_required",
        "Content-Length",
    ),
    "too large": (
        post(b" " * 5000 + BODY),
        413,
        "invalid_request_error",
        "body_too_large",
        "bodies.max",
    ),
    "a coding that cannot be read": (
        post(BODY, "Content-Encoding: compress"),
        415,
        "invalid_request_error",
        "unsupported_encoding",
        "gzip",
    ),
    "broken gzip": (
        post(b"no gzip", "Content-Encoding: gzip"),
        400,
        "invalid_request_error",
        "invalid_request",
        "gzip",
    ),
    "JSON that says it is gzip": (
        post(BODY, "Content-Encoding: gzip"),
        400,
        "invalid_request_error",
        "ambiguous_body",
        "Content-Encoding",
    ),
    "gzip that grows too large": (
        post(gzip.compress(b" " * 100_000 + BODY), "Content-Encoding: gzip"),
        413,
        "invalid_request_error",
        "body_too_large",
        "",
    ),
    "an upstream without a key": (
        post(b'{"model":"unset"}'),
        503,
        "api_error",
        "upstream_not_configured",
        "api_key",
    ),
    "a strange target": (
        post(path="//v1/chat/completions"),
        400,
        "invalid_request_error",
        "invalid_request",
        "base_url",
    ),
    "another HTTP version": (
        post().replace(b"HTTP/1.1", b"HTTP/2.0"),
        505,
        "invalid_request_error",
        "http_version_not_supported",
        "HTTP/1.1",
    ),
    "a transfer coding": (
        post(b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked", length=False),
        501,
        "invalid_request_error",
        "unsupported_transfer_encoding",
        "chunked",
    ),
    "a head too large": (
        post(BODY, "X-Long: " + "x" * 40_000),
        431,
        "invalid_request_error",
        "headers_too_large",
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_says_what_to_do_and_costs_nothing(tmp_path: Path, name: str) -> None:
    request, status, kind, code, says = REFUSALS[name]

    async def script(visit: Visit) -> None:
        raise AssertionError("a refused request reached the upstream")

    async with raw_upstream(script) as upstream:
        blocks = {
            "support": "ops@example.org",
            "bodies": {"max": "5KB"},
            "upstreams": {
                "mock": {"base_url": upstream.url, "api_key": "k"},
                "bare": {"base_url": upstream.url, "api_key": ""},
            },
            "routes": [
                {"model": "unset", "upstream": "bare"},
                {"model": "x-2", "upstream": "mock"},
                {"model": "m-*", "upstream": "mock"},
            ],
            "keys": {
                "alice": {"secret": "sk-test"},
                "old": {"secret": "sk-old", "expires": "2020-01-01"},
                "narrow": {"secret": "sk-narrow", "models": ["gpt-*"]},
            },
        }
        async with running(tmp_path, config(upstream.url, **blocks)) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.send(request)
            answer = await client.answer()
            error = json.loads(answer.body)["error"]
            assert (answer.status, error["type"], error["code"]) == (status, kind, code)
            assert says in error["message"] and len(error["message"]) > 20
            assert set(error) == {"message", "type", "param", "code"}
            assert answer.header("x-tollkeeper-origin") == b"proxy"
            if (request_id := answer.header("x-tollkeeper-id")) is not None:
                assert (
                    request_id.decode() in error["message"]
                    and "ops@example.org" in error["message"]
                )
            assert upstream.visits == []
            assert await proxy.records(0) == []
            await client.aclose()


async def ask(address: str, request: bytes) -> RawAnswer:
    client = await RawClient.connect(address)
    await client.send(request)
    answer = await client.answer()
    await client.aclose()
    return answer


async def test_paths_without_v1_and_the_three_credential_headers_are_taken(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        for path in ("/chat/completions", "/completions", "/v1/embeddings"):
            for auth in (AUTH, "x-api-key: sk-test", "api-key: sk-test"):
                assert (await ask(proxy.address, post(path=path, auth=auth))).status == 200
        assert [visit.lines[0].split(b" ")[1] for visit in upstream.visits][::3] == [
            b"/v1/chat/completions",
            b"/v1/completions",
            b"/v1/embeddings",
        ]
        assert {row["endpoint"] for row in await proxy.records(9)} == {
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
        }


async def test_expect_is_answered_by_us_only_after_key_and_length_are_checked(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        assert visit.header("expect") is None
        await visit.answer(b"{}")

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url, bodies={"max": "5KB"})) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        head = post(b"", "Expect: 100-continue", length=False)[:-2]
        await client.send(head + b"Content-Length: %d\r\n\r\n" % len(BODY))
        assert await client.head() == (100, b"HTTP/1.1 100 Continue")
        await client.send(BODY)
        assert (await client.answer()).status == 200
        await client.aclose()
        for bad, status in (
            (head + b"Content-Length: 9999\r\n\r\n", 413),
            (head.replace(b"sk-test", b"sk-x") + b"Content-Length: 9\r\n\r\n", 401),
        ):
            client = await RawClient.connect(proxy.address)
            await client.send(bad)
            assert (await client.answer()).status == status  # and no 100 before it
            await client.aclose()


async def test_a_strangers_credential_is_forwarded_and_metered_by_its_digest(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')

    async with raw_upstream(script) as upstream:
        upstreams = {"mock": {"base_url": upstream.url, "auth": "forward"}}
        async with running(tmp_path, config(upstream.url, upstreams=upstreams, keys={})) as proxy:
            assert (
                await ask(proxy.address, post(auth="Authorization: Bearer sk-stranger"))
            ).status == 200
            assert upstream.visits[0].header("authorization") == b"Bearer sk-stranger"
            [row] = await proxy.records(1)
            assert row["team"] is None
            assert str(row["key_id"]).startswith("fwd-") and len(str(row["key_id"])) == 20


async def test_no_more_requests_in_flight_than_allowed(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.read()

    async with (
        raw_upstream(script) as upstream,
        running(
            tmp_path, config(upstream.url, inflight_max=1, drain={"delay": "0s", "timeout": "0s"})
        ) as proxy,
    ):
        first = await RawClient.connect(proxy.address)
        await first.send(post())
        while not upstream.visits:
            await asyncio.sleep(0)
        answer = await ask(proxy.address, post())
        assert (
            answer.status,
            json.loads(answer.body)["error"]["code"],
            answer.header("retry-after"),
        ) == (503, "overloaded", b"1")
        first.leave()


async def test_refusals_are_counted_by_key_and_reason_and_what_reached_an_upstream_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(visit: Visit) -> None:
        visit.reset()

    async with raw_upstream(script) as upstream:
        async with running(tmp_path, config(upstream.url)) as proxy:
            assert (await ask(proxy.address, post(b"{}"))).status == 400
            assert (await ask(proxy.address, post(b"[]"))).status == 400
            assert (await ask(proxy.address, post())).status == 502
            await proxy.records(1)
        rows = proxy.query("SELECT key_id, code, sum(count) AS count FROM refusals GROUP BY 1, 2")
        assert rows == [{"key_id": "alice", "code": "invalid_request", "count": 2}]
        assert [
            record.message for record in caplog.records if record.name == "tollkeeper.requests"
        ].count("refused") == 2


async def test_what_the_listener_refuses_is_counted_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(visit: Visit) -> None:
        raise AssertionError("refused")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        for request, status in (
            (post(path="//x"), 400),
            (b"rubbish\r\n\r\n", 400),
            (post(BODY, "X-Long: " + "x" * 40_000), 431),
        ):
            assert (await ask(proxy.address, request)).status == status
        page = (
            await ask(proxy.server.addresses.metrics, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        ).body.decode()
        assert 'tollkeeper_http_requests_total{code="400",route="other"} 2.0' in page
        assert 'tollkeeper_http_requests_total{code="431",route="other"} 1.0' in page
        assert 'code="headers_too_large"' in page
        assert [
            record.message for record in caplog.records if record.name == "tollkeeper.requests"
        ] == ["refused"] * 3


async def test_of_a_path_that_is_not_served_log_metric_and_book_say_who_asked_for_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(visit: Visit) -> None:
        raise AssertionError("refused")

    async with raw_upstream(script) as upstream:
        async with running(tmp_path, config(upstream.url)) as proxy:
            assert (
                await ask(proxy.address, post(path="/openai/v1/responses?key=CANARY"))
            ).status == 404
            page = (
                await ask(
                    proxy.server.addresses.metrics, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
                )
            ).body.decode()
            assert 'tollkeeper_http_requests_total{code="404",route="/v1/responses"} 1.0' in page
            assert (
                'tollkeeper_refusals_total{code="unknown_path",key="alice",limit="",team="research"}'
                " 1.0" in page
            )
        assert proxy.query("SELECT key_id, team, code, limit_id, count FROM refusals") == [
            {
                "key_id": "alice",
                "team": "research",
                "code": "unknown_path",
                "limit_id": None,
                "count": 1,
            }
        ]
        [line] = [record for record in caplog.records if record.name == "tollkeeper.requests"]
        assert line.fields["key"] == "alice" and line.fields["asked"] == "POST /openai/v1/responses"  # type: ignore[attr-defined]


async def test_what_is_refused_before_the_key_is_read_is_told_under_its_name_too(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        raise AssertionError("refused")

    async with raw_upstream(script) as upstream:
        async with running(tmp_path, config(upstream.url)) as proxy:
            for path, key, named in (
                ("/v1/chat/completions", "sk-test", True),
                ("/v1/models", "sk-other", False),
                ("/v1/usage", "", False),
            ):
                credential = f"Authorization: Bearer {key}\r\n" if key else ""
                answer = await ask(
                    proxy.address,
                    f"DELETE {path} HTTP/1.1\r\nHost: x\r\n{credential}\r\n".encode(),
                )
                assert answer.status == 405, "it is told what was wrong, and not who it is"
                assert (answer.header("x-tollkeeper-id") is not None) is named
            page = proxy.server.services.metrics.render().decode()
        name = 'tollkeeper_refusals_total{code="method_not_allowed"'
        assert f'{name},key="alice",limit="",team="research"}} 1.0' in page
        assert f'{name},key="",limit="",team=""}} 2.0' in page
        assert proxy.query("SELECT key_id, team, count FROM refusals") == [
            {"key_id": "alice", "team": "research", "count": 1}
        ]


async def test_a_request_that_comes_back_is_refused_at_its_second_visit(tmp_path: Path) -> None:
    """An upstream that leads back here, by way of a server that config knows nothing of."""
    target = ""

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(back, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        upstreams = {"mock": {"base_url": url, "api_key": "sk-test"}}
        async with running(tmp_path, config(url, upstreams=upstreams)) as proxy:
            target = proxy.address
            answer = await ask(proxy.address, post())
            assert (answer.status, answer.header("x-should-retry")) == (508, b"false")
            assert json.loads(answer.body)["error"]["code"] == "loop_detected"
            assert (
                await ask(
                    proxy.address, post(b"", path="/v1/models/m-1", method="GET", length=False)
                )
            ).status == 508
            [row] = await proxy.records(1)
            assert (row["status"], row["outcome"], row["input_tokens"]) == (
                508,
                "rejected_upstream",
                0,
            )
