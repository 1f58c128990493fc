"""Each vendor's usage object -> what is booked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.shapes import is_error, read_answer, read_usage, stated_usage
from proxy.core.usage import Usage

OPENAI = {
    "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 3, "cache_write_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 2, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
}  # fmt: skip

# vendor, usage object -> input, cached, cache_write, output, reasoning, audio in, audio out, inconsistent
SHAPES = [
    ("OpenAI", OPENAI, (100, 40, 10, 30, 20, 3, 2, False)),
    ("three plain counters", {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, (7, None, None, 5, None, None, None, False)),
    ("null details", OPENAI | {"prompt_tokens_details": None, "completion_tokens_details": None}, (100, None, None, 30, None, None, None, False)),
    ("DeepSeek", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2}, (10, 8, None, 2, None, None, None, False)),
    ("Moonshot", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cached_tokens": 6}, (10, 6, None, 2, None, None, None, False)),
    ("xAI: the total holds the reasoning", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 19, "completion_tokens_details": {"reasoning_tokens": 7}}, (10, None, None, 9, 7, None, None, False)),
    ("Gemini: thoughts not stated", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 40}, (10, None, None, 2, None, None, None, True)),
    ("LiteLLM in front of Anthropic", {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 3}, (10, 6, 3, 2, None, None, None, False)),
    ("embeddings", {"prompt_tokens": 9, "total_tokens": 9}, (9, None, None, 0, None, None, None, False)),
    ("Responses' names", {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7, "input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 2}}, (4, 1, None, 3, 2, None, None, False)),
    ("zeros are zeros", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, None, None, 0, None, None, None, False)),
    ("output only", {"completion_tokens": 5}, (None, None, None, 5, None, None, None, False)),
    ("input from the total", {"completion_tokens": 5, "total_tokens": 8}, (3, None, None, 5, None, None, None, False)),
    ("a total below its part", {"prompt_tokens": 9, "total_tokens": 8}, (9, None, None, None, None, None, None, True)),
    ("more cached than input", {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10}}, (9, 10, None, 1, None, None, None, True)),
    ("more reasoning than output", {"prompt_tokens": 9, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}}, (9, None, None, 1, 2, None, None, True)),
    ("the largest number", {"prompt_tokens": 2**53, "completion_tokens": 0}, (2**53, None, None, 0, None, None, None, False)),
    ("what is no whole number is not there", {"prompt_tokens": 2.0, "completion_tokens": 3, "total_tokens": "5"}, (None, None, None, 3, None, None, None, False)),
    ("nor true, negative or too large", {"prompt_tokens": True, "completion_tokens": 3, "total_tokens": -5, "cached_tokens": 2**53 + 1}, (None, None, None, 3, None, None, None, False)),
]  # fmt: skip


@pytest.mark.parametrize(("stated", "expected"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
def test_each_vendors_usage(stated: dict[str, object], expected: tuple[object, ...]) -> None:
    usage = read_usage(stated)
    assert usage is not None
    assert tuple(getattr(usage, name) for name in Usage.__struct_fields__[:8]) == expected


# Cached tokens beside the prompt tokens: usage object -> input, cached, cache_write, output, reasoning, inconsistent
BESIDE = [
    ("nothing cached", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, None, None, 5, None, False)),
    ("no total", {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, False)),
    ("a total with them", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 105, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, False)),
    ("a total without them", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, False)),
    ("a total that is neither", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 90}}, (100, 90, None, 5, None, True)),
    ("read and written", {"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}, (100, 60, 30, 5, None, False)),
    ("reasoning beside too", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "cached_tokens": 90, "reasoning_tokens": 7}, (100, 90, None, 12, 7, False)),
    ("the output from a total with them", {"prompt_tokens": 10, "total_tokens": 105, "cached_tokens": 90}, (100, 90, None, 5, None, False)),
    ("the output from a total without them", {"prompt_tokens": 10, "total_tokens": 15, "cached_tokens": 90}, (100, 90, None, 5, None, False)),
    ("more cached than prompt is no contradiction", {"prompt_tokens": 0, "completion_tokens": 5, "cached_tokens": 90}, (90, 90, None, 5, None, False)),
    ("a prompt not stated", {"completion_tokens": 5, "cached_tokens": 90}, (None, 90, None, 5, None, False)),
]  # fmt: skip


@pytest.mark.parametrize(("stated", "expected"), [row[1:] for row in BESIDE], ids=[row[0] for row in BESIDE])
def test_cached_tokens_beside_the_prompt_tokens_become_part_of_the_input(stated: dict[str, object], expected: tuple[object, ...]) -> None:
    usage = read_usage(stated, cached_inside_input=False)
    assert usage is not None
    assert (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens, usage.inconsistent) == expected


@pytest.mark.parametrize("stated", [{}, {"total_tokens": 5}, {"prompt_tokens": None}, {"prompt_tokens": "5"}, {"cached_tokens": 5}])
def test_an_object_without_a_count_states_nothing(stated: dict[str, object]) -> None:
    assert read_usage(stated) is None


def test_only_numbers_are_kept_for_audits_and_not_too_many() -> None:
    usage = read_usage(
        OPENAI | {"cost": 0.25, "note": "text", "flag": True, "list": [1], "huge": 2**60, "x" * 65: 1, "deep": {"a": {"b": {"c": 1}, "d": 2}}, "inf": float("inf")}
    )
    assert usage is not None
    assert usage.raw == OPENAI | {"cost": 0.25, "deep": {"a": {"d": 2}}}
    crowded = read_usage(OPENAI | {f"x{at}": {f"y{inner}": 1 for inner in range(50)} for at in range(50)})
    assert crowded is not None
    assert (crowded.input_tokens, crowded.raw) == (100, None)


# Where it stands; the last one that is not null wins.
PLACES = [
    ({"usage": {"prompt_tokens": 1}}, 1),
    ({"x_groq": {"id": "r", "usage": {"prompt_tokens": 2}}}, 2),
    ({"choices": [{"index": 0, "usage": {"prompt_tokens": 3}}, {"usage": {"prompt_tokens": 4}}]}, 4),
    ({"usage": None, "choices": [{"usage": {"prompt_tokens": 3}}, {"usage": None}]}, 3),
    ({"usage": {"prompt_tokens": 1}, "x_groq": {"usage": {"prompt_tokens": 2}}}, 1),
    ({"usage": {}, "x_groq": {"usage": {"prompt_tokens": 2}}}, 2),
    ({"usage": None, "x_groq": None, "choices": None}, None),
    ({"usage": [1], "x_groq": 5, "choices": [1, "usage"]}, None),
    ({"usage": "5", "choices": {"usage": {"prompt_tokens": 1}}}, None),
    ({"metadata": {"usage": {"prompt_tokens": 1}}}, None),
]


@pytest.mark.parametrize(("answer", "expected"), PLACES)
def test_usage_is_found_where_vendors_put_it(answer: dict[str, object], expected: int | None) -> None:
    read = read_answer(json.dumps(answer).encode())
    assert read is not None
    usage = stated_usage(read)
    assert (None if usage is None else usage.input_tokens) == expected


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
        ({}, False),
    ],
)
def test_errors_in_all_their_forms(answer: dict[str, object], error: bool) -> None:
    read = read_answer(json.dumps(answer, separators=(",", ":")).encode())
    assert read is not None
    assert is_error(read) is error


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))
FIELDS = st.sampled_from(["usage", "x_groq", "choices", "error", "model", "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens"])


@settings(max_examples=300)
@given(st.recursive(JSON, lambda inner: st.dictionaries(FIELDS, inner, max_size=4) | st.lists(inner, max_size=2)))
def test_no_answer_is_too_odd(answer: object) -> None:
    read = read_answer(json.dumps(answer).encode())
    if read is not None:
        is_error(read)
        usage = stated_usage(read)
        assert usage is None or usage.input_tokens is not None or usage.output_tokens is not None
