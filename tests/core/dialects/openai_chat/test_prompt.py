"""Which prompts are counted as a whole, and from which fields of a request."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.endpoints import CHAT, COMPLETIONS, EMBEDDINGS
from proxy.core.dialects.openai_chat.prompt import count_prompt_of
from proxy.core.tokens.prompts import Prompt

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def counted(endpoint: str, **fields: object) -> Prompt | None:
    body = json.dumps({"model": "gpt-4o", **fields}).encode()
    return count_prompt_of(
        read_call(endpoint, body), body, "o200k_base", (), lambda text: len(text.split())
    )


@pytest.mark.parametrize(
    ("endpoint", "field", "value"),
    [
        (CHAT, "messages", [{"role": "user", "content": "one two three"}]),
        (COMPLETIONS, "prompt", "one two three"),
        (EMBEDDINGS, "input", ["one two", "three"]),
    ],
)
def test_each_endpoint_has_its_prompt_in_a_field_of_its_own(
    endpoint: str, field: str, value: object
) -> None:
    found, nothing = counted(endpoint, **{field: value}), counted(endpoint)
    assert found is not None and nothing is not None
    assert found.exact and found.tokens >= nothing.tokens + 3


def test_tools_count_under_both_of_their_names() -> None:
    messages = [{"role": "user", "content": "x"}]
    none, tools, functions, both = (
        counted(CHAT, messages=messages, **more)
        for more in (
            {},
            {"tools": [TOOL]},
            {"functions": [TOOL["function"]]},
            {"tools": [TOOL], "functions": [TOOL["function"]]},
        )
    )
    assert none is not None and tools is not None and functions is not None and both is not None
    assert none.tokens < tools.tokens < both.tokens and none.tokens < functions.tokens


def test_half_a_character_does_not_keep_it_from_being_counted() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a \\ud83d b"}]}'
    call = read_call(CHAT, body)
    assert count_prompt_of(call, body, "o200k_base", (), lambda text: 1) is not None


def test_what_cannot_be_decoded_is_left_to_others() -> None:
    # Python 3.13 decodes 5,000 lists in each other.
    body = b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    call = read_call(CHAT, b'{"model":"m"}')
    assert count_prompt_of(call, body, "o200k_base", (), lambda text: 1) is None
