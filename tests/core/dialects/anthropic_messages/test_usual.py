"""The usual message, read in one decode, is the message as it is read with care."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.core.dialects.anthropic_messages.usual import usual_message
from tests.core.dialects.anthropic_messages.answers import CASES, START, TOOL
from tests.support.effort import examples

KNOWN = (
    "answered complete done doubtful error finish_reason model_served output_measure output_so_far"
    " oversized response_id service_tier shows_its_end text_bytes text_known unreadable usage"
    " usage_current usage_final between_events goes_on next_number item_ids"
).split()
USUAL: dict[str, object] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-2026",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": START | {"output_tokens": 50},
}
TEXTS = st.sampled_from(["", "x", "Grüß", "好" * 40, "n" * 70, "n" * 300, "error", "end_turn"])
NOTHINGS = st.sampled_from([None, [], {}, False, 0, "", 0.5, True, "7", 7, 2**60])
COUNTS = st.sampled_from([0, 1, 12, 700, 2**53, 2**53 + 1, -3, 1.5, "12", None, True])
USAGES = st.dictionaries(
    st.sampled_from(
        "input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens total_tokens"
        " service_tier speed server_tool_use iterations cost prompt_tokens completion_tokens".split()
    ),
    COUNTS
    | TEXTS
    | st.just({"web_search_requests": 2})
    | st.just([{"type": "compaction", "input_tokens": 5, "output_tokens": 6}]),
    max_size=6,
)
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text, "citations": None}, TEXTS | NOTHINGS),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "Eq"}, TEXTS),
    st.sampled_from(
        [
            TOOL,
            {"type": "text"},
            {"type": "text", "text": "x", "thinking": "y"},
            {"type": "thinking", "thinking": "x", "text": "y"},
            {"type": "redacted_thinking", "data": "Eq"},
            {"type": "fallback", "to": {"model": "m-other"}},
            {"type": "text", "text": "\ud800"},
            {"text": "x"},
        ]
    ),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS | NOTHINGS,
        "type": st.sampled_from(["message", "error", "", None, 5]),
        "model": TEXTS | NOTHINGS,
        "content": st.lists(BLOCKS, max_size=3) | TEXTS | NOTHINGS,
        "stop_reason": st.sampled_from(["max_tokens", "stop_sequence", "refusal", "tool_use", "", None, 5]),
        "usage": USAGES | NOTHINGS,
        "error": NOTHINGS | st.just({"type": "api_error"}),
        "index": NOTHINGS,
        "delta": NOTHINGS,
        "message": NOTHINGS,
        "amazon-bedrock-invocationMetrics": USAGES,
    },
)  # fmt: skip


def known(body: bytes, measure: tuple[int, int], *, inside: bool) -> dict[str, object]:
    meter = MessageMeter(stream=False, cached_inside_input=inside, measure=measure)
    meter.feed(body)
    meter.end()
    return {name: getattr(meter, name) for name in KNOWN}


def same(body: bytes, measure: tuple[int, int] = (1, 4), *, inside: bool = False) -> bool:
    """Whether it is a usual one; then it says the same both ways."""
    whole = usual_message(body, inside, measure)
    if whole is None:
        return False
    careful = known(body, measure, inside=inside)
    assert {name: getattr(whole, name) for name in KNOWN} == careful
    assert json.dumps(whole.usage.raw) == json.dumps(careful["usage"].raw)  # type: ignore[attr-defined]
    return True


def test_a_usual_one_is_read_in_one_decode() -> None:
    assert same(json.dumps(USUAL).encode())
    thinking = [{"type": "thinking", "thinking": "好", "signature": "Eq"}, *USUAL["content"]]  # type: ignore[misc]
    assert same(json.dumps(USUAL | {"content": thinking}, ensure_ascii=False).encode())
    assert not same(json.dumps(USUAL | {"content": [TOOL]}).encode())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_recorded_answers_say_the_same_both_ways(case) -> None:  # type: ignore[no-untyped-def]
    for inside in (True, False):
        same(case.body, inside=inside)


@settings(max_examples=examples(600))
@given(CHANGES, st.booleans(), st.booleans(), st.sampled_from([(1, 4), (7, 3), (0, 1)]))
def test_whatever_differs_says_the_same_both_ways(
    changes: dict[str, object], ascii_only: bool, inside: bool, measure: tuple[int, int]
) -> None:
    body = json.dumps(USUAL | changes, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    same(body, measure, inside=inside)


def test_what_is_too_large_is_left_to_the_meter() -> None:
    body = json.dumps(USUAL).encode()
    assert usual_message(body, False, body_bytes_max=len(body)) is not None
    assert usual_message(body, False, body_bytes_max=len(body) - 1) is None


@given(st.lists(CHANGES, min_size=2, max_size=2), st.integers(0, 60), st.booleans())
def test_names_that_come_twice_and_answers_cut_short_say_the_same(
    changes: list[dict[str, object]], cut: int, half: bool
) -> None:
    first, second = (json.dumps(USUAL | change)[1:-1] for change in changes)
    body = f"{{{first}, {second}}}".encode()
    same(body[: len(body) - cut] if half else body)
