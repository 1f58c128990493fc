"""What a strict limit may admit: a prompt that stands in the body, as text."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.core.dialects.openai_responses.bounds import answers_max, holds_more_than_text

TEXT = {"role": "user", "content": [{"type": "input_text", "text": 'Say "image_url": "x".'}]}


def more(**members: object) -> bool:
    values = msgspec.json.decode(json.dumps({"model": "m", **members}), type=dict[str, msgspec.Raw])
    return holds_more_than_text(values)


@pytest.mark.parametrize(
    "members",
    [
        {"input": "Hi."}, {"input": [TEXT]}, {"input": [TEXT | {"type": "message"}]}, {"instructions": "Be short.", "input": None},
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}, {"type": "function_call_output", "call_id": "c", "output": "1"}]},
        {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "k9"}]}, {"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]},
        {"previous_response_id": None, "conversation": None, "prompt": None, "tools": None}, {"max_tool_calls": 2, "store": False},
    ],
)  # fmt: skip
def test_text_and_functions_can_be_bounded(members: dict[str, object]) -> None:
    assert not more(**members)


@pytest.mark.parametrize(
    "members",
    [
        {"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "p"}}, {"context_management": [{"type": "compaction"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]}, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/a.png"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, {"input": [{"type": "computer_call_output", "output": {}}]},
        {"input": [{"id": "msg_1"}, {"type": "whatever"}]}, {"input": {"a": 1}}, {"Input": "x"}, {"tools": [{"type": "web_search"}]}, {"tools": [{"type": "mcp"}]},
        {"tools": [{"type": "shell"}]}, {"tools": {"type": "function"}}, {"extra_body": {"a": 1}}, {"PreviousResponseId": "r"},
    ],
)  # fmt: skip
def test_what_the_vendor_adds_cannot(members: dict[str, object]) -> None:
    assert more(**members)


def test_names_in_escapes_are_seen() -> None:
    raw = json.dumps([TEXT]).replace('"input_text"', '"input\\u005fimage"').encode()
    assert holds_more_than_text({"input": msgspec.Raw(raw)})
    assert holds_more_than_text({"input": msgspec.Raw(b"[" + b'"x",' * 300_000 + b'"x"]')})


def test_one_answer_is_what_a_request_gets() -> None:
    assert answers_max({}) == 1
    assert answers_max({"n": msgspec.Raw(b"5")}) is None
