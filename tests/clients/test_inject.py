"""`stream_usage: inject` under the official SDKs: what each yields is what it yields directly, and
the record is exact wherever the vendor answers the question."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from proxy.scripted_upstream import Script, serving
from tests.clients.cases import Case, chat
from tests.clients.drivers import Node
from tests.support.running import config, running

ASK = [{"role": "user", "content": "Tell me a short story."}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
MODELS = {
    "demo-chat": "reported",
    "demo-tools": "reported",
    "demo-reports": "reported",
    "demo-silent": "estimated",
    "demo-cumulative": "reported",
    "demo-crlf": "reported",
    "demo-cr": "reported",
    "demo-comments": "reported",
    "demo-nodone": "reported",
    "deepseek-v3.2": "reported",
    "qwen3-max-2026-01-23": "reported",
    "gpt-4o": "reported",
}


async def yielded(client: AsyncOpenAI, model: str, **options: Any) -> list[dict[str, Any]]:
    stream = await client.chat.completions.create(model=model, messages=ASK, stream=True, **options)  # type: ignore[call-overload]
    # The scripted vendor makes its ids from the request, which is not quite the same here.
    return [chunk.model_dump(exclude={"id"}) async for chunk in stream]


@pytest.mark.parametrize("asks", [None, False, True])
async def test_the_sdk_sees_what_it_sees_directly(tmp_path: Path, asks: bool | None) -> None:
    options: dict[str, Any] = {"tools": TOOLS}
    if asks is not None:
        options["stream_options"] = {"include_usage": asks}
    async with serving(Script(pace_s=0.0)) as upstream:
        settings = config(
            upstream.base_url,
            upstreams={
                "mock": {"base_url": upstream.base_url, "api_key": "k", "stream_usage": "inject"}
            },
        )
        async with running(tmp_path, settings) as proxy:
            direct = AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0)
            through = AsyncOpenAI(base_url=proxy.base_url, api_key="sk-test", max_retries=0)
            async with direct, through:
                for model in MODELS:
                    expected = await yielded(direct, model, **options)
                    if not asks:  # some vendors state their usage unasked: that event goes too
                        expected = [chunk for chunk in expected if chunk["choices"]]
                    assert await yielded(through, model, **options) == expected, model
            rows = await proxy.records(len(MODELS))
            assert {row["model_requested"]: row["source"] for row in rows} == MODELS


async def test_the_node_sdk_sees_what_it_sees_directly(tmp_path: Path, node: Node) -> None:
    """The same with the other official SDK, usage asked for and not, tools called."""
    asked = [
        {},
        {"stream_options": {"include_usage": True}},
        {"stream_options": {"include_usage": False}},
    ]
    cases = [
        Case(
            name=f"{model} {options}",
            body=chat(model, "Tell me a short story.", stream=True, tools=TOOLS, **options),
        )
        for model in MODELS
        for options in asked
    ]
    async with serving(Script(pace_s=0.0)) as upstream:
        settings = config(
            upstream.base_url,
            upstreams={
                "mock": {"base_url": upstream.base_url, "api_key": "k", "stream_usage": "inject"}
            },
        )
        async with running(tmp_path, settings) as proxy:
            direct, through = await asyncio.to_thread(
                node.run, [(upstream.base_url, "k"), (proxy.base_url, "sk-test")], cases
            )
            rows = {row["id"]: row for row in await proxy.records(len(cases))}
    for one, other in zip(direct, through, strict=True):
        asks = one.body.get("stream_options") == {"include_usage": True}
        assert isinstance(one.parsed, list) and one.error is None and isinstance(other.parsed, list)
        expected = [chunk for chunk in one.parsed if asks or chunk["choices"]]
        assert [comparable(chunk) for chunk in other.parsed] == [
            comparable(chunk) for chunk in expected
        ], one.name
        assert rows[other.id]["source"] == MODELS[str(one.body["model"])], one.name


def comparable(chunk: dict[str, object]) -> dict[str, object]:
    """Without the id, as above, and without the `usage: null` that a vendor adds to each event once
    it is asked: this SDK hands on what came."""
    return {
        name: value
        for name, value in chunk.items()
        if name != "id" and (name, value) != ("usage", None)
    }
