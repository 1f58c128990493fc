"""Every answer reads the same however it is cut, and as its client puts it together."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterable

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_responses.meter import ResponseMeter
from tests.core.dialects.openai_responses.answers import (
    BEGIN,
    CASES,
    SENTENCE,
    USAGE,
    Case,
    T,
    call,
    called,
    deltas,
    life,
    message,
    response,
    said,
    sse,
)
from tests.support.effort import examples

EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
FIXED = settings(derandomize=True, deadline=None, max_examples=examples(200))


def fed(chunks: Iterable[bytes], *, stream: bool = True, **form: object) -> ResponseMeter:
    meter = ResponseMeter(stream=stream, text_bytes_max=None, **form)  # type: ignore[arg-type]
    for chunk in chunks:
        meter.feed(chunk)
        assert meter.output_so_far >= 0
    meter.end()
    return meter


def figures(meter: ResponseMeter) -> dict[str, object]:
    names = "usage usage_current usage_final error complete answered finish_reason text_bytes output_measure unreadable doubtful"
    names += " model_served response_id service_tier next_number"
    return {name: getattr(meter, name) for name in names.split()}


@EACH
def test_each_answer_is_read_as_it_is_right(case: Case) -> None:
    meter = fed([case.body], stream=case.stream)
    if case.text_bytes is not None:
        assert meter.text_bytes == case.text_bytes
    usage = meter.usage
    assert (None if usage is None else (usage.input_tokens, usage.output_tokens)) == case.usage
    if usage is not None and usage.raw is not None and "input_tokens_details" in usage.raw:
        assert (usage.cached_tokens, usage.reasoning_tokens) == (300, 40)
    assert (meter.error, meter.complete, meter.unreadable) == (
        case.error,
        case.complete,
        case.unreadable,
    )
    assert (meter.answered, meter.finish_reason) == (case.answered, case.finish_reason)
    for name, value in case.more.items():
        assert getattr(meter, name) == value
    if case.unreadable and case.answered:
        assert meter.output_measure > 0, "what cannot be read counts with its bytes"


@EACH
def test_chunks_and_line_ends_change_nothing(case: Case) -> None:
    right = figures(fed([case.body], stream=case.stream))
    body = case.body
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


STREAMS = [
    [*BEGIN, *said(T), life("completed", output=[message(T)], usage=USAGE)],
    [*BEGIN, *called(call()), life("completed", output=[call()], usage=USAGE)],
    [*BEGIN, *called(call(), 0), *said(SENTENCE, 1), life("incomplete", output=[call(), message(SENTENCE)], usage=USAGE)],
]  # fmt: skip


@pytest.mark.parametrize("events", STREAMS)
def test_the_text_is_what_the_official_client_assembles(events: list[dict[str, object]]) -> None:
    whole = sse(*events)

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=whole)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = openai.OpenAI(api_key="k", base_url="http://upstream.test/v1", http_client=http)
    texts: dict[tuple[str, int], str] = {}
    names = 0
    for event in client.responses.create(model="m", input="x", stream=True):
        if event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
            key = (event.type, event.output_index)
            texts[key] = texts.get(key, "") + event.delta
        elif event.type == "response.output_item.done":
            names += len(getattr(event.item, "name", ""))
    assembled = sum(len(text.encode()) for text in texts.values()) + names
    assert fed([whole]).text_bytes == assembled


def test_the_text_that_is_counted_is_the_text_that_was_delivered() -> None:
    meter = fed([sse(*STREAMS[2])])
    texts = meter.texts
    assert texts is not None
    texts.finish()
    assert sorted("".join(texts.blocks)) == sorted(SENTENCE + "look_up" + str(call()["arguments"]))


def test_a_total_that_was_stated_is_current_until_more_text_comes() -> None:
    meter = ResponseMeter(stream=True)
    meter.feed(sse(*BEGIN, *said(T), life("in_progress", usage=USAGE)))
    assert meter.usage_current and not meter.usage_final
    meter.feed(sse(*deltas("output_text", T, 1)))
    assert not meter.usage_current
    meter.feed(sse(life("completed", usage=USAGE)))
    assert meter.usage_final and meter.complete


@pytest.mark.parametrize(
    "damage",
    [
        (b'"The ferry', b'"\xff\xfeThe ferry'), (b'"item_1"', b'"item\x01"'), (b'"logprobs": []', b'"logprobs": [NaN]'),
        (b'"status": "completed"', b'"status": "comp\\ud83dleted"'), (b'"obfuscation": "xYz8"', b'"obfuscation": "\n"'),
    ],
)  # fmt: skip
def test_damage_costs_what_it_damages(damage: tuple[bytes, bytes]) -> None:
    body = sse(*BEGIN, *said(T), life("completed", output=[message(T)], usage=USAGE))
    meter = fed([body.replace(*damage)])
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (700, 90)
    assert meter.complete and not meter.error


def test_a_last_event_that_is_cut_in_its_middle_still_states_its_usage() -> None:
    body = json.dumps(life("completed", usage=USAGE, output=[message(T)])).encode()[:-2]
    meter = fed([sse(*BEGIN, *said(T)) + b"data: " + body + b"\n\n"])
    assert meter.usage is not None and meter.usage.output_tokens == 90
    assert meter.unreadable and meter.complete


def test_of_a_large_answer_its_usage_is_found_at_its_end() -> None:
    body = json.dumps(response(output=[message(T * 3000)], usage=USAGE)).encode()
    meter = fed([body], stream=False, answer_bytes_max=100_000)
    assert meter.oversized and meter.usage is not None
    assert meter.usage.output_tokens == 90
    late = ResponseMeter(stream=True, event_bytes_max=1000, answer_bytes_max=2 * len(body))
    late.feed(sse(life("completed", output=[message(T * 3000)], usage=USAGE)))
    assert late.complete and not late.oversized, "the last event may be as long as an answer"


@pytest.mark.parametrize("step", [1000, 65_536, 10_000_000])
def test_pictures_in_the_last_event_hide_no_usage_and_are_no_text(step: int) -> None:
    picture = {
        "id": "ig_1",
        "type": "image_generation_call",
        "status": "completed",
        "result": "iVBO" * 400_000,
    }
    whole = life("completed", output=[message(T), picture], usage=USAGE)
    done = {"type": "response.output_item.done", "output_index": 1, "item": picture}
    body = sse(*BEGIN, *said(T), done, whole)
    meter = ResponseMeter(stream=True, event_bytes_max=100_000, answer_bytes_max=1_000_000)
    most = 0
    for at in range(0, len(body), step):
        meter.feed(body[at : at + step])
        most = max(most, meter.output_measure)
    meter.end()
    assert meter.oversized and meter.complete and not meter.error
    assert meter.usage is not None and (meter.usage.output_tokens, meter.usage_final) == (90, True)
    assert meter.output_measure == -(-len(T) // 4)
    assert most < 20_000 + step // 4, "who leaves inside of a picture is not charged for its bytes"
    silent = ResponseMeter(stream=True, answer_bytes_max=1_000_000)
    silent.feed(sse(*BEGIN, *said(T), done, life("completed", output=[picture])))
    silent.end()
    assert silent.usage is None and silent.output_measure < 100


def test_a_queued_response_has_not_been_written_yet() -> None:
    meter = fed([json.dumps(response("queued", background=True)).encode()], stream=False)
    assert (meter.answered, meter.usage, meter.finish_reason, meter.goes_on) == (
        True,
        None,
        "queued",
        True,
    )
    assert not fed([json.dumps(response()).encode()], stream=False).goes_on


@FIXED
@given(st.data())
def test_whatever_comes_it_never_raises_and_reads_the_same_in_any_chunks(
    data: st.DataObject,
) -> None:
    events = data.draw(st.lists(st.sampled_from(PIECES), max_size=8))
    body = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=4)))
    edges = [0, *cuts, len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert figures(fed(pieces)) == figures(fed([body]))


PIECES = [
    sse(*BEGIN), sse(*said(SENTENCE)), sse(*called(call())), sse(life("completed", usage=USAGE)), sse(life("failed", error={"code": "x"})),
    b"data: [DONE]\n\n", b"data: {}\n\n", b'data: {"type":7}\n\n', b'data: {"type":"response.output_item.done","item":[]}\n\n',
    b'data: {"type":"response.output_text.delta","delta":{"a":1},"output_index":"x"}\n\n', b'data: {"type":"response.completed","response":[]}\n\n',
    b'data: {"type":"response.completed","response":{"object":"response","output":{"a":[1]},"usage":[],"error":[]}}\n\n',
    b'data: {"type":"response.content_part.done","part":"x"}\n\n', b"data: \xff\xff\n\n", b"\n", b"data: [[[[\n\n", b'data: {"type":"response.x.delta","delta":"y"}\n\n',
    b'data: {"type":"response.completed","response":{"object":"response","output":[{"content":[{"text":null}],"summary":"s","arguments":{"a":1}}]}}\n\n',
]  # fmt: skip
