"""Every answer reads the same however it is cut, and as its client puts it together."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.core.dialects.openai_chat.media import PICTURE_TOKENS
from tests.core.dialects.anthropic_messages.answers import (
    CASES,
    FAILED,
    OVER,
    PING,
    SENTENCE,
    START,
    Case,
    T,
    block,
    called,
    delta,
    end,
    message,
    said,
    sse,
    start,
    stop,
    thought,
)
from tests.support.effort import examples

EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
FIXED = settings(derandomize=True, deadline=None, max_examples=examples(200))


def fed(chunks: Iterable[bytes], *, stream: bool = True, **form: object) -> MessageMeter:
    meter = MessageMeter(stream=stream, text_bytes_max=None, **form)  # type: ignore[arg-type]
    for chunk in chunks:
        meter.feed(chunk)
        assert meter.output_so_far >= 0
    meter.end()
    return meter


def figures(meter: MessageMeter) -> dict[str, object]:
    names = "usage usage_current usage_final error complete done answered finish_reason text_bytes"
    names += " output_measure unreadable model_served response_id service_tier"
    return {name: getattr(meter, name) for name in names.split()}


@EACH
def test_each_answer_is_read_as_it_is_right(case: Case) -> None:
    meter = fed([case.body], stream=case.stream)
    usage = meter.usage
    counts = None if usage is None else (
        usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_long_tokens, usage.output_tokens,
    )  # fmt: skip
    assert counts == case.usage
    assert meter.usage_final == case.final
    assert (meter.error, meter.complete, meter.unreadable) == (
        case.error,
        case.complete,
        case.unreadable,
    )
    assert (meter.answered, meter.finish_reason) == (case.answered, case.finish)
    assert meter.text_bytes == len(case.text.encode())
    texts = meter.texts
    if texts is not None:
        texts.finish()
        assert sorted("".join(texts.blocks)) == sorted(case.text)
    for name, value in case.more.items():
        assert getattr(meter, name) == value
    if case.unreadable and case.answered:
        assert meter.output_measure > 0, "what cannot be read counts with its bytes"


@EACH
def test_chunks_and_line_ends_change_nothing(case: Case) -> None:
    body = case.body
    right = figures(fed([body], stream=case.stream))
    dice = random.Random(len(body))
    for at in {0, 1, 6, 7, len(body) - 1, *(dice.randrange(len(body) + 1) for _ in range(40))}:
        assert figures(fed([body[:at], body[at:]], stream=case.stream)) == right
    assert figures(fed((body[at : at + 1] for at in range(len(body))), stream=case.stream)) == right
    packed = gzip.compress(body)
    coded = fed([packed[:20], packed[20:]], stream=case.stream, content_encoding="gzip")
    assert figures(coded) == right
    if case.stream and body.startswith((b"event", b"data")):
        for form in (body.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + body, b": hi\n\n" + body):
            assert figures(fed([form], stream=True)) == right


@pytest.mark.campaign
@EACH
def test_every_cut_in_two_changes_nothing(case: Case) -> None:
    right = figures(fed([case.body], stream=case.stream))
    for at in range(len(case.body) + 1):
        assert figures(fed([case.body[:at], case.body[at:]], stream=case.stream)) == right


def test_a_total_that_was_stated_is_current_until_more_text_comes() -> None:
    meter = MessageMeter(stream=True)
    meter.feed(sse(start(), *said(T), end(None, {"output_tokens": 9})))
    assert meter.usage_current and not meter.usage_final
    meter.feed(sse(*said(T, 1)))
    assert not meter.usage_current
    meter.feed(sse(end(usage={"output_tokens": 50})))
    assert meter.usage_final and meter.complete and not meter.done
    meter.feed(sse(OVER))
    assert meter.done


def test_hidden_thinking_counts_by_the_vendors_hints_until_the_output_is_stated() -> None:
    hints = [delta("thinking_delta", thinking="", estimated_tokens=50) for _ in range(4)]
    events = [start(), block("thinking", thinking="", signature=""), *hints]
    for chunks in ([sse(*events)], [sse(event) for event in events]):
        broken = fed(chunks)
        assert (broken.output_measure, broken.output_so_far) == (200, 200)
        assert not broken.text_known and not broken.usage_current
    whole = fed([sse(start(), *hints, stop(), *said(T, 1), end(usage={"output_tokens": 9}), OVER)])
    assert whole.usage is not None and (whole.usage.output_tokens, whole.output_so_far) == (9, 9)


METRICS = {"inputTokenCount": 12, "outputTokenCount": 50, "cacheReadInputTokenCount": 588,
           "cacheWriteInputTokenCount": 100, "invocationLatency": 900, "firstByteLatency": 90}  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last", "counts"),
    [
        (None, None, (700, 588, 100, 50)),
        (START, None, (700, 588, 100, 50)),
        (START, {"output_tokens": 49}, (700, 588, 100, 49)),
        ({"input_tokens": 0, "output_tokens": 0}, {"output_tokens": 0}, (700, 588, 100, 50)),
    ],
)
def test_bedrocks_metrics_state_what_nothing_else_did(
    first: dict[str, object] | None, last: dict[str, object] | None, counts: tuple[int, ...]
) -> None:
    over = OVER | {"amazon-bedrock-invocationMetrics": METRICS}
    meter = fed([sse(start(first), *said(T), end(usage=last), over)])
    usage = meter.usage
    assert usage is not None and meter.usage_final and meter.complete
    assert (
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
    ) == counts


def test_a_whole_message_may_state_its_usage_in_bedrocks_metrics_alone() -> None:
    answer = message({"type": "text", "text": T}, usage=None)[:-1]
    metrics = json.dumps({"amazon-bedrock-invocationMetrics": METRICS})[1:]
    meter = fed([answer + b"," + metrics.encode()], stream=False)
    assert meter.usage is not None and (meter.usage.input_tokens, meter.usage.output_tokens) == (700, 50)  # fmt: skip


def test_the_first_output_is_a_placeholder() -> None:
    meter = MessageMeter(stream=True)
    meter.feed(sse(start()))
    assert meter.usage is not None and not meter.usage_current
    meter.feed(sse(*said(T)[:-1]))
    assert meter.output_so_far == -(-len(T) // 4), "what was delivered, not the 3 of the start"


@pytest.mark.parametrize(("text", "output", "final"), [("", 0, True), (T, 3, False)])
def test_a_zero_at_the_end_is_stated_where_nothing_was_written(
    text: str, output: int, final: bool
) -> None:
    """As an official SDK's own test has a request that the vendor refuses."""
    body = sse(start(), *said(text), end("refusal", {"output_tokens": 0}), OVER)
    for chunks in ([body], [body[:-2]], [body[at : at + 1] for at in range(len(body))]):
        meter = fed(chunks)
        assert meter.usage is not None
        assert (meter.usage.output_tokens, meter.usage_final, meter.error) == (output, final, False)


@pytest.mark.parametrize(
    "damage",
    [
        (b'"The ferry', b'"\xff\xfeThe ferry'), (b'"msg_1"', b'"msg\x01"'), (b'"stop_sequence": null', b'"stop_sequence": NaN'),
        (b'"end_turn"', b'"end\\ud83d"'), (b'"service_tier": "standard"', b'"service_tier": 1e400'),
    ],
)  # fmt: skip
def test_damage_costs_what_it_damages(damage: tuple[bytes, bytes]) -> None:
    body = sse(start(), *said(T), end(usage={"output_tokens": 50}), OVER)
    meter = fed([body.replace(*damage)])
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (700, 50)
    assert meter.complete and not meter.error


def test_a_last_event_that_is_cut_in_its_middle_still_states_its_usage() -> None:
    meter = fed([sse(start(), *said(T)) + sse(end(usage={"output_tokens": 50}))[:-3] + b"\n\n"])
    assert meter.usage is not None and meter.usage.output_tokens == 50
    assert meter.unreadable and meter.finish_reason == "end_turn"


def test_of_a_large_answer_its_usage_is_found_at_its_end() -> None:
    body = message({"type": "text", "text": T * 3000})
    meter = fed([body], stream=False, answer_bytes_max=100_000)
    assert meter.oversized and meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (700, 50)
    assert meter.usage_final


def test_a_vendor_that_counts_the_cache_inside_can_be_said_to() -> None:
    meter = fed([message({"type": "text", "text": T})], stream=False, cached_inside_input=True)
    assert meter.usage is not None
    assert meter.usage.inconsistent, "12 cannot hold 688: the numbers prove that they lie beside"
    inside = {"input_tokens": 700, "cache_read_input_tokens": 588, "output_tokens": 50}
    whole = fed([message(usage=inside)], stream=False, cached_inside_input=True)
    assert whole.usage is not None and whole.usage.input_tokens == 700


@FIXED
@given(st.data())
def test_whatever_comes_it_never_raises_and_reads_the_same_in_any_chunks(
    data: st.DataObject,
) -> None:
    body = b"".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=4)))
    pieces = [body[at:to] for at, to in itertools.pairwise([0, *cuts, len(body)])]
    assert figures(fed(pieces)) == figures(fed([body]))


PIECES = [
    sse(start()), sse(*said(SENTENCE)), sse(*thought(SENTENCE)), sse(*called()), sse(end(usage={"output_tokens": 5})), sse(OVER), sse(FAILED), sse(PING),
    sse(start(START | {"iterations": [7, {"type": "compaction"}]})), message({"type": "text", "text": T}),
    b"data: [DONE]\n\n", b"data: {}\n\n", b'data: {"type":7}\n\n', b'data: {"type":"message_start","message":[]}\n\n', b'data: {"type":"message_delta","delta":"x","usage":[]}\n\n',
    b'data: {"type":"content_block_delta","index":{},"delta":{"type":"text_delta","text":{"a":1}}}\n\n', b'data: {"type":"content_block_start","content_block":7}\n\n',
    b'data: {"type":"content_block_start","content_block":{"type":"tool_use","name":7,"input":"x"}}\n\n', b'data: {"type":"content_block_start","content_block":{"type":"fallback","to":7}}\n\n',
    b'data: {"type":"message","content":{"a":[1]},"usage":{"input_tokens":"x","cache_creation":7,"server_tool_use":[]}}\n\n', b"data: \xff\xff\n\n", b"\n", b"data: [[[[\n\n",
]  # fmt: skip


def test_an_answer_that_is_like_a_message_is_one_whatever_it_says_to_be() -> None:
    body = b'{"type":"m\x00essage","content":[{"type":"text","text":"a"}],"usage":{"input_tokens":7,"output_tokens":5}}'
    usage = fed([body], stream=False).usage
    assert usage is not None and (usage.input_tokens, usage.output_tokens) == (7, 5)


@pytest.mark.parametrize("at", [1, 20, 60])
def test_a_total_behind_an_error_is_not_final_in_any_pieces(at: int) -> None:
    end = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}\n\n'
    body = b"event: error\ndata: {}\n\n" + end
    assert not fed([body], stream=True).usage_final
    assert not fed([body[:at], body[at:]], stream=True).usage_final


@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_that_a_relay_sends_counts_on_the_high_side(stream: bool) -> None:
    """Relays of Google's models send pictures as blocks; without a usage they were next to free."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO" * 1000}}  # fmt: skip
    meter = MessageMeter(stream=stream, text_bytes_max=None)
    if stream:
        begins = {"type": "content_block_start", "index": 0, "content_block": picture}
        meter.feed(f"event: content_block_start\ndata: {json.dumps(begins)}\n\n".encode())
    else:
        body = {
            "type": "message",
            "role": "assistant",
            "content": [picture],
            "stop_reason": "end_turn",
        }
        meter.feed(json.dumps(body).encode())
    meter.end()
    assert meter.output_measure == PICTURE_TOKENS and not meter.text_known and meter.answered


def test_usage_in_the_event_that_ends_the_stream_is_its_usage() -> None:
    events = [START, *said(T), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]
    events.append({"type": "message_stop", "usage": {"output_tokens": 15}})
    meter = MessageMeter(stream=True, text_bytes_max=None)
    meter.feed("".join(f"data: {json.dumps(event)}\n\n" for event in events).encode())
    meter.end()
    assert meter.usage is not None and meter.usage.output_tokens == 15 and meter.usage_final
