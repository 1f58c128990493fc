"""Where each vendor says what it used, that it failed, and whether it holds an answer at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.shapes import is_error, read_answer, stated_in
from proxy.core.dialects.openai_chat.substance import has_data, holds_answer
from tests.support.effort import examples

# Where it stands -> the input; of several objects the last number counts.
PLACES = [
    ({"usage": {"prompt_tokens": 1}}, 1),
    ({"x_groq": {"id": "r", "usage": {"prompt_tokens": 2}}}, 2),
    (
        {"choices": [{"index": 0, "usage": {"prompt_tokens": 3}}, {"usage": {"prompt_tokens": 4}}]},
        4,
    ),
    ({"usage": None, "choices": [{"usage": {"prompt_tokens": 3}}, {"usage": None}]}, 3),
    ({"usage": {"prompt_tokens": 1}, "x_groq": {"usage": {"prompt_tokens": 2}}}, 1),
    ({"usage": {}, "x_groq": {"usage": {"prompt_tokens": 2}}}, 2),
    ({"usage": {"prompt_tokens": 0}, "choices": [{"usage": {"prompt_tokens": 3}}]}, 3),
    ({"usage": None, "x_groq": None, "choices": None}, None),
    ({"usage": [1], "x_groq": 5, "choices": [1, "usage"]}, None),
    ({"usage": "5", "choices": {"usage": {"prompt_tokens": 1}}}, 1),
    ({"metadata": {"usage": {"prompt_tokens": 1}}}, None),
    (
        {
            "code": 0,
            "msg": "ok",
            "data": {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 6}},
        },
        6,
    ),
    ({"code": 0, "data": [{"choices": []}], "usage": {"prompt_tokens": 7}}, 7),
]


@pytest.mark.parametrize(("answer", "expected"), PLACES)
def test_usage_is_found_where_vendors_put_it(
    answer: dict[str, object], expected: int | None
) -> None:
    read = read_answer(json.dumps(answer).encode())
    assert read is not None
    stated = stated_in(read)
    assert (None if stated is None else stated.input_tokens) == expected


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "text"}, True),
        ({"object": "error", "message": "m", "code": 40303}, True),
        ({"type": "error"}, True),
        ({"x_groq": {"id": "r", "error": "over capacity"}}, True),
        ({"x_groq": {"id": "r", "error": None}}, False),
        ({"x_groq": ["error"]}, False),
        ({"error": None, "object": "chat.completion"}, False),
        ({"error": {}, "object": "x", "type": None}, False),
        ({"error": {"message": "", "type": "", "param": "", "code": None}}, False),
        ({"error": {"code": 0, "message": "Success"}}, False),
        ({"error": 0}, False),
        ({"error": []}, False),
        ({"x_groq": {"error": {"code": 200}}}, False),
        ({"error": {"code": 0, "message": "overloaded"}}, True),
        ({"error": {"code": 500, "message": ""}}, True),
        ({"error": {"details": [{}, {"x": [1]}]}}, True),
        ({"error": True}, True),
        ({"error": {"message": "", "padding": " " * 2000}}, True),
        ({}, False),
    ],
)
def test_errors_in_all_their_forms(answer: dict[str, object], error: bool) -> None:
    read = read_answer(json.dumps(answer, separators=(",", ":")).encode())
    assert read is not None
    assert is_error(read) is error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
FIELDS = st.sampled_from(
    [
        "usage",
        "x_groq",
        "choices",
        "error",
        "model",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "cached_tokens",
    ]
)


@settings(max_examples=examples(300))
@given(
    st.recursive(
        JSON, lambda inner: st.dictionaries(FIELDS, inner, max_size=4) | st.lists(inner, max_size=2)
    )
)
def test_no_answer_is_too_odd(answer: object) -> None:
    read = read_answer(json.dumps(answer).encode())
    if read is not None:
        is_error(read)
        assert holds_answer(read) in (True, False)
        stated = stated_in(read)
        if stated is not None:
            usage = stated.usage(embeddings=has_data(read))
            assert (
                usage.input_tokens is not None
                or usage.output_tokens is not None
                or usage.total_tokens is not None
            )
