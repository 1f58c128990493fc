"""llm: its models of an OpenAI-compatible server, as `extra-openai-models.yaml` makes them."""

from __future__ import annotations

from driving import QUESTION, WEATHER, drive, get_weather
from llm.default_plugins.openai_models import Chat


def chat(base_url: str, key: str, model: str) -> Chat:
    made = Chat(model, model_name=model, api_base=base_url, can_stream=True, supports_tools=True)
    made.key = key
    return made


def told(response) -> object:
    text = list(response)
    usage = response.usage()
    return {"chunks": text, "usage": [usage.input, usage.output], "json": response.response_json}


def whole(*target: str) -> object:
    return told(chat(*target).prompt(QUESTION, stream=False))


def streamed(*target: str) -> object:
    return told(chat(*target).prompt(QUESTION))


def chained(stream: bool, *target: str) -> object:
    chain = chat(*target).chain(WEATHER, tools=[get_weather], stream=stream)
    return [
        told(response) | {"calls": [[call.name, call.arguments] for call in response.tool_calls()]}
        for response in chain.responses()
    ]


def tools(*target: str) -> object:
    return chained(False, *target)


def tools_streamed(*target: str) -> object:
    return chained(True, *target)


if __name__ == "__main__":
    drive(
        "llm",
        {
            "whole": whole,
            "streamed of each": streamed,
            "tools": tools,
            "tools, streamed": tools_streamed,
        },
    )
