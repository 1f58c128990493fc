"""What a model wrote in an item, and what it did not."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.dialects.lists import TooMuch
from proxy.core.dialects.openai_responses.items import read_item, written, written_in_part


def texts(item: object) -> dict[tuple[str, int], bytes]:
    found = written(read_item(msgspec.Raw(msgspec.json.encode(item))))
    return {(one.kind, one.part): one.text for one in found}


@pytest.mark.parametrize(
    ("item", "right"),
    [
        ({"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}, {("text", 0): b"a", ("refusal", 1): b"b"}),
        ({"type": "message", "content": "plain"}, {("text", 0): b"plain"}),
        ({"type": "message", "content": None}, {}),
        ({"type": "reasoning", "content": [{"text": "a"}], "summary": [{"type": "summary_text", "text": "b"}]}, {("reasoning", 0): b"a", ("summary", 0): b"b"}),
        ({"type": "function_call", "name": "f", "arguments": '{"a":1}', "call_id": "c", "id": "i"}, {("name", 0): b"f", ("arguments", 0): b'{"a":1}'}),
        ({"type": "function_call", "arguments": {"a": [1, 2]}}, {("arguments", 0): b'{"a": [1, 2]}'}),
        ({"type": "custom_tool_call", "name": "f", "input": "x"}, {("name", 0): b"f", ("input", 0): b"x"}),
        ({"type": "code_interpreter_call", "code": "1+1", "outputs": [{"logs": "2"}]}, {("code", 0): b"1+1"}),
        ({"type": "file_search_call", "queries": ["a", "b"], "results": [{"text": "found"}]}, {("action", 0): b"a b"}),
        ({"type": "web_search_call", "action": {"query": "a", "queries": ["a"], "sources": ["u"]}}, {("action", 0): b"a"}),
        ({"type": "local_shell_call", "action": {"command": ["ls", "-l"], "env": {}}}, {("action", 0): b"ls -l"}),
        ({"type": "apply_patch_call", "operation": {"diff": "+a", "path": "p"}}, {("diff", 0): b"+a"}),
        ({"type": "function_call_output", "output": "found", "content": "x"}, {}),
        ({"type": "mcp_list_tools", "name": "x", "tools": []}, {}),
        ({"type": "image_generation_call", "result": "iVBO", "revised_prompt": "p"}, {}),
        ({"type": "message", "content": [{"type": "output_image", "text": "no"}]}, {}),
        ("text", {}), ([], {}),
    ],
)  # fmt: skip
def test_each_kind_of_item(item: object, right: dict[tuple[str, int], bytes]) -> None:
    assert texts(item) == right


def test_a_part_says_itself_what_it_is() -> None:
    part = msgspec.Raw(b'{"type":"reasoning_text","text":"a"}')
    assert [one.kind for one in written_in_part(part, "text", 3)] == ["reasoning"]
    assert written_in_part(msgspec.Raw(b'"x"'), "text", 0) == []


def test_more_than_can_be_read_in_a_moment_is_said_to_be_so() -> None:
    with pytest.raises(TooMuch):
        texts({"type": "message", "content": [{"text": "x"}] * 3000})
    with pytest.raises(TooMuch):
        texts({"type": "web_search_call", "action": {"queries": ["x"] * 3000}})
