"""langchain-openai: ChatOpenAI, over chats and with `use_responses_api`."""

from __future__ import annotations

from driving import QUESTION, WEATHER, drive, get_weather, wire
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

WEATHER_TOOL = tool(get_weather)


def chat(base_url: str, key: str, model: str) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=base_url,
        api_key=key,
        model=model,
        max_retries=0,
        use_responses_api=wire() == "responses",
    )


def plain(message) -> object:
    return message.model_dump(mode="json", exclude={"id"})


def whole(*target: str) -> object:
    return plain(chat(*target).invoke(QUESTION))


def streamed(*target: str) -> object:
    return [plain(chunk) for chunk in chat(*target).stream(QUESTION)]


def tools(*target: str) -> object:
    model = chat(*target).bind_tools([WEATHER_TOOL])
    asked = [HumanMessage(WEATHER)]
    called = model.invoke(asked)
    answers = [
        ToolMessage(WEATHER_TOOL.invoke(call["args"]), tool_call_id=call["id"])
        for call in called.tool_calls
    ]
    return [plain(called), plain(model.invoke([*asked, called, *answers]))]


def tools_streamed(*target: str) -> object:
    model = chat(*target).bind_tools([WEATHER_TOOL])
    asked = [HumanMessage(WEATHER)]
    chunks = list(model.stream(asked))
    called = chunks[0]
    for chunk in chunks[1:]:
        called += chunk
    answers = [
        ToolMessage(WEATHER_TOOL.invoke(call["args"]), tool_call_id=call["id"])
        for call in called.tool_calls
    ]
    return [plain(message) for message in (*chunks, *model.stream([*asked, called, *answers]))]


if __name__ == "__main__":
    drive(
        "langchain-openai",
        {
            "whole": whole,
            "streamed of each": streamed,
            "tools": tools,
            "tools, streamed": tools_streamed,
        },
    )
