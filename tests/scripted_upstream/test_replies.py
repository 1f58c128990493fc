"""What a scripted model says: documented answers, echoes, what shortens them, tool calls,
structured text."""

from __future__ import annotations

import msgspec
import pytest

from proxy.scripted_upstream import pieces
from tests.scripted_upstream.asking import PARIS, QUESTION, ask, objects, spoken, whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "It's 3.14, no?",
        "量子计算是一种方式。",
        "a\n\nb  c\t",
        "naïve — 😀 café",
        "_x9 \u3000漢",
    ],
)
def test_pieces_join_to_the_text(text):
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize(
    ("model", "question", "answer"),
    [
        ("deepseek-v3.2", "What is the capital of France?", PARIS),
        ("gemini-3-flash-preview", "And if you multiply that by 3?", "4 × 3 = 12."),
        (
            "qwen3-max-2026-01-23",
            "用一句话介绍量子计算。",
            "量子计算是一种利用量子力学原理进行信息处理的新型计算方式。",
        ),
        (
            "gpt-4o",
            "介绍一下深度学习的基本原理。",
            "深度学习是机器学习的一个子领域，它使用多层神经网络来学习数据的表征。",
        ),
        ("claude-sonnet-4-5", "Hello!", "Hello! How can I help you today?"),
        ("any-other-name", "ping", "You said: ping"),
    ],
)
def test_documented_questions_get_their_answers_as_json_and_as_a_stream(model, question, answer):
    messages = [{"role": "user", "content": question}]
    plain, stream = ask(model, messages), ask(model, messages, stream=True)
    assert whole(plain)["choices"][0]["message"]["content"] == plain.text == answer
    assert spoken(stream) == stream.text == answer
    assert stream.body.endswith(b"data: [DONE]\n\n")


def test_earlier_messages_are_echoed():
    turns = [
        {"role": "system", "content": "You are a math tutor."},
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "2 + 2 = 4."},
        {"role": "user", "content": "And if you multiply that by 3?"},
    ]
    assert ask("gemini-3-flash-preview", turns).text == (
        "4 × 3 = 12. (Before that: system: You are a math tutor.; user: What is 2+2?; assistant: 2 + 2 = 4.)"
    )


def test_earlier_turns_count_as_cached():
    turns = [
        {"role": "user", "content": "word " * 40},
        {"role": "assistant", "content": "yes"},
        *QUESTION,
    ]
    assert ask(messages=turns).usage["prompt_tokens_details"]["cached_tokens"] == 48


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({}, PARIS, "stop"),
        ({"max_tokens": 3}, "The capital of", "length"),
        ({"max_tokens": 0}, "", "length"),
        ({"max_tokens": 7}, PARIS, "stop"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "The capital", "length"),
        ({"max_completion_tokens": 18, "reasoning_effort": "low"}, "The capital", "length"),
        ({"stop": " is"}, "The capital of France", "stop"),
        ({"stop": ["x", "France"]}, "The capital of ", "stop"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_shortens_an_answer(options, text, reason, stream):
    answer = ask("gpt-4o", stream=stream, **options)
    assert answer.text == text
    last = objects(answer)[-1] if stream else whole(answer)
    assert last["choices"][0]["finish_reason"] == reason
    if stream:
        assert spoken(answer) == text


def test_the_filter_ends_an_answer():
    answer = ask("gpt-4o", [{"role": "user", "content": "say it [content_filter]"}])
    assert whole(answer)["choices"][0]["finish_reason"] == "content_filter"
    assert "You said: say it [content_filter]".startswith(answer.text)


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "获取指定城市的天气",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "城市名称"}},
            "required": ["city"],
        },
    },
}
WEATHER = [{"role": "user", "content": "北京今天天气怎么样?"}]


def test_a_tool_is_called_as_the_document_shows():
    plain = ask("qwen3-max-2026-01-23", WEATHER, tools=[TOOL])
    choice = whole(plain)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": "call_0_get_weather",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"北京"}'},
        }
    ]
    stream = ask("qwen3-max-2026-01-23", WEATHER, tools=[TOOL], stream=True)
    calls = [
        call
        for event in objects(stream)
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    assert calls[0]["id"] == "call_0_get_weather"
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city":"北京"}'


@pytest.mark.parametrize(
    ("model", "options", "called"),
    [
        ("gpt-4o", {"tools": [TOOL], "tool_choice": "none"}, []),
        (
            "gpt-4o",
            {"tools": [TOOL, {"type": "function", "function": {"name": "other"}}]},
            ["get_weather"],
        ),
        (
            "gpt-4o",
            {
                "tools": [TOOL, {"type": "function", "function": {"name": "other"}}],
                "tool_choice": {"type": "function", "function": {"name": "other"}},
            },
            ["other"],
        ),
        (
            "demo-tools",
            {"tools": [TOOL, {"type": "function", "function": {"name": "other"}}]},
            ["get_weather", "other"],
        ),
        ("demo-tools", {}, ["get_weather"]),
    ],
)
def test_which_tools_are_called(model, options, called):
    calls = whole(ask(model, WEATHER, **options))["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == called


def test_a_tools_answer_is_answered_in_text():
    calls = whole(ask("demo-tools", WEATHER))["choices"][0]["message"]["tool_calls"]
    turns = [
        *WEATHER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "sunny"},
    ]
    assert ask("demo-tools", turns, tools=[TOOL]).text.startswith(
        "The tool answered call_0_get_weather: sunny"
    )


def test_structured_answers():
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer"},
            "tags": {"type": "array", "items": {}},
        },
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert msgspec.json.decode(ask(response_format=wanted).text) == {
        "city": "Paris",
        "kind": "a",
        "count": 1,
        "tags": ["Paris"],
    }
    assert msgspec.json.decode(ask(response_format={"type": "json_object"}).text) == {
        "answer": PARIS
    }
