"""The usual answer, read in one decode, is the answer as it is read with care."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.usual import usual_answer
from tests.core.dialects.openai_chat.golden import GOLDENS

KNOWN = (
    "answered complete done doubtful error finish_reason model_served output_measure output_so_far"
    " oversized response_id service_tier shows_its_end text_bytes text_known unreadable usage"
    " usage_current usage_final"
).split()
WHOLE = [golden for golden in GOLDENS if not golden.stream]
USUAL = {
    "id": "c-1",
    "object": "chat.completion",
    "model": "m-1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}

TEXTS = st.sampled_from(
    ["", "x", "Grüß", "好" * 40, "words " * 200, "n" * 70, "n" * 300, "error", "stop", "length"]
)
NOTHINGS = st.sampled_from([None, [], {}, False, 0, "", 0.5, -1, True, "7", 7, 2**60])
COUNTS = st.sampled_from([0, 1, 5, 12, 17, 700, 2**53, 2**53 + 1, -3, 1.5, "12", None, True])
DETAILS = st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "audio_tokens", "reasoning_tokens", "cache_write_tokens", "n"]
    ),
    COUNTS,
    max_size=3,
)
USAGES = st.dictionaries(
    st.sampled_from(
        "prompt_tokens completion_tokens total_tokens cached_tokens input_tokens service_tier"
        " prompt_tokens_details completion_tokens_details cost reasoning_tokens num_cached_tokens".split()
    ),
    COUNTS | DETAILS | TEXTS,
    max_size=6,
)
MESSAGES = st.dictionaries(
    st.sampled_from(
        "content reasoning_content reasoning refusal audio tool_calls function_call annotations"
        " thinking text".split()
    ),
    TEXTS
    | NOTHINGS
    | st.just([{"type": "text", "text": "x"}])
    | st.just([{"function": {"name": "f", "arguments": "{}"}}]),
    max_size=4,
)
CHOICES = st.fixed_dictionaries(
    {"message": MESSAGES | NOTHINGS, "finish_reason": TEXTS | NOTHINGS},
    optional={
        "delta": MESSAGES | NOTHINGS,
        "text": TEXTS | NOTHINGS,
        "usage": USAGES | NOTHINGS,
        "index": st.integers(0, 3),
    },
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS | NOTHINGS,
        "object": st.sampled_from(["chat.completion", "error", "", None, "list", 5]),
        "model": TEXTS | NOTHINGS,
        "service_tier": TEXTS | NOTHINGS,
        "choices": st.lists(CHOICES, max_size=2) | NOTHINGS,
        "usage": USAGES | NOTHINGS,
        "error": NOTHINGS | st.just({"message": "no"}) | st.just({"message": "", "code": None}),
        "x_groq": NOTHINGS | st.fixed_dictionaries({}, optional={"usage": USAGES, "error": TEXTS}),
        "type": TEXTS | NOTHINGS,
        "data": NOTHINGS | st.just([{"embedding": [1]}]),
        "provider": TEXTS,
    },
)


MEMBERS = [*KNOWN, "between_events", "goes_on", "next_number"]


def read(body: bytes, text_bytes_max: int | None, *, inside: bool = True) -> dict[str, object]:
    """What the meter knows of it. Whoever counts its text has it read with care."""
    meter = ChatMeter(stream=False, text_bytes_max=text_bytes_max, cached_inside_input=inside)
    meter.feed(body)
    meter.end()
    return {name: getattr(meter, name) for name in KNOWN}


@pytest.mark.parametrize("golden", WHOLE, ids=[golden.name for golden in WHOLE])
def test_golden_answers_say_the_same_both_ways(golden) -> None:  # type: ignore[no-untyped-def]
    for inside in (True, False):
        assert read(golden.body, 0, inside=inside) == read(golden.body, None, inside=inside)


def test_most_vendors_answers_are_usual() -> None:
    usual = {golden.vendor for golden in WHOLE if usual_answer(golden.body) is not None}
    assert {"OpenAI", "Azure", "DeepSeek", "Groq", "vLLM", "xAI"} <= usual


@given(CHANGES, st.booleans(), st.booleans(), st.sampled_from([(1, 4), (7, 3), (0, 1)]))
def test_whatever_differs_says_the_same_both_ways(
    changes: dict[str, object], ascii_only: bool, inside: bool, measure: tuple[int, int]
) -> None:
    body = json.dumps({**USUAL, **changes}, ensure_ascii=ascii_only).encode()
    assert read(body, 0, inside=inside) == read(body, None, inside=inside)
    whole = usual_answer(body, inside, measure)
    if whole is not None:
        # It stands in the place of the meter.
        meter = ChatMeter(
            stream=False, text_bytes_max=None, cached_inside_input=inside, measure=measure
        )
        meter.feed(body)
        meter.end()
        for name in MEMBERS:
            assert getattr(whole, name) == getattr(meter, name), name
        assert whole.usage.raw == meter.usage.raw  # type: ignore[union-attr]
        assert json.dumps(whole.usage.raw) == json.dumps(meter.usage.raw)  # type: ignore[union-attr]


def test_what_is_too_large_is_left_to_the_meter() -> None:
    body = json.dumps(USUAL).encode()
    assert usual_answer(body, body_bytes_max=len(body)) is not None
    assert usual_answer(body, body_bytes_max=len(body) - 1) is None


@given(st.lists(CHANGES, min_size=2, max_size=2), st.integers(0, 60), st.booleans())
def test_names_that_come_twice_and_answers_cut_short_say_the_same(
    changes: list[dict[str, object]], cut: int, half: bool
) -> None:
    first, second = (json.dumps({**USUAL, **change})[1:-1] for change in changes)
    body = f"{{{first}, {second}}}".encode()
    body = body[: len(body) - cut] if half else body
    assert read(body, 0) == read(body, None)


def test_an_output_that_cannot_have_counted_a_text_under_another_name_says_the_same() -> None:
    message = {"role": "assistant", "content": "Hi", "thought": "word " * 2000}
    body = json.dumps(
        USUAL
        | {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
        }
    ).encode()
    assert usual_answer(body) is None
    assert not read(body, 0)["usage_current"]
