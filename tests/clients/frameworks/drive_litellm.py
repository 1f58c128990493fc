"""The litellm SDK: litellm.completion with an OpenAI-compatible api_base."""

from __future__ import annotations

import driving  # sets the environment that litellm reads while it is imported
import litellm

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def complete(target: tuple[str, ...], messages: list[object], **options: object):
    base_url, key, model = target
    return litellm.completion(
        model=f"openai/{model}",
        api_base=base_url,
        api_key=key,
        messages=messages,
        num_retries=0,
        **options,
    )


def asked(text: str) -> list[object]:
    return [{"role": "user", "content": text}]


def plain(answer) -> object:
    # `created` of a stream is litellm's own clock.
    return answer.model_dump(mode="json", exclude={"id", "created"})


def whole(*target: str) -> object:
    return plain(complete(target, asked(driving.QUESTION)))


def streamed(*target: str) -> object:
    return [plain(chunk) for chunk in complete(target, asked(driving.QUESTION), stream=True)]


def answered(message) -> list[object]:
    calls = message.tool_calls
    answers = [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": driving.get_weather(**litellm.utils.json.loads(call.function.arguments)),
        }
        for call in calls
    ]
    return [*asked(driving.WEATHER), message.model_dump(exclude_none=True), *answers]


def tools(*target: str) -> object:
    called = complete(target, asked(driving.WEATHER), tools=[WEATHER_TOOL])
    return [
        plain(called),
        plain(complete(target, answered(called.choices[0].message), tools=[WEATHER_TOOL])),
    ]


def tools_streamed(*target: str) -> object:
    chunks = list(complete(target, asked(driving.WEATHER), tools=[WEATHER_TOOL], stream=True))
    called = litellm.stream_chunk_builder(chunks)
    return [
        plain(chunk)
        for chunk in (
            *chunks,
            *complete(
                target, answered(called.choices[0].message), tools=[WEATHER_TOOL], stream=True
            ),
        )
    ]


if __name__ == "__main__":
    driving.drive(
        "litellm",
        {
            "whole": whole,
            "streamed of each": streamed,
            "tools": tools,
            "tools, streamed": tools_streamed,
        },
    )
