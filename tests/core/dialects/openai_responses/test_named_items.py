"""The single items that a request for a response names."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.core.dialects.openai_responses.named_items import named_containers, named_items
from proxy.core.dialects.scan import Ambiguous


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize(
    ("item", "ids", "references"),
    [
        # AI SDK with `store: true`; the type may be left out.
        ({"type": "item_reference", "id": "rs_1"}, "rs_1", "rs_1"),
        ({"id": "msg_1"}, "msg_1", "msg_1"),
        ({"type": None, "id": "msg_1"}, "msg_1", "msg_1"),
        (b'{ "\\u0069d" : "\\u0072s_1", "type":"item\\u005freference" }', "rs_1", "rs_1"),
        # Agents SDK: whole items, of which the vendor has more under their ids.
        ({"type": "reasoning", "id": "rs_1", "summary": []}, "rs_1", "rs_1"),
        ({"type": "reasoning", "id": "rs_1", "encrypted_content": None, "content": []}, "rs_1", "rs_1"),
        (b'{"type":"reasoning","id":"rs_1","content":[ \n]}', "rs_1", "rs_1"),
        ({"type": "image_generation_call", "id": "ig_1"}, "ig_1", "ig_1"),
        ({"type": "file_search_call", "id": "fs_1", "queries": ["x"], "results": None}, "fs_1", "fs_1"),
        # Codex and vLLM: everything is there.
        ({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA"}, "rs_1", ""),
        ({"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "x"}]}, "rs_1", ""),
        ({"type": "message", "role": "assistant", "id": "msg_1", "content": []}, "msg_1", ""),
        ({"role": "assistant", "id": "msg_1", "content": "x"}, "msg_1", ""),
        ({"type": "image_generation_call", "id": "ig_1", "result": "iVBOR"}, "ig_1", ""),
        ({"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}, "mcpr_1", ""),
        ({"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"}, "ci_1 cntr_1", ""),
        # What is the caller's own, or no id at all.
        ({"type": "function_call_output", "call_id": "call_1", "output": "{\"id\":\"x\"}"}, "", ""),
        ({"role": "user", "content": "say \"id\""}, "", ""),
        ({"type": "message", "id": None, "role": "user", "content": "x"}, "", ""),
        ({"type": "item_reference", "id": 7}, "", ""),
    ],
)  # fmt: skip
def test_an_item_names_what_its_vendor_keeps(item: object, ids: str, references: str) -> None:
    for input in (raw(item), raw(b"[" + bytes(raw(item)) + b"]")):
        named = named_items(input)
        assert (" ".join(named.ids), " ".join(named.references)) == (ids, references)


def test_an_id_too_long_for_the_books_is_known_by_its_digest() -> None:
    (id,) = named_items(raw([{"id": "rs_" + "x" * 300}])).ids
    assert id.startswith("sha256:")


@pytest.mark.parametrize(
    "item",
    [
        b'{"id":"mine","id":"theirs"}', b'{"id":"mine","\\u0069d":"theirs"}', b'{"type":"item_reference","ID":"theirs"}',
        b'{"type":"message","type":"item_reference","id":"theirs"}', b'{"id":"mine","Id":"theirs"}',
        b'{"approvalRequestId":"theirs"}', b'{"type":"reasoning","id":"t","encryptedContent":"x"}',
    ],
)  # fmt: skip
def test_an_item_in_which_readers_find_different_ids_is_ambiguous(item: bytes) -> None:
    with pytest.raises(Ambiguous):
        named_items(raw(b"[%b]" % item))


def test_what_is_no_list_of_objects_names_nothing() -> None:
    for value in ("text", None, 7, [], [[{"id": "x"}]], ["id"], [None, {}, {"id": {}}]):
        assert named_items(raw(value)) == ((), ())
    assert named_items(None) == ((), ()) and named_containers(None) == ()


@pytest.mark.parametrize(
    ("tool", "ids"),
    [
        ({"type": "code_interpreter", "container": "cntr_1"}, ("cntr_1",)),
        ({"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}, ()),
        ({"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}, ("cntr_1",)),
        ({"type": "function", "name": "f", "parameters": {"properties": {"container": {}}}}, ()),
    ],
)  # fmt: skip
def test_a_tool_names_the_container_that_it_runs_in(tool: object, ids: tuple[str, ...]) -> None:
    assert named_containers(raw([tool])) == ids


def test_a_container_that_is_named_twice_is_ambiguous() -> None:
    for tool in (
        b'[{"type":"code_interpreter","container":"mine","container":"theirs"}]',
        b'[{"environment":{"container_id":"mine","container_id":"theirs"}}]',
    ):
        with pytest.raises(Ambiguous):
            named_containers(raw(tool))
