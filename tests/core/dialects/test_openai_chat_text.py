"""Delivered text, measured to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.text import Shape, delivered, string_bytes, string_text

FIXED = settings(max_examples=300)
TEXT = st.text(max_size=12) | st.sampled_from(['"content":"x"', '","text":"', "\\", '\\"', "好 😀", '{"usage":{"a":1}}', "\u2028", "\x7f\x00\n"])
DUMPS = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])})


def size(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize(
    ("choices", "text", "finish"),
    [
        ([{"index": 0, "delta": {"role": "assistant", "content": "hé"}, "finish_reason": None}], "hé", None),
        ([{"delta": {"content": "a"}}, {"delta": {"content": "bc"}, "finish_reason": "stop"}], "abc", "stop"),
        ([{"delta": {"content": None, "refusal": "no"}, "finish_reason": ""}], "no", None),
        ([{"delta": {"reasoning_content": "think", "content": "say"}}], "thinksay", None),
        ([{"delta": {"reasoning": "think"}}], "think", None),
        ([{"delta": {"reasoning": "think", "reasoning_content": "think", "content": "say"}}], "thinksay", None),
        ([{"delta": {"reasoning": "think", "reasoning_details": [{"type": "reasoning.text", "text": "think"}]}}], "think", None),
        ([{"delta": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "th"}]}, {"type": "text", "text": "say"}]}}], "thsay", None),
        ([{"delta": {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}}], 'f{"a": 1}', None),
        ([{"delta": {"function_call": {"name": "f", "arguments": "{}"}}}], "f{}", None),
        ([{"delta": {"tool_calls": [{"type": "custom", "custom": {"name": "g", "input": "abc"}}]}}], "gabc", None),
        ([{"delta": {"audio": {"id": "a", "transcript": "hear", "data": "UklGRg=="}}}], "hear", None),
        ([{"text": " plain", "logprobs": {"tokens": [" plain"], "text_offset": [0]}, "finish_reason": "length"}], " plain", "length"),
        ([{"message": {"role": "assistant", "content": "hi"}, "logprobs": {"content": [{"token": "hi", "bytes": [1]}], "refusal": None}}], "hi", None),
        ([], "", None),
        (None, "", None),
    ],
)
def test_everything_a_model_writes_counts_once(choices: object, text: str, finish: str | None) -> None:
    event = {"id": "x", "object": "chat.completion.chunk", "name": "not counted", "choices": choices, "obfuscation": "abc", "usage": None}
    for options in ({"ensure_ascii": False}, {"ensure_ascii": True}, {"separators": (",", ":")}, {"indent": 2}):
        assert delivered(json.dumps(event, **options).encode())[:2] == (size(text), finish)  # type: ignore[arg-type]


@FIXED
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("content", "reasoning_content", "refusal"), TEXT)), max_size=3), st.lists(st.tuples(TEXT, TEXT), max_size=2), DUMPS)
def test_the_measure_is_exact_for_any_text(deltas: list[dict[str, str]], calls: list[tuple[str, str]], options: dict[str, object]) -> None:
    choices: list[object] = [{"delta": delta} for delta in deltas]
    choices.append({"delta": {"tool_calls": [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]}})
    event = json.dumps({"choices": choices}, **options).encode()  # type: ignore[arg-type]
    assert delivered(event)[0] == size(*(text for delta in deltas for text in delta.values()), *(text for call in calls for text in call))


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (rb"plain", 5),
        (rb"\u00e9\u4f60\ud83d\ude00", 2 + 3 + 4),
        (rb"\"\\\/\b\f\n\r\t", 8),
        (rb"\ud83d", 3),
        (rb"\ude00\ud83d", 6),
        (rb"\u0000\u007f\u0080\u07ff\u0800\uffff", 1 + 1 + 2 + 2 + 3 + 3),
        ("好\\n".encode(), 4),
        (b"\xff\\n", 4),
        (rb"\x", 2),
    ],
)
def test_a_string_counts_the_bytes_it_stands_for(inside: bytes, expected: int) -> None:
    assert string_bytes(inside) == expected


@FIXED
@given(TEXT, TEXT, TEXT, st.booleans(), DUMPS)
def test_an_event_of_a_known_shape_measures_the_same_without_being_read(first: str, second: str, padding: str, padded: bool, options: dict[str, object]) -> None:
    def event(text: str, padding: str) -> bytes:
        fields: dict[str, object] = {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "usage": None}
        return json.dumps(fields | ({"obfuscation": padding} if padded else {}), **options).encode()  # type: ignore[arg-type]

    shape = Shape.of(event(first, "ab"))
    assert shape is not None
    other = event(second, padding)
    found = shape.text(other)
    assert found is None or (string_bytes(found), string_text(found)) == (size(second), second)
    if second.isalnum() and padding.isalnum() and (second + padding).isascii():
        assert (found is not None) == (not padded or options["separators"] == (",", ":"))
        assert shape.framed().text(b"data: " + other + b"\n\n") == found


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"delta":{"content":"a","refusal":"b"},"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":"a"},"x":{"content":"b"},"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":null},"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":"a\n"},"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":"a\\"},"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":"},"finish_reason":null}]}',
        b'{"error":{"message":"a"},"choices":[{"delta":{"content":"b"},"finish_reason":null}]}',
        b"[DONE]",
        b"",
    ],
)
def test_anything_else_than_another_text_is_another_shape(event: bytes) -> None:
    shape = Shape.of(b'{"choices":[{"delta":{"content":"text"},"finish_reason":null}]}')
    assert shape is not None
    assert shape.text(event) is None


def test_events_with_none_or_several_texts_have_no_shape() -> None:
    for event in (b'{"choices":[{"delta":{}}]}', b'{"choices":[{"text":"a"},{"text":"b"}]}', b"", b'"choices"'):
        assert Shape.of(event) is None
