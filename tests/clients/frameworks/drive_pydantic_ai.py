"""pydantic-ai: an agent over OpenAIChatModel."""

from __future__ import annotations

import asyncio

from driving import QUESTION, WEATHER, drive, get_weather
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def agent(base_url: str, key: str, model: str, *tools: object) -> Agent:
    return Agent(
        OpenAIChatModel(model, provider=OpenAIProvider(base_url=base_url, api_key=key)),
        tools=list(tools),
    )


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
