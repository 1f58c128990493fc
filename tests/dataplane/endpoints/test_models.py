"""GET /v1/models: relayed whole where one upstream says it all, else merged, filtered and
remembered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until


def listing(*names: str) -> bytes:
    return json.dumps(
        {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
    ).encode()


async def get(proxy: Running, path: str, *headers: str) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    lines = "".join(f"{line}\r\n" for line in headers or ("Authorization: Bearer sk-test",))
    await client.send(f"GET {path} HTTP/1.1\r\nHost: proxy\r\n{lines}\r\n".encode())
    answer = await client.answer()
    await client.aclose()
    return answer


def names(answer: RawAnswer) -> list[str]:
    return [entry["id"] for entry in json.loads(answer.body)["data"]]


async def test_a_single_upstreams_list_passes_unchanged_and_leaves_no_record(
    tmp_path: Path,
) -> None:
    body = b' {"object":"list",  "data":[{"id":"m-1"}], "extra":1}'

    async def script(visit: Visit) -> None:
        await visit.answer(body, headers=("Content-Type: application/json", "X-Vendor: yes"))

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        answer = await get(proxy, "/v1/models?limit=2")
        assert (answer.status, answer.body, answer.header("x-vendor")) == (200, body, b"yes")
        assert upstream.visits[0].lines[0] == b"GET /v1/models?limit=2 HTTP/1.1"
        assert upstream.visits[0].header("authorization") == b"Bearer sk-upstream"
        assert answer.header("x-tollkeeper-id")
        assert await proxy.records(0) == []


async def test_several_upstreams_are_merged_by_route_and_asked_once(tmp_path: Path) -> None:
    async def one(visit: Visit) -> None:
        await visit.answer(listing("deepseek-v3.2", "gpt-4o"))

    async def two(visit: Visit) -> None:
        await visit.answer(listing("gpt-4o", "gpt-4o-mini", "deepseek-v3.2"))

    async with raw_upstream(one) as a, raw_upstream(two) as b:
        blocks = {
            "upstreams": {
                "a": {"base_url": a.url, "api_key": "ka"},
                "b": {"base_url": b.url, "api_key": "kb"},
                "unset": {"base_url": "http://127.0.0.1:9/v1", "api_key": ""},
            },
            "routes": [
                {"model": "deepseek-*", "upstream": "a"},
                {"model": "gpt-*", "upstream": "b"},
                {"model": "*", "upstream": "unset"},
            ],
            "keys": {
                "alice": {"secret": "sk-test"},
                "bob": {"secret": "sk-bob", "models": ["gpt-4o-*"]},
            },
        }
        async with running(tmp_path, config(a.url, **blocks)) as proxy:
            assert names(await get(proxy, "/v1/models")) == [
                "deepseek-v3.2",
                "gpt-4o",
                "gpt-4o-mini",
            ]
            assert names(await get(proxy, "/models", "x-api-key: sk-bob")) == ["gpt-4o-mini"]
            assert (len(a.visits), len(b.visits)) == (1, 1)
            assert a.visits[0].header("x-api-key") is None


async def test_an_upstream_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    async def good(visit: Visit) -> None:
        await visit.answer(listing("m-1"))

    async def bad(visit: Visit) -> None:
        visit.reset()

    async with raw_upstream(good) as a, raw_upstream(bad) as b:
        blocks = {
            "upstreams": {
                "a": {"base_url": a.url, "api_key": "ka"},
                "b": {"base_url": b.url, "api_key": "kb"},
            },
            "routes": [{"model": "x-*", "upstream": "b"}, {"model": "*", "upstream": "a"}],
        }
        async with running(tmp_path, config(a.url, **blocks)) as proxy:
            assert names(await get(proxy, "/v1/models")) == ["m-1"]


async def test_one_model_with_an_encoded_slash_goes_to_its_upstream(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"id":"meta-llama/Llama-3"}')

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        answer = await get(proxy, "/v1/models/meta-llama%2FLlama-3")
        assert answer.status == 200
        assert upstream.visits[0].lines[0] == b"GET /v1/models/meta-llama%2FLlama-3 HTTP/1.1"


async def test_a_model_outside_the_allow_list_does_not_exist(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")

    keys = {"bob": {"secret": "sk-test", "models": ["gpt-*"]}}
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url, keys=keys)) as proxy,
    ):
        answer = await get(proxy, "/v1/models/claude")
        assert (answer.status, json.loads(answer.body)["error"]["code"], upstream.visits) == (
            404,
            "model_not_found",
            [],
        )


async def test_a_list_that_rejects_our_key_is_not_quoted(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"error":"bad key sk-upstream"}', status="401 Unauthorized")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        answer = await get(proxy, "/v1/models")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
            502,
            "upstream_rejected_credentials",
        )
        assert b"sk-upstream" not in answer.body


async def test_a_name_that_climbs_when_decoded_reaches_no_upstream(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")

    climbing = [
        "m%2f..%2f..%2ffiles",
        "m%5c..%5cfiles",
        "%2e%2e",
        "%2E",
        "..%2ffiles",
        "m%252f..%252ffiles",
        "m%2f%2ffiles",
        "%2ffiles",
    ]
    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        for name in climbing:
            answer = await get(proxy, f"/v1/models/{name}")
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
                404,
                "unknown_path",
            ), name
        assert upstream.visits == []


async def test_lists_count_as_requests_in_flight_and_end_when_the_client_leaves(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.read()

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url, inflight_max=1)) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.send(
            b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n\r\n"
        )
        while not upstream.visits:
            await asyncio.sleep(0)
        assert json.loads((await get(proxy, "/v1/models")).body)["error"]["code"] == "overloaded"
        client.leave()
        pool = proxy.pool
        await until(lambda: not (pool.in_use or proxy.server.services.inflight.count))


async def test_a_relayed_list_has_one_date(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b"{}", headers=("Date: Mon, 01 Jan 2024 00:00:00 GMT",))

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        answer = await get(proxy, "/v1/models")
        assert [
            line for line in answer.head.split(b"\r\n") if line.lower().startswith(b"date:")
        ] == [b"Date: Mon, 01 Jan 2024 00:00:00 GMT"]


async def test_a_list_without_any_vendor_key_says_so(tmp_path: Path) -> None:
    upstreams = {
        "a": {"base_url": "http://127.0.0.1:9/v1", "api_key": ""},
        "b": {"base_url": "http://127.0.0.1:9/v1", "api_key": ""},
    }
    routes = [{"model": "x-*", "upstream": "a"}, {"model": "*", "upstream": "b"}]
    async with running(
        tmp_path, config("http://127.0.0.1:9/v1", upstreams=upstreams, routes=routes)
    ) as proxy:
        answer = await get(proxy, "/v1/models")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
            503,
            "upstream_not_configured",
        )


async def test_what_an_upstream_says_of_a_model_is_asked_once_and_passes_as_it_was(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        status = (
            "404 Not Found"
            if b"unknown" in visit.lines[0]
            else "500 Oops"
            if b"broken" in visit.lines[0]
            else "200 OK"
        )
        await visit.answer(
            b' {"id":"m"}',
            status=status,
            headers=("Content-Type: application/json", "X-Vendor: yes"),
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        for path, status, visits in (("m", 200, 1), ("unknown", 404, 2), ("broken", 500, 3)):
            answers = [await get(proxy, f"/v1/models/{path}") for _ in range(2)]
            assert [
                (answer.status, answer.body, answer.header("x-vendor")) for answer in answers
            ] == [(status, b' {"id":"m"}', b"yes")] * 2
            assert answers[0].header("x-tollkeeper-id") != answers[1].header("x-tollkeeper-id")
            assert len(upstream.visits) == visits + (path == "broken")
        await get(proxy, "/v1/models/m", "Authorization: Bearer sk-test", "Accept-Encoding: gzip")
        await get(proxy, "/v1/models/m", "Authorization: Bearer sk-test", 'If-None-Match: "x"')
        assert len(upstream.visits) == 6, "another coding is another answer, and so is a condition"


async def test_asking_for_models_counts_against_a_rate_of_requests(tmp_path: Path) -> None:
    """They go upstream with the operator's key, as many as one likes."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")

    keys = {
        "alice": {
            "secret": "sk-test",
            "limits": ["2 requests/minute", "100 requests/day", "5 requests/minute for gpt-*"],
        }
    }
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url, keys=keys)) as proxy,
    ):
        answers = [await get(proxy, f"/v1/models{path}") for path in ("/a", "", "/b", "")]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert json.loads(answers[2].body)["error"]["code"] == "rate_limit_exceeded" and answers[
            2
        ].header("retry-after")
        assert len(upstream.visits) == 2
        quota = proxy.server.services.quota
        used = {
            state.limit.id: state.used
            for state in await quota.states(quota.limits(), proxy.server.services.now_ms())
        }
        assert used.get("key:alice/requests/day", 0) == 0, "the book has no record of them"
