"""A prompt's tokens, by the rules of chats: the same words come to about the same."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.call import read_call as read_chat
from proxy.core.dialects.openai_chat.prompt import count_prompt_of as count_chat
from proxy.core.dialects.openai_responses.call import read_call
from proxy.core.dialects.openai_responses.prompt import count_prompt_of

TEXT = "The ferry leaves at nine. " * 20


def tokens(**members: object) -> int:
    body = json.dumps({"model": "m", **members}).encode()
    prompt = count_prompt_of(
        read_call("/v1/responses", body), body, "o200k_base", (), lambda text: len(text) // 4
    )
    assert prompt is not None
    return prompt.tokens


def chat(**members: object) -> int:
    body = json.dumps({"model": "m", **members}).encode()
    prompt = count_chat(
        read_chat("/v1/chat/completions", body), body, "o200k_base", (), lambda text: len(text) // 4
    )
    assert prompt is not None
    return prompt.tokens


TOOL = {
    "name": "f",
    "description": "Looks up a tide.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
}


@pytest.mark.parametrize(
    ("response", "same"),
    [
        ({"input": TEXT}, {"messages": [{"role": "user", "content": TEXT}]}),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]}, {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}),
        ({"instructions": "Be short.", "input": TEXT}, {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": TEXT}]}),
        ({"input": TEXT, "tools": [{"type": "function", **TOOL}]}, {"messages": [{"role": "user", "content": TEXT}], "tools": [{"type": "function", "function": TOOL}]}),
        ({"input": [{"type": "function_call", "name": "f", "arguments": TEXT, "call_id": "c1", "id": "fc", "status": "completed"}]},
         {"messages": [{"tool_calls": [{"name": "f", "arguments": TEXT}]}]}),
        ({"input": [{"type": "function_call_output", "call_id": "c1", "output": TEXT}]}, {"messages": [{"content": TEXT}]}),
        ({"input": [{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": TEXT}]}]}, {"messages": [{"content": [{"type": "text", "text": TEXT}]}]}),
    ],
)  # fmt: skip
def test_a_prompt_comes_to_what_the_same_chat_does(
    response: dict[str, object], same: dict[str, object]
) -> None:
    assert abs(tokens(**response) - chat(**same)) <= 6


def test_what_no_rule_covers_counts_with_its_bytes() -> None:
    plain = tokens(input=TEXT)
    assert tokens(input=TEXT, unheard_of=TEXT) >= plain + len(TEXT) // 4
    assert tokens(input=[{"role": "user", "content": "x", "unheard_of": TEXT}]) >= len(TEXT) // 4
    assert tokens(input=[{"type": "reasoning", "encrypted_content": "k" * 800}]) >= 200
    assert (
        tokens(
            input=TEXT,
            include=["reasoning.encrypted_content"],
            reasoning={"effort": "low"},
            truncation="auto",
        )
        == plain
    )


def test_a_schema_of_the_answer_is_part_of_the_prompt() -> None:
    form = {"format": {"type": "json_schema", "name": "n", "schema": {"description": TEXT}}}
    assert tokens(input="x", text=form) >= len(TEXT) // 4
    assert tokens(input="x", text={"verbosity": "low"}) == tokens(input="x")


def test_a_body_that_cannot_be_read_is_not_counted() -> None:
    call = read_call("/v1/responses", b'{"model":"m","input":"x"}')
    assert count_prompt_of(call, b"[", "o200k_base", (), len) is None


@pytest.mark.parametrize("name", ["messages", "functions", "prediction", "prompt", "extra"])
def test_no_member_hides_a_prompt(name: str) -> None:
    assert tokens(**{"input": "x", name: [TEXT]}) >= tokens(input="x") + len(TEXT) // 4
