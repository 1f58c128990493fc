"""What holds an answer, and what is none."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.shapes import read_answer
from proxy.core.dialects.openai_chat.substance import begins_answer, holds_answer

CHOICE = {"index": 0, "delta": {}, "finish_reason": None, "logprobs": None}
ROLE = {
    "role": "assistant",
    "content": "",
    "tool_calls": None,
    "refusal": None,
    "reasoning_details": [],
}
# The top level of an answer -> whether something of an answer is in it.
ANSWERS = [
    ("no choices", {"choices": []}, False),
    ("null choices", {"choices": None, "usage": {"total_tokens": 0}}, False),
    ("an empty choice", {"choices": [{}]}, False),
    ("nothing but the role", {"choices": [CHOICE | {"delta": ROLE}]}, False),
    (
        "a message of nothing but the role",
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": None},
                    "finish_reason": None,
                }
            ]
        },
        False,
    ),
    (
        "a filter's opinion",
        {
            "choices": [
                CHOICE
                | {
                    "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
                    "content_filter_offsets": {"check_offset": 9},
                }
            ]
        },
        False,
    ),
    (
        "a choice that failed",
        {"choices": [CHOICE | {"finish_reason": "error", "error": {"code": 502, "message": "m"}}]},
        False,
    ),
    ("text", {"choices": [CHOICE | {"delta": {"content": "a"}}]}, True),
    ("nothing written, but finished", {"choices": [CHOICE | {"finish_reason": "stop"}]}, True),
    ("filtered", {"choices": [CHOICE | {"finish_reason": "content_filter"}]}, True),
    (
        "a finished choice behind an empty one",
        {"choices": [{}, CHOICE | {"finish_reason": "length"}]},
        True,
    ),
    ("a refusal", {"choices": [CHOICE | {"delta": {"refusal": "I cannot"}}]}, True),
    (
        "a tool call",
        {
            "choices": [
                CHOICE | {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}
            ]
        },
        True,
    ),
    ("the text of a completion", {"choices": [{"text": "a", "index": 0}]}, True),
    ("sound", {"choices": [CHOICE | {"delta": {"audio": {"id": "a", "data": "UklGRg=="}}}]}, True),
    (
        "pictures",
        {
            "choices": [
                CHOICE | {"message": {"content": None, "images": [{"image_url": {"url": "data:"}}]}}
            ]
        },
        True,
    ),
    ("token numbers", {"choices": [CHOICE | {"token_ids": [5]}]}, True),
    (
        "content in parts",
        {"choices": [CHOICE | {"message": {"content": [{"type": "text", "text": "a"}]}}]},
        True,
    ),
    ("something unknown", {"choices": [CHOICE | {"delta": {"parts": {"x": [{"y": "z"}]}}}]}, True),
    ("choices that are no list", {"choices": {"0": {"message": {"content": "a"}}}}, True),
    ("a message that is text", {"choices": ["a"]}, True),
    ("vectors", {"object": "list", "data": [{"embedding": [0.1]}]}, True),
    ("no vectors", {"object": "list", "data": []}, False),
    ("no data", {"code": 20012, "message": "There is no such model.", "data": None}, False),
    ("data of an error", {"code": 500, "data": {"reason": "overload"}}, False),
    (
        "an answer in an envelope",
        {"code": 0, "data": {"choices": [{"message": {"content": "a"}}]}},
        True,
    ),
    (
        "an envelope with no choice in it",
        {"code": 500, "data": {"choices": None, "usage": None}},
        False,
    ),
    ("a vector without a list", {"object": "list", "data": {"embedding": [0.1]}}, True),
    ("an error", {"error": {"message": "m"}}, False),
    ("nothing", {}, False),
]


@pytest.mark.parametrize(
    ("answer", "holds"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
@pytest.mark.parametrize("indent", [None, 2])
def test_what_an_answer_holds(answer: dict[str, object], holds: bool, indent: int | None) -> None:
    read = read_answer(json.dumps(answer, indent=indent).encode())
    assert read is not None
    assert holds_answer(read) is holds


@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (b'{"id":"c-1","choices":[{"message":{"content":"The ti', True),
        (b'{"object":"list", "data" : [ {"embedding":[0.1,', True),
        (b'[{"choices":[{"delta":{"content":"a"}}]}]', True),
        (b'{"choices":[]', False),
        (b'{"code":20012,"data":{}, "mess', False),
        (b'{"error":{"message":"no choices', False),
        (b'{"id":"c-1","object":"chat.compl', False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_what_cannot_be_read_may_still_begin_an_answer(data: bytes, begins: bool) -> None:
    assert begins_answer(data) is begins
