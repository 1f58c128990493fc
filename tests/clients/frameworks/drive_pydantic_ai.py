"""pydantic-ai: an agent over OpenAIChatModel, OpenAIResponsesModel or AnthropicModel."""

from __future__ import annotations

import asyncio

from anthropic import AsyncAnthropic
from driving import QUESTION, WEATHER, drive, get_weather, wire
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

OPENAI = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}


def agent(base_url: str, key: str, model: str, *tools: object) -> Agent:
    if wire() in OPENAI:
        client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
        made = OPENAI[wire()](model, provider=OpenAIProvider(openai_client=client))
    else:
        root = base_url.removesuffix("/v1")
        client = AsyncAnthropic(base_url=root, api_key=key, max_retries=0)
        made = AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))
    return Agent(made, tools=list(tools))


def spent(run) -> list[object]:
    usage = run.usage
    return [usage.requests, usage.input_tokens, usage.output_tokens]


def whole(*target: str) -> object:
    run = agent(*target).run_sync(QUESTION)
    return [run.output, spent(run)]


async def told(target: tuple[str, ...], text: str, *tools: object) -> object:
    async with agent(*target, *tools).run_stream(text) as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
        return [pieces, spent(run)]


def streamed(*target: str) -> object:
    return asyncio.run(told(target, QUESTION))


def tools(*target: str) -> object:
    run = agent(*target, get_weather).run_sync(WEATHER)
    return [run.output, spent(run)]


def tools_streamed(*target: str) -> object:
    return asyncio.run(told(target, WEATHER, get_weather))


if __name__ == "__main__":
    drive(
        "pydantic-ai",
        {
            "whole": whole,
            "streamed of each": streamed,
            "tools": tools,
            "tools, streamed": tools_streamed,
        },
    )
