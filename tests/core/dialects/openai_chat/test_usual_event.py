"""The usual event, read in one decode, is the event as it is read with care."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat import meter as meter_module
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.usual_event import usual_event
from tests.core.dialects.openai_chat.golden import GOLDENS
from tests.support.effort import examples

KNOWN = (
    "answered complete done doubtful error finish_reason model_served output_measure output_so_far"
    " oversized response_id service_tier shows_its_end text_bytes text_known unreadable usage"
    " usage_current usage_final"
).split()
STREAMS = [golden for golden in GOLDENS if golden.stream]
USUAL: dict[str, object] = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}  # fmt: skip
TEXTS = st.sampled_from(
    ["", "x", " word", "Grüß", "好" * 40, '"', "\n", "n" * 300, "\ud800", '"error"', '"usage":{']
)
NOTHINGS = st.sampled_from([None, [], {}, False, 0, "", 0.5, True, "7", 7])
USAGES = st.sampled_from(
    [
        {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"completion_tokens": 1, "cost": 0.1},
        {},
        None,
    ]
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": TEXTS | NOTHINGS | st.just([{"type": "text", "text": "x"}]),
        "reasoning_content": TEXTS | st.none(),
        "reasoning": TEXTS,
        "role": st.sampled_from(["assistant", "user", "", None]),
        "refusal": TEXTS | st.none(),
        "tool_calls": st.sampled_from([None, [], [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]]),
        "function_call": st.sampled_from([None, {"name": "f", "arguments": "x"}]),
        "audio": st.sampled_from([None, {"transcript": "x"}]),
        "extra": TEXTS,
    },
)  # fmt: skip
CHOICES = st.fixed_dictionaries(
    {"delta": DELTAS | NOTHINGS},
    optional={
        "index": st.sampled_from([0, 1, 2, -1, 10**6, None, "0"]),
        "finish_reason": st.sampled_from(["stop", "length", "tool_calls", "content_filter", "error", "odd", "", None, 5]),
        "logprobs": st.sampled_from([None, {"content": []}]),
        "stop_reason": NOTHINGS,
        "text": TEXTS | st.none(),
        "message": DELTAS | st.none(),
        "usage": USAGES,
    },
)  # fmt: skip
PLAIN = st.builds(
    lambda content, finish: [{"index": 0, "delta": {"content": content}, "finish_reason": finish}],
    TEXTS,
    st.sampled_from([None, None, None, "stop"]),
)
EVENTS = st.fixed_dictionaries(
    {"choices": PLAIN | st.just([]) | st.lists(CHOICES, max_size=2) | NOTHINGS},
    optional={
        "id": TEXTS | NOTHINGS,
        "object": st.sampled_from(["chat.completion.chunk", "error", "", None]),
        "model": TEXTS | NOTHINGS,
        "service_tier": TEXTS | NOTHINGS,
        "usage": USAGES,
        "error": NOTHINGS | st.just({"message": "no"}),
        "x_groq": NOTHINGS | st.fixed_dictionaries({}, optional={"usage": USAGES, "error": TEXTS}),
        "type": TEXTS | NOTHINGS,
        "data": NOTHINGS,
        "other": st.just({"usage": {"completion_tokens": 5}}),
    },
)


def framed(event: dict[str, object] | str, *, ascii_only: bool = True) -> bytes:
    data = event if isinstance(event, str) else json.dumps(USUAL | event, ensure_ascii=ascii_only)
    return b"data: %b\n\n" % data.encode("utf-8", "surrogatepass")


def figures(chunks: list[bytes], *, careful: bool) -> list[dict[str, object]]:
    """What a meter knows behind each chunk. `careful`: it knows no usual event."""
    with pytest.MonkeyPatch.context() as patch:
        if careful:
            patch.setattr(meter_module, "usual_event", lambda event: None)
        meter = ChatMeter(stream=True, text_bytes_max=None)
        found = []
        for chunk in chunks:
            meter.feed(chunk)
            found.append({name: getattr(meter, name) for name in KNOWN})
        meter.end()
        assert meter.texts is not None
        meter.texts.finish()
        last: dict[str, object] = {name: getattr(meter, name) for name in KNOWN}
        return [*found, last | {"texts": meter.texts.blocks}]


@pytest.mark.parametrize("golden", STREAMS, ids=[golden.name for golden in STREAMS])
def test_golden_streams_say_the_same_both_ways(golden) -> None:  # type: ignore[no-untyped-def]
    chunks = golden.body.splitlines(keepends=True)
    assert figures(chunks, careful=False) == figures(chunks, careful=True)


def test_most_vendors_streams_have_usual_events() -> None:
    usual = {
        golden.vendor
        for golden in STREAMS
        for line in golden.body.splitlines()
        if usual_event(line.removeprefix(b"data: ")) is not None
    }
    assert {"OpenAI", "Azure", "DeepSeek", "vLLM"} <= usual


def test_an_event_that_names_an_error_is_asked_for_all_names() -> None:
    text: dict[str, object] = {"choices": [{"index": 0, "delta": {"content": " word"}}]}
    events = [text, text, text | {"error": None, "service_tier": "flex"}]
    both = [figures([framed(event) for event in events], careful=one) for one in (False, True)]
    assert both[0] == both[1]
    assert both[0][-1]["service_tier"] == "flex"


@settings(max_examples=examples(900))
@given(st.lists(EVENTS, max_size=8), st.booleans(), st.booleans())
def test_whatever_differs_says_the_same_both_ways(
    events: list[dict[str, object]], ascii_only: bool, done: bool
) -> None:
    chunks = [framed(event, ascii_only=ascii_only) for event in events]
    chunks += [framed("[DONE]")] * done
    assert figures(chunks, careful=False) == figures(chunks, careful=True)


@given(st.lists(EVENTS, min_size=2, max_size=2), st.integers(0, 30))
def test_names_that_come_twice_and_events_cut_short_say_the_same(
    events: list[dict[str, object]], cut: int
) -> None:
    first, second = (json.dumps(USUAL | event)[1:-1] for event in events)
    whole = f"{{{first}, {second}}}"
    chunks = [framed(whole[: len(whole) - cut]), framed(events[0])]
    assert figures(chunks, careful=False) == figures(chunks, careful=True)
