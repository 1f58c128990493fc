"""A real answer is never free, and more text never costs less: whatever it says, whatever was
stated beside it, and whatever of it is damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.entries import Opened
from proxy.core.pricing.amounts import NoPrices
from proxy.core.records.ending import Ending, How
from proxy.core.records.settlement import settle
from proxy.core.usage import Outcome, UsageRecord
from tests.support.effort import examples

FIXED = settings(derandomize=True, deadline=None, max_examples=examples(80))
OPENED = Opened(
    id="id",
    started_at_ms=1_000,
    key_id="alice",
    endpoint="/v1/chat/completions",
    upstream="u",
    stream=True,
    bytes_in=400,
    input_estimate=100,
)
SENTENCE = "The tide came in slowly over the sand. "
NAMES = ("prompt_tokens", "completion_tokens", "total_tokens")


def record(body: bytes, how: How = How.ANSWERED, *, stream: bool = True) -> UsageRecord:
    """What is booked for an answer."""
    meter = ChatMeter(stream=stream)
    for at in range(0, len(body), 997):
        meter.feed(body[at : at + 997])
    meter.end()
    if meter.error and how is How.ANSWERED:
        how = How.ERROR_EVENT
    ending = Ending(
        how=how, status=200, usage=meter.usage, usage_current=meter.usage_current, usage_final=meter.usage_final, answered=meter.answered,
        output_measure=meter.output_measure, done=meter.complete,
    )  # fmt: skip
    return settle(OPENED, ending, "w", NoPrices())


def event(
    text: str | None = None, usage: object = None, *, index: int = 0, choice: bool = True
) -> dict[str, object]:
    delta = {} if text is None else {"content": text}
    return {
        "model": "m",
        "choices": [{"index": index, "delta": delta}] if choice else [],
        "usage": usage,
    }


def stream_of(events: list[dict[str, object]], *, done: bool = False) -> bytes:
    return (
        b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in events)
        + b"data: [DONE]\n\n" * done
    )


# No word begins another one: pieces that grow from each other may be all of the text so far, sent
# again.
WORDS = st.sampled_from(
    ["The", " tide", " came", "\n", " 好", "😀", " 150", " slowly over the sand"]
)
COUNTS = st.one_of(st.none(), st.sampled_from([0, 1, 2, 5, 40, 700, -1, "9", 9.0]))
USAGE = st.one_of(st.none(), st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, COUNTS)))
EVENTS = st.lists(
    st.builds(
        event, st.one_of(st.none(), WORDS), USAGE, index=st.integers(0, 1), choice=st.booleans()
    ),
    min_size=1,
    max_size=8,
)


@FIXED
@example([event("The", {"total_tokens": 700})], "The", 1, How.ANSWERED, False)
@given(
    EVENTS,
    WORDS,
    st.integers(0, 8),
    st.sampled_from([How.ANSWERED, How.UPSTREAM_CUT, How.CLIENT_LEFT, How.CUT]),
    st.booleans(),
)
def test_no_text_that_is_added_to_an_answer_lowers_its_output(
    events: list[dict[str, object]], text: str, at: int, how: How, done: bool
) -> None:
    longer = [*events[:at], event(text), *events[at:]]
    before, after = (
        record(stream_of(events, done=done), how),
        record(stream_of(longer, done=done), how),
    )
    assert before.output_tokens is not None and after.output_tokens is not None
    assert after.output_tokens >= max(before.output_tokens, 1)


@FIXED
@given(
    st.one_of(
        st.text(min_size=1, max_size=200),
        st.lists(
            st.sampled_from(
                [
                    '"usage":{"prompt_tokens":1}',
                    '{"error":{}}',
                    "data: [DONE]\n\n",
                    "\\",
                    '"',
                    "}}]}",
                    "\ud83d",
                    "\x00",
                ]
            ),
            min_size=1,
        ).map("".join),
    )
)
@pytest.mark.parametrize("stream", [True, False])
def test_whatever_a_caller_has_written_out_is_charged(stream: bool, text: str) -> None:
    """A caller decides what a model says: no text ends the reading, states usage, or makes the
    answer an error."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if stream:
        body = stream_of([event(SENTENCE), event(text), event(SENTENCE)])
        size += 2 * len(SENTENCE)
    else:
        body = json.dumps(
            {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        ).encode()
    booked = record(body, stream=stream)
    assert (booked.input_tokens, booked.output_tokens, booked.outcome) == (
        100,
        -(-size // 4),
        Outcome.COMPLETED,
    )


DAMAGE = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"\n", b"\n\n", b'"', b"\\", b"}", b"{", b"[", b"<", b"\xef\xbb", b"data: [DONE]\n\n"]
    ),
)


@FIXED
@given(st.floats(0, 1), st.integers(0, 60), DAMAGE, st.booleans())
def test_no_damage_in_one_place_makes_a_stream_free(
    place: float, width: int, damage: bytes, stated: bool
) -> None:
    events = [event(f"{number}: {SENTENCE}") for number in range(9)]
    body = stream_of(
        [*events, event(usage=dict(zip(NAMES, (90, 95, 185), strict=True)), choice=False)]
        if stated
        else events,
        done=True,
    )
    at = int(place * len(body))
    booked = record(body[:at] + damage + body[at + width :])
    assert booked.input_tokens and booked.output_tokens, booked
    assert booked.output_tokens >= 50 or booked.output_source == "reported", (
        "most of the text stands"
    )


@FIXED
@given(st.floats(0, 1), st.integers(0, 20), DAMAGE)
def test_no_damage_makes_a_json_answer_free(place: float, width: int, damage: bytes) -> None:
    head, text, tail = (
        b'{"id":"c","choices":[{"message":{"content":"',
        SENTENCE.encode() * 9,
        b'"},"finish_reason":"stop"}]}',
    )
    at = len(head) + int(place * (len(text) + len(tail)))
    whole = head + text + tail
    booked = record(whole[:at] + damage + whole[at + width :], stream=False)
    assert booked.input_tokens and booked.output_tokens, booked
