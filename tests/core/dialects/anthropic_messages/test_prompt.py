"""A prompt counts all of its texts, whatever they are wrapped in."""

from __future__ import annotations

import json

from proxy.core.dialects.anthropic_messages.call import read_call
from proxy.core.dialects.anthropic_messages.endpoints import MESSAGES
from proxy.core.dialects.anthropic_messages.prompt import count_prompt
from proxy.core.tokens.prompts import Prompt

A, B, C = "alpha " * 20, "beta " * 20, "gamma " * 20


def counted(**members: object) -> Prompt:
    body = json.dumps({"model": "m", "max_tokens": 9} | members).encode()
    prompt = count_prompt(read_call(MESSAGES, body), body, "o200k_base", (), len)
    assert prompt is not None
    return prompt


def said(*content: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(content)}]


def test_every_text_counts_once() -> None:
    plain = counted(messages=[{"role": "user", "content": A}])
    assert len(A) <= plain.tokens <= len(A) + 9
    assert not (plain.exact or plain.guessed)
    wrapped = counted(
        system=[{"type": "text", "text": A}],
        messages=said(
            {"type": "text", "text": B},
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": C}]},
        ),
    )
    assert wrapped.characters == len(A + B + C)
    assert not wrapped.guessed


def test_calls_and_tools_count_as_the_json_that_they_are() -> None:
    call = {"type": "tool_use", "id": "t", "name": "look", "input": {"text": A}}
    tools = [{"name": "look", "description": B, "input_schema": {"type": "object"}}]
    prompt = counted(messages=said(call), tools=tools)
    assert prompt.characters > len(A + B)


def test_what_is_no_text_counts_by_its_bytes() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x" * 100}
    prompt = counted(messages=said({"type": "document", "source": source, "title": A}))
    assert prompt.guessed
    assert prompt.tokens >= len(A) + 200


def test_nothing_that_is_nested_or_odd_is_too_much() -> None:
    content: object = A
    for _ in range(90):
        content = [{"type": "tool_result", "content": content}]
    assert counted(messages=[{"role": "user", "content": content}]).characters == len(A)
    for odd in (7, None, "x", {"a": 1}, [[[]]], [None, 7]):
        assert counted(messages=odd, system=odd, tools=odd).tokens >= 0
    assert count_prompt(read_call(MESSAGES, b'{"model":"m"}'), b"\xff", "o200k_base", (), len) is None  # fmt: skip


def test_no_member_hides_a_prompt() -> None:
    hidden = "x" * 40_000
    for more in (
        {"documents": [{"text": hidden}]},
        {"prompt": hidden},
        {"input": hidden},
        {"extra": {"system": hidden}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"description": hidden}}}},
        {"messages": [{"role": "user", "content": A, "reasoning_content": hidden}]},
        {"messages": [{"role": "assistant", "content": A, "tool_calls": [{"arguments": hidden}]}]},
        {"messages": said({"type": "text", "text": A}, {"type": "odd", "value": hidden})},
        {"messages": said({"type": "text", "text": {"value": hidden}})},
        {"messages": said({"type": "text", "text": A, "data": hidden})},
        {"messages": said({"type": "text", "text": A, hidden: 1})},
        {
            "messages": said(
                {
                    "type": "web_search_tool_result",
                    "content": [{"type": "web_search_result", "encrypted_content": hidden}],
                }
            )
        },
    ):
        prompt = counted(**({"messages": said({"type": "text", "text": A})} | more))
        assert prompt.tokens >= len(hidden) // 4, more
        assert prompt.guessed


def test_what_is_usual_beside_a_prompt_is_no_guess() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": "s" * 4000}
    cached = {"type": "text", "text": A, "cache_control": {"type": "ephemeral"}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    prompt = counted(
        messages=said(thinking, cached, call),
        metadata={"user_id": "u" * 200},
        thinking={"type": "enabled", "budget_tokens": 1024},
        context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
        output_config={"effort": "medium"},
        tool_choice={"type": "auto"},
        stop_sequences=["x" * 100],
    )
    assert not prompt.guessed
