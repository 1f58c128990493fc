"""openai-agents over chat completions, or over responses as it is by default."""

from __future__ import annotations

import asyncio

import driving  # sets the environment that the library reads
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}
WEATHER_TOOL = function_tool(driving.get_weather)


async def run(target: tuple[str, ...], text: str, tools: list[object], *, stream: bool) -> object:
    base_url, key, model = target
    async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        agent = Agent(
            name="teller",
            model=MODELS[driving.wire()](model=model, openai_client=client),
            tools=tools,
        )
        if not stream:
            done = await Runner.run(agent, text)
            events = []
        else:
            done = Runner.run_streamed(agent, text)
            events = [
                event.data.model_dump(mode="json")
                async for event in done.stream_events()
                if event.type == "raw_response_event"
            ]
            for event in events:  # its own clock
                if isinstance(event.get("response"), dict):
                    event["response"]["created_at"] = 0
        usage = done.context_wrapper.usage
        return [
            events,
            done.final_output,
            [item.type for item in done.new_items],
            [usage.requests, usage.input_tokens, usage.output_tokens],
        ]


def whole(*target: str) -> object:
    return asyncio.run(run(target, driving.QUESTION, [], stream=False))


def streamed(*target: str) -> object:
    return asyncio.run(run(target, driving.QUESTION, [], stream=True))


def tools(*target: str) -> object:
    return asyncio.run(run(target, driving.WEATHER, [WEATHER_TOOL], stream=False))


def tools_streamed(*target: str) -> object:
    return asyncio.run(run(target, driving.WEATHER, [WEATHER_TOOL], stream=True))


if __name__ == "__main__":
    set_tracing_disabled(True)
    driving.drive(
        "openai-agents",
        {
            "whole": whole,
            "streamed of each": streamed,
            "tools": tools,
            "tools, streamed": tools_streamed,
        },
    )
