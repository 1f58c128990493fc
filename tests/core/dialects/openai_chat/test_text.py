"""Events that differ from the last one in nothing but their text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.json_text import plain
from proxy.core.dialects.openai_chat.text import Shape, strings_in
from tests.support.effort import examples

FIXED = settings(max_examples=examples(300))
TEXT = st.text(max_size=12) | st.sampled_from(
    [
        '"content":"x"',
        '","text":"',
        "\\",
        '\\"',
        "好 😀",
        '{"usage":{"a":1}}',
        "\u2028",
        "\x7f\x00\n",
    ]
)
DUMPS = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
    }
)


def size(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


@FIXED
@given(TEXT, TEXT, TEXT, st.booleans(), DUMPS)
def test_an_event_of_a_known_shape_measures_the_same_without_being_read(
    first: str, second: str, padding: str, padded: bool, options: dict[str, object]
) -> None:
    def event(text: str, padding: str) -> bytes:
        fields: dict[str, object] = {
            "id": "x",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
            "usage": None,
        }
        return json.dumps(fields | ({"obfuscation": padding} if padded else {}), **options).encode()  # type: ignore[arg-type]

    shape = Shape.of(event(first, "ab"), first.encode())
    assert (shape is not None) == (first != "")
    if shape is None:
        return
    other = event(second, padding)
    found = shape.text(other)
    assert found is None or plain(found) == second.encode()
    if second.isalnum() and padding.isalnum() and (second + padding).isascii():
        assert (found is not None) == (not padded or options["separators"] == (",", ":"))
        run = shape.run()
        run.allow(1000, 2000)
        run.take(b"data: " + other + b"\n\n")
        assert run.take_over() == ([] if found is None else [plain(found)])


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
    shape = Shape.of(b'{"choices":[{"delta":{"content":"text"},"finish_reason":null}]}', b"text")
    assert shape is not None
    assert shape.text(event) is None


def test_events_whose_text_cannot_be_told_from_other_strings_have_no_shape() -> None:
    for event in (
        b'{"choices":[{"delta":{}}]}',
        b'{"choices":[{"text":"a"},{"text":"b"}]}',
        b"",
        b'"choices"',
        b'{"choices":[{"text":"b"}]}',
    ):
        assert Shape.of(event, b"a") is None
    assert Shape.of(b'{"choices":[{"delta":{"content":"","reasoning":"a"}}]}', b"a") is not None


def test_strings_of_a_damaged_event_are_found_by_their_names() -> None:
    assert strings_in(
        b'{"x":{"text":"no"},"choices":[{"delta":{"content":"a\\"b","role":"r","reasoning_content":"c"},"text":"d'
    ) == [b'a\\"b', b"c"]
