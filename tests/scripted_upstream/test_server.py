"""The scripted upstream over HTTP: it writes what `expected` says, ends as the fault says, and its
log tells what arrived."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import signal
import sys

import aiohttp
import msgspec
import openai
import pytest
from yarl import URL

from proxy.scripted_upstream import AnswerLine, RequestLine, Script, expected, read_log, serving
from tests.support.waiting import guard, until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def body(model: str = "demo-chat", **rest: object) -> bytes:
    return msgspec.json.encode({"model": model, "messages": QUESTION, **rest})


@pytest.fixture
async def upstream():
    async with serving() as running:
        yield running


@pytest.fixture
async def client():
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        "demo-chat",
        "demo-gzip",
        "demo-error-429",
        "demo-html",
        "demo-nodone",
        "gpt-4o",
        "qwen3-max-2026-01-23",
    ],
)
async def test_what_is_written_is_what_was_expected(upstream, client, model, stream):
    sent = body(model, stream=stream)
    answer = expected(sent)
    async with client.post(f"{upstream.base_url}/chat/completions", data=sent) as response:
        assert (response.status, await response.read()) == (answer.status, answer.body)
        assert set(answer.headers) <= {
            (name.lower(), value) for name, value in response.headers.items()
        }


@pytest.mark.parametrize(
    "model",
    [
        "deepseek-v3.2",
        "gemini-3-flash-preview",
        "gpt-4o",
        "qwen3-max-2026-01-23",
        "claude-sonnet-4-5",
        "deepseek-chat",
        "demo-chat",
    ],
)
async def test_the_official_sdk_reads_every_vendor(upstream, model):
    async with openai.AsyncOpenAI(
        base_url=upstream.base_url, api_key="sk-test", max_retries=0
    ) as sdk:
        whole = await sdk.chat.completions.create(model=model, messages=QUESTION)
        assert whole.choices[0].message.content == "The capital of France is Paris."
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (14, 7)
        stream = await sdk.chat.completions.create(
            model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            == "The capital of France is Paris."
        )
        assert chunks[-1].usage.completion_tokens == 7
        with pytest.raises(openai.RateLimitError):
            await sdk.chat.completions.create(model="demo-error-429", messages=QUESTION)


async def test_embeddings_and_models_with_the_sdk(upstream):
    async with openai.AsyncOpenAI(
        base_url=upstream.base_url, api_key="sk-test", max_retries=0
    ) as sdk:
        embeddings = await sdk.embeddings.create(model="text-embedding-3-small", input="Hello!")
        assert len(embeddings.data[0].embedding) == 8
        names = [model.id async for model in sdk.models.list()]
        assert {"demo-chat", "qwen3-max-2026-01-23", "gpt-4o", "claude-sonnet-4-5"} <= set(names)
        assert (await sdk.models.retrieve("meta-llama/Llama-3")).id == "meta-llama/Llama-3"
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("no-such-model")


async def test_events_leave_one_by_one_and_only_when_let(client):
    asked, gates = [asyncio.Event() for _ in range(20)], [asyncio.Event() for _ in range(20)]

    async def gate(test_id: str | None, number: int) -> None:
        assert test_id == "gated"
        asked[number].set()
        await gates[number].wait()

    sent = body(stream=True)
    async with (
        guard(),
        serving(Script(before_event=gate)) as upstream,
        client.post(
            f"{upstream.base_url}/chat/completions", data=sent, headers={"x-test-id": "gated"}
        ) as response,
    ):
        for number, event in enumerate(expected(sent).events):
            await asked[number].wait()
            gates[number].set()
            assert await response.content.readexactly(len(event)) == event
        assert await response.content.read() == b""


@pytest.mark.parametrize(
    ("model", "stream", "reset"),
    [
        ("demo-cut:4", True, True),
        ("demo-cut", False, True),
        ("demo-close:4", True, False),
        ("demo-close", False, False),
    ],
)
async def test_answers_cut_in_the_middle(upstream, client, model, stream, reset):
    sent = body(model, stream=stream)
    received = bytearray()
    async with client.post(f"{upstream.base_url}/chat/completions", data=sent) as response:
        with pytest.raises(aiohttp.ClientPayloadError) as raised:
            async for part in response.content.iter_any():
                received += part
    assert bytes(received) == expected(sent).body
    assert ("ConnectionResetError" in str(raised.value)) == reset


async def test_no_head(upstream, client):
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post(f"{upstream.base_url}/chat/completions", data=body("demo-no-head"))


@pytest.mark.parametrize("model", ["demo-hang", "demo-stall:1"])
async def test_a_silent_answer_ends_when_the_client_leaves(client, tmp_path, model):
    log = tmp_path / "log"
    async with serving(Script(log=log)) as upstream:
        task = asyncio.create_task(
            _first_byte(client, f"{upstream.base_url}/chat/completions", body(model, stream=True))
        )
        if model == "demo-hang":
            async with guard():
                while not log.exists() or not log.stat().st_size:
                    await asyncio.sleep(0.005)
            task.cancel()
        else:
            assert (await task).startswith(b"data: ")
        await until(lambda: [line for line in read_log(log) if isinstance(line, AnswerLine)])
    assert read_log(log)[-1].ended == "client_left"


async def _first_byte(client, url, sent):
    async with client.post(url, data=sent) as response:
        return await response.content.readany()


async def test_a_shutdown_ends_silent_answers_itself(client, tmp_path):
    async with guard():
        async with serving(Script(log=tmp_path / "log")) as upstream:
            response = await client.post(
                f"{upstream.base_url}/chat/completions", data=body("demo-stall:1", stream=True)
            )
            await response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert read_log(tmp_path / "log")[-1].ended == "fault"


async def test_the_log_tells_what_arrived_and_what_was_written(client, tmp_path):
    log = tmp_path / "log"
    packed = gzip.compress(body("demo-cut:2", stream=True))
    async with serving(Script(log=log)) as upstream:
        headers = {"X-Test-Id": "a1", "Content-Encoding": "gzip", "b": "2", "A": "1"}
        async with client.post(
            URL(f"{upstream.base_url}/chat/completions?x=%2F", encoded=True),
            data=packed,
            headers=headers,
        ) as response:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        async with client.get(f"{upstream.url}/elsewhere") as response:
            assert response.status == 404
    first, answer, second, not_found = read_log(log)
    assert isinstance(first, RequestLine)
    assert isinstance(second, RequestLine)
    assert (first.order, first.method, first.path, first.test_id, first.complete) == (
        1,
        "POST",
        "/v1/chat/completions?x=%2F",
        "a1",
        True,
    )
    assert (first.body_sha256, first.body_bytes) == (
        hashlib.sha256(packed).hexdigest(),
        len(packed),
    )
    assert [pair for pair in first.headers if pair[0] in ("A", "b", "X-Test-Id")] == [
        ("A", "1"),
        ("b", "2"),
        ("X-Test-Id", "a1"),
    ]
    written = expected(body("demo-cut:2", stream=True))
    assert (answer.order, answer.status, answer.events, answer.bytes, answer.ended) == (
        1,
        200,
        2,
        len(written.body),
        "fault",
    )
    assert (not_found.order, not_found.status, not_found.ended) == (2, 404, "complete")


async def test_as_a_process_of_its_own(client, tmp_path):
    command = (
        sys.executable,
        "-m",
        "proxy.scripted_upstream",
        "--port",
        "0",
        "--log",
        str(tmp_path / "log"),
    )
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    try:
        base_url = (await process.stdout.readline()).decode().split()[-1]
        async with client.post(f"{base_url}/chat/completions", data=body()) as response:
            assert await response.read() == expected(body()).body
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert len(read_log(tmp_path / "log")) == 2
