"""`stream_usage: inject` under the official SDK: what it yields is what it yields directly, and the record is exact wherever the vendor answers the question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from proxy.scripted import Script, serving
from tests.support.running import config, running

ASK = [{"role": "user", "content": "Tell me a short story."}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
MODELS = {
    "demo-chat": "reported", "demo-tools": "reported", "demo-reports": "reported", "demo-silent": "estimated", "demo-cumulative": "reported",
    "demo-crlf": "reported", "demo-cr": "reported", "demo-comments": "reported", "demo-nodone": "reported", "deepseek-v3.2": "reported",
    "qwen3-max-2026-01-23": "reported", "gpt-4o": "reported",
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
        settings = config(upstream.base_url, upstreams={"mock": {"base_url": upstream.base_url, "api_key": "k", "stream_usage": "inject"}})
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
