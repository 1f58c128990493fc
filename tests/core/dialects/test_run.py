"""Chunks that are like the last one: taken in any mixture with the meter, they come to the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.run import Run, plain_texts
from tests.support.effort import examples
from tests.support.runs import mixture_comes_to_the_same

FIXED = settings(max_examples=300)
USAGE = {"prompt_tokens": 9, "completion_tokens": 400}


def event(text: str | None, finish: str | None = None, **fields: object) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    whole = {"id": "c-1", "model": "m-1", "choices": [choice], **fields}
    return b"data: " + json.dumps(whole, separators=(",", ":")).encode() + b"\n\n"


BEGUN = [event("Once upon a time"), event(" there was"), event(" a tide")]
CHUNKS = st.one_of(
    st.text(max_size=9).map(event),
    st.sampled_from([" word", " a", "", '"', "\\", "\n", "好", "😀", "x" * 300]).map(event),
    st.text("ab", max_size=4).map(lambda text: event(" x", obfuscation=text)),
    st.sampled_from(
        [
            event(None, "stop"),
            event(" y", usage=USAGE),
            event(" y", usage=None),
            event("", choices=[], usage=USAGE),
            event(" x", error={"message": "no"}),
            b"data: [DONE]\n\n",
            b": comment\n\n",
            b'event: error\ndata: {"error":{}}\n\n',
            event(" one") + event(" two"),
            event(" cut")[:40],
            event(" cut")[40:],
            b"\n",
            b"",
        ]
    ),
)


def opened() -> ChatMeter:
    meter = ChatMeter(stream=True, text_bytes_max=None, measure=(2, 7))
    for chunk in BEGUN:
        meter.feed(chunk)
    return meter


@FIXED
@given(st.lists(CHUNKS, max_size=25), st.data())
def test_a_run_in_any_mixture_with_the_meter_comes_to_the_same(
    chunks: list[bytes], data: st.DataObject
) -> None:
    mixture_comes_to_the_same(ChatMeter, [*BEGUN, *chunks], data)


def test_nearly_every_chunk_of_a_stream_is_taken_by_its_run() -> None:
    meter = opened()
    texts = [" word", " another", ".", " 好", "\n\n", ' "so"', " it", " goes"] * 20
    assert meter.run is not None
    meter.take_over()
    assert [meter.run.take(event(text)) for text in texts] == [len(text.encode()) for text in texts]
    meter.end()
    assert (
        meter.text_bytes
        == len("Once upon a time there was a tide" + "".join(texts).encode().decode()) + 40
    )


@pytest.mark.parametrize(
    "chunk",
    [
        event(" y", usage=None),
        event(" y", "stop"),
        event(" y") + event(" z"),
        event(" y")[:-1],
        event(" y")[1:],
        event(" y").replace(b" y", b' y","usage":{"completion_tokens":1},"x":"'),
        event(" y").replace(b" y", b" y\n"),
        event(" y").replace(b" y", b" y\r"),
        event(" y").replace(b" y", b" \\y"),
        event("longer than half of all the text that has come till now"),
        event(" y").replace(b' y"', b""),
    ],
)
def test_what_differs_in_anything_else_is_left_to_the_meter(chunk: bytes) -> None:
    meter = opened()
    meter.take_over()
    assert meter.run is not None and meter.run.take(event(" x")) == 2
    assert meter.run.take(chunk) is None


def test_there_is_none_where_text_would_change_what_is_known() -> None:
    meter = opened()
    assert meter.run is not None
    meter.feed(b'data: {"id"')
    assert meter.run is None, "an event is not whole"
    meter.feed(b':"c-1"}\n\n')
    meter.feed(event("", choices=[], usage=USAGE))
    assert meter.usage_current and meter.run is None, "text takes back that it is current"
    meter.feed(event(" x"))
    assert not meter.usage_current and meter.run is not None


@pytest.mark.parametrize("measure", [(1, 4), (2, 7), (5, 3), (1, 1)])
def test_room_is_all_the_text_that_the_measure_has_room_for(measure: tuple[int, int]) -> None:
    meter = ChatMeter(stream=True, measure=measure)
    for chunk in BEGUN:
        meter.feed(chunk)
    tokens = meter.output_measure + 20
    room_bytes = meter.room_bytes(tokens)
    for text in ("x" * room_bytes, "y"):
        assert meter.output_measure <= tokens
        meter.feed(event(text))
    assert meter.output_measure > tokens


def test_what_was_taken_is_handed_out_once() -> None:
    run = Run(b"<", b">", lambda chunk: None)
    assert run.take(b"<abc>") is None, "no piece may be as long before the meter has said so"
    run.allow(3, 1000)
    chunks = (b"<abc>", b"<>", b"<d>", b"<long>", b"<d", b"d>", b"<\n>", b'<">')
    assert [run.take(chunk) for chunk in chunks] == [3, None, 1, None, None, None, None, None]
    assert (run.take_over(), run.take_over()) == ([b"abc", b"d"], [])


PARTS = st.sampled_from(
    [b"<", b">", b"<a>", b"<bc>", b"<>", b"a", b'<">', b"<\\>", b"<\n>", b"<\r>"]
)


@settings(max_examples=examples(600))
@given(st.lists(st.lists(PARTS, max_size=3).map(b"".join), max_size=9), st.integers(-1, 3))
def test_texts_found_at_once_are_those_that_a_look_at_each_finds(
    events: list[bytes], text_bytes_max: int
) -> None:
    run = Run(b"<", b">", lambda chunk: b"" if chunk == b"<>" else None)
    run.allow(text_bytes_max, 1000)
    for event in events:
        if run.take(event) is None:
            break
    assert plain_texts(events, b"<", b">", text_bytes_max) == run.take_over()


def test_many_are_taken_only_as_far_as_there_is_room() -> None:
    run = Run(b"<", b">", lambda chunk: None)
    chunks = [b"<abc>", b"<d>", b"<ef>", b"<ghij>", b"<k>"]
    assert run.take_front(chunks, piece_bytes_max=9, text_bytes_max=99) == (0, 0)
    run.allow(3, 1000)
    assert run.take_front(chunks, piece_bytes_max=9, text_bytes_max=99) == (3, 6)
    assert run.take_front(chunks, piece_bytes_max=9, text_bytes_max=5) == (2, 4)
    assert run.take_front(chunks, piece_bytes_max=2, text_bytes_max=99) == (0, 0)
    assert run.take_front([b"<", b">"], piece_bytes_max=9, text_bytes_max=99) == (0, 0)
    assert run.take_over() == [b"abc", b"d", b"ef", b"abc", b"d"]
