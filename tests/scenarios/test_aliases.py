"""A route with `as`, through the running proxy: the vendor gets another name and nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running
from tests.support.wires import APIS, WIRES, Wire

REAL = "vendor/qwen3-max"
ROUTES = [
    {"model": "fast", "upstream": "mock", "as": REAL},
    {"model": "*", "upstream": "mock"},
]
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "total_tokens": 2_000_000}
ANSWER = json.dumps({"model": REAL, "choices": [{"message": {"content": "x"}}], "usage": USAGE})
PRICES = [
    {"model": "fast", "input": "100", "output": "100"},
    {"model": REAL, "input": "1", "output": "2"},
]
MODELS = {
    "data": [{"id": REAL, "object": "model", "context_length": 7}, {"id": "m", "object": "model"}]
}


def aliased(url: str, *, upstream: object = None, **blocks: object) -> dict[str, object]:
    mock = {"base_url": url, "api_key": "sk-upstream", "apis": APIS, **(upstream or {})}  # type: ignore[dict-item]
    return config(url, upstreams={"mock": mock}, routes=ROUTES, prices=PRICES, **blocks)


async def script(visit: Visit) -> None:
    await visit.answer(json.dumps(MODELS).encode() if visit.head[:3] == b"GET" else ANSWER.encode())


async def ask(
    proxy: Running,
    *bodies: bytes,
    path: str = "/v1/chat/completions",
    key: str = KEY,
    headers: tuple[str, ...] = (),
) -> list[RawAnswer]:
    """Each on one connection, so that the later ones are a known caller's."""
    client = await RawClient.connect(proxy.address)
    answers = []
    for body in bodies:
        await client.post(body, path=path, key=key, headers=headers)
        answers.append(await client.answer())
    await client.aclose()
    return answers


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@pytest.mark.parametrize("usage", ["observe", "inject"])
async def test_the_vendor_gets_what_a_client_would_send_who_knows_the_name(
    tmp_path: Path, wire: Wire, usage: str
) -> None:
    said = [
        wire.body(text, stream=stream, model=model, **more)
        for model in ("fast", REAL)
        for stream in (False, True)
        for text, more in (("Hello", {}), ('"model": "fast"', {wire.cap: 9}), ("🌊" * 4000, {}))
    ]
    said = [
        form
        for body in said
        for form in (body, json.dumps(json.loads(body), separators=(",", ":")).encode())
    ]
    half = len(said) // 2
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, aliased(upstream.url, upstream={"stream_usage": usage})) as proxy,
    ):
        # Each body twice: the second time its head is known, with the model that it asked for.
        answers = await ask(proxy, *(body for body in said for _ in range(2)), path=wire.path)
        rows = await proxy.records(4 * half)
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body == ANSWER.encode() for answer in answers)
    journal = b"".join(path.read_bytes() for path in proxy.data_dir.glob("journal/*/*"))
    # For a start after a crash, in whose config the alias may lead elsewhere.
    assert journal.count(b'"model_sent":"%s"' % REAL.encode()) == 2 * half
    sent = [(visit.head, visit.body) for visit in upstream.visits]
    assert sent[: 2 * half] == sent[2 * half :]
    assert all(json.loads(body)["model"] == REAL for _, body in sent)
    assert [row["model_requested"] for row in rows] == ["fast"] * 2 * half + [REAL] * 2 * half
    differ = {
        name
        for name in rows[0]
        for n in range(2 * half)
        if rows[n][name] != rows[n + 2 * half][name]
    }
    told = {
        "seq",
        "id",
        "model_requested",
        "bytes_in",
        "started_at_ms",
        "booked_at_ms",
        "duration_ms",
        "first_byte_ms",
        "chunks",
    }
    assert differ <= told | {"prev_hash", "hash"}


async def test_escapes_in_the_name_and_other_endpoints(tmp_path: Path) -> None:
    async with raw_upstream(script) as upstream, running(tmp_path, aliased(upstream.url)) as proxy:
        await ask(
            proxy,
            rb'{"input": "x", "model": "f\u0061st", "user": "fast"}',
            path="/v1/embeddings",
        )
        await ask(proxy, b'{"prompt": "fast","model":"fast"}', path="/v1/completions")
        twice = await ask(proxy, b'{"model":"fast","messages":[],"model":"fast"}')
        (count,) = await ask(
            proxy, b'{"model":"fast","messages":[]}', path="/v1/messages/count_tokens"
        )
    assert [visit.body for visit in upstream.visits] == [
        b'{"input": "x", "model": "%b", "user": "fast"}' % REAL.encode(),
        b'{"prompt": "fast","model":"%b"}' % REAL.encode(),
        b'{"model":"%b","messages":[]}' % REAL.encode(),
    ]
    assert (twice[0].status, count.status) == (400, 200)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_coded_body_goes_out_without_its_coding_and_its_checksums(
    tmp_path: Path, stream: bool
) -> None:
    body = json.dumps({"model": "fast", "stream": stream, "messages": []}).encode()
    fields = (
        "Content-Encoding: gzip",
        "Content-MD5: x",
        "Digest: y",
        "Accept-Encoding: gzip",
        "X-Kept: 1",
    )
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, aliased(upstream.url, upstream={"stream_usage": "inject"})) as proxy,
    ):
        (answer,) = await ask(proxy, gzip.compress(body), headers=fields)
        await ask(
            proxy,
            body.replace(b"fast", REAL.encode()),
            headers=("Accept-Encoding: gzip", "X-Kept: 1"),
        )
    coded, plain = upstream.visits
    assert answer.status == 200
    assert (coded.head, coded.body) == (plain.head, plain.body)
    assert coded.header("x-kept") == b"1" and coded.header("content-encoding") is None


async def test_a_large_body_is_renamed_too(tmp_path: Path) -> None:
    text = "word " * 600_000
    body = json.dumps(
        {"messages": [{"role": "user", "content": text}], "model": "fast", "n": 1}
    ).encode()
    async with raw_upstream(script) as upstream, running(tmp_path, aliased(upstream.url)) as proxy:
        (answer,) = await ask(proxy, body)
        (row,) = await proxy.records(1)
    assert answer.status == 200 and row["bytes_in"] == len(body)
    assert upstream.visits[0].body == body.replace(
        b'"model": "fast"', b'"model": "%b"' % REAL.encode()
    )


async def test_it_is_priced_as_what_the_vendor_gets_and_cries_no_wolf(tmp_path: Path) -> None:
    async def silent(visit: Visit) -> None:
        # Without a model in the answer the price hangs on what was sent.
        await visit.answer(
            json.dumps({"choices": [{"message": {"content": "x"}}], "usage": USAGE}).encode()
        )

    for answers in (script, silent):
        async with raw_upstream(answers) as upstream:
            (tmp_path / answers.__name__).mkdir()
            async with running(tmp_path / answers.__name__, aliased(upstream.url)) as proxy:
                await ask(proxy, b'{"model":"fast","messages":[]}')
                (row,) = await proxy.records(1)
                counters = proxy.server.services.metrics
                assert counters._substituted == 0
        assert (row["cost_nano"], row["price_model"]) == (3_000_000_000, REAL)


async def test_limits_for_either_name_count_it_and_go_on_after_a_restart(tmp_path: Path) -> None:
    limits = ["1 requests/day for vendor/*", "2 requests/day for fast"]
    body = b'{"model":"%b","messages":[]}'
    async with raw_upstream(script) as upstream:
        keys: dict[str, Any] = {"alice": {"secret": KEY, "limits": limits}}
        async with running(tmp_path, aliased(upstream.url, keys=keys)) as proxy:
            first = await ask(proxy, body % b"fast", body % b"fast", body % REAL.encode())
            await proxy.records(1)
        async with running(tmp_path, aliased(upstream.url, keys=keys)) as proxy:
            again = await ask(proxy, body % b"fast", body % b"other")
    assert [answer.status for answer in first] == [200, 429, 429]
    assert b"vendor/*" in first[1].body
    assert [answer.status for answer in again] == [429, 200]


async def test_the_allow_list_names_what_callers_say(tmp_path: Path) -> None:
    async with raw_upstream(script) as upstream:
        keys = {
            "alice": {"secret": KEY, "models": ["fast"]},
            "bob": {"secret": "sk-bob", "models": ["vendor/*"]},
            "carol": {"secret": "sk-carol"},
        }
        async with running(tmp_path, aliased(upstream.url, keys=keys)) as proxy:
            statuses = [
                (await ask(proxy, b'{"model":"%b","messages":[]}' % model.encode(), key=key))[
                    0
                ].status
                for key in (KEY, "sk-bob")
                for model in ("fast", REAL)
            ]
            lists = []
            for key in (KEY, "sk-bob", "sk-carol"):
                client = await RawClient.connect(proxy.address)
                for path in ("/v1/models", "/v1/models/fast"):
                    await client.send(
                        f"GET {path} HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
                    )
                    lists.append(await client.answer())
                await client.aclose()
    assert statuses == [200, 403, 403, 200]
    assert [answer.status for answer in lists] == [200, 200, 200, 404, 200, 200]
    assert json.loads(lists[0].body)["data"] == [
        {"id": "fast", "object": "model", "context_length": 7}
    ]
    assert json.loads(lists[1].body)["id"] == "fast"
    assert [entry["id"] for entry in json.loads(lists[2].body)["data"]] == [REAL]
    assert [entry["id"] for entry in json.loads(lists[4].body)["data"]] == [REAL, "m", "fast"]
