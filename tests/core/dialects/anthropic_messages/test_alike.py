"""Events that differ in their text alone read the same as events that are parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.anthropic_messages import meter as meter_module
from proxy.core.dialects.anthropic_messages.alike import AlikeDeltas
from proxy.core.dialects.anthropic_messages.events import MessageEvent, read_delta, read_event
from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from tests.core.dialects.anthropic_messages.answers import (
    OVER,
    TOOL,
    Event,
    block,
    delta,
    end,
    sse,
    start,
    stop,
)
from tests.support.effort import examples
from tests.support.runs import mixture_comes_to_the_same

TEXTS = st.text(max_size=12) | st.sampled_from(
    ['","text":"x', '"', "\\", "好 😀", "\n\n", "\r", "\t", "\x01", "\u2028", "}}", "[DONE]", '"text"']
)  # fmt: skip
KINDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json", "compaction_delta": "content"}  # fmt: skip


def piece(text: str, kind: str = "text_delta", at: int = 0, *, spaced: bool = False) -> bytes:
    event: Event = delta(kind, at, **{KINDS[kind]: text})
    data = json.dumps(event, ensure_ascii=False, separators=None if spaced else (",", ":"))
    return f"event: content_block_delta\ndata: {data}\n\n".encode("utf-8", "surrogatepass")


def shape_of(chunk: bytes) -> AlikeDeltas | None:
    event = read_event(chunk.partition(b"data: ")[2])
    assert isinstance(event, MessageEvent)
    return AlikeDeltas.of(chunk, bytes(event.index), read_delta(event.delta))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spaced", [True, False])
def test_the_text_is_read_from_its_place(kind: str, spaced: bool) -> None:
    shape = shape_of(piece("one", kind, 3, spaced=spaced))
    assert shape is not None and (shape.index, shape.call) == (b"3", kind == "input_json_delta")
    assert shape.read(piece(" two 好", kind, 3, spaced=spaced)) == " two 好".encode()
    assert shape.read(piece("", kind, 3, spaced=spaced)) == b""
    assert shape.read(piece('a\n\\"b"', kind, 3, spaced=spaced)) == b'a\n\\"b"'


@pytest.mark.parametrize(
    "chunk",
    [
        piece("x").replace(b'"x"', b'"x"y"'), piece("x").replace(b'"x"', b'"\\x"'), piece("x").replace(b'"x"', b'"x\\"'), piece("x", at=1), piece("x")[:-1], piece("x") + piece("y"), piece("x", "thinking_delta"),
        piece("x", spaced=True), piece("x").replace(b'"x"', b'"x\x01"'), piece("x").replace(b'"x"', b'"'), b"", b"\n\n",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_be_parsed(chunk: bytes) -> None:
    shape = shape_of(piece("one"))
    assert shape is not None and shape.read(chunk) is None


@pytest.mark.parametrize(
    "chunk",
    [
        piece("\\"), piece("x").replace(b'"delta"', b'"text":"x","delta"'), piece("x").replace(b'"text":"x"', b'"text":7'),
        piece("x").replace(b'"text":"x"', b'"text":"x","text":"y"'), piece("x").replace(b"\n\n", b"\r\n\r\n"),
        sse(delta("signature_delta", 0, signature="Eq")),
    ],
)  # fmt: skip
def test_no_shape_is_made_of_what_is_not_plain(chunk: bytes) -> None:
    assert shape_of(chunk) is None


@settings(derandomize=True, max_examples=examples(200))
@given(
    st.lists(
        st.tuples(TEXTS, st.sampled_from([*KINDS]), st.integers(0, 1), st.booleans()), max_size=12
    )
)
def test_a_stream_reads_the_same_in_chunks_of_one_event_and_in_one_piece(
    pieces: list[tuple[str, str, int, bool]],
) -> None:
    events = [sse(start()), sse(block("tool_use", 0, name="f", input=TOOL["input"]))]
    events += [piece(text, kind, at, spaced=spaced) for text, kind, at, spaced in pieces]
    events += [sse(stop()), sse(end(usage={"output_tokens": 50}), OVER)]
    one_by_one, at_once = (MessageMeter(stream=True, text_bytes_max=None) for _ in range(2))
    for event in events:
        one_by_one.feed(event)
    at_once.feed(b"".join(events))
    for meter in (one_by_one, at_once):
        meter.end()
        assert meter.texts is not None
        meter.texts.finish()
    assert one_by_one.text_bytes == at_once.text_bytes
    assert one_by_one.texts is not None and at_once.texts is not None
    assert one_by_one.texts.blocks == at_once.texts.blocks
    assert (one_by_one.usage, one_by_one.usage_final) == (at_once.usage, at_once.usage_final)


@pytest.mark.parametrize("at_once", [False, True], ids=["each", "in one chunk"])
def test_events_that_are_alike_are_not_parsed(
    monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    parsed: list[bytes] = []

    def counting(data: bytes) -> MessageEvent | None:
        parsed.append(data)
        return read_event(data)

    monkeypatch.setattr(meter_module, "read_event", counting)
    meter = MessageMeter(stream=True)
    meter.feed(sse(start()))
    chunks = [piece(text) for text in ("one", " two", ' "three"', " four", " five")]
    for chunk in [b"".join(chunks * 9)] if at_once else chunks * 9:
        meter.feed(chunk)
    assert [b"one" in data for data in parsed[2:]] == [True]
    assert meter.text_bytes == 9 * len('one two "three" four five')


CHUNKS = st.one_of(
    st.builds(piece, TEXTS),
    st.sampled_from(
        [
            piece("x", "thinking_delta"), piece("{", "input_json_delta", 1), piece("a") + piece("b"), piece("x")[:40], piece("x")[40:],
            b"", b"\n\n", sse(stop()), sse(block("tool_use", 0, name="f", input=TOOL["input"])), sse(end(usage={"output_tokens": 50})),
            sse(OVER), sse(delta("thinking_delta", 0, thinking="", estimated_tokens=50)), b"event: error\ndata: {}\n\n",
        ]
    ),
)  # fmt: skip


@settings(derandomize=True, max_examples=examples(300))
@given(st.lists(CHUNKS, max_size=25), st.data())
def test_a_run_in_any_mixture_with_the_meter_comes_to_the_same(
    chunks: list[bytes], data: st.DataObject
) -> None:
    mixture_comes_to_the_same(MessageMeter, [sse(start()), piece("Once"), *chunks], data)


def test_nearly_every_chunk_of_a_stream_is_taken_by_its_run() -> None:
    meter = MessageMeter(stream=True)
    meter.feed(sse(start()))
    meter.feed(piece("Once"))
    texts = [" word", "\n\n", ' "so"', " 好", "", "." * 300]
    assert meter.run is not None
    chunks = [piece(text) for text in texts]
    taken = [meter.run.take(chunk) for chunk in chunks]
    assert taken == [len(text.encode()) for text in texts]
    assert meter.run.take_front(chunks, piece_bytes_max=9, text_bytes_max=99) == (1, 5)
    meter.take_over()
    assert meter.text_bytes == len("Once" + "".join(texts)) + 2 + len(" word")
