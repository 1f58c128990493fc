"""Events that differ in number, text and padding alone read the same as events that are parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_responses.alike import AlikePieces
from proxy.core.dialects.openai_responses.meter import ResponseMeter
from tests.core.dialects.openai_responses.answers import USAGE, Event, life, sse
from tests.support.effort import examples
from tests.support.runs import mixture_comes_to_the_same

TEXTS = st.text(max_size=12) | st.sampled_from(
    ['","delta":"x', '"', "\\", "好 😀", "\n\n", "\r", "\u2028", '"obfuscation":"', "}", "[DONE]"]
)


def piece(text: str, number: int = 7, padding: str | None = "aB3", at: int = 0) -> bytes:
    event: Event = {"type": "response.output_text.delta", "sequence_number": number, "item_id": "m",
                    "output_index": at, "content_index": 0, "delta": text, "logprobs": []}  # fmt: skip
    if padding is not None:
        event["obfuscation"] = padding
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def test_number_and_text_are_read_from_their_places() -> None:
    for padding in ("x", None):
        shape = AlikePieces.of(piece("one", 4, padding), (0, "text", 0))
        assert shape is not None
        assert shape.read(piece(" two", 12, padding and "yy")) == (b"12", b" two")
        assert shape.read(piece("", 12, padding)) == (b"12", b"")
        assert shape.read(piece('a\n\\"b"', 12, padding)) == (b"12", b'a\n\\"b"')


@pytest.mark.parametrize(
    "chunk",
    [
        piece("x").replace(b'"x"', b'"x"y"'), piece("x").replace(b"x", b"\\x"), piece("x").replace(b"x", b"x\\"), piece("x", at=1), piece("x")[:-1], piece("x") + piece("y"), piece("x").replace(b"7", b"seven"),
        piece("x").replace(b'"logprobs":[]', b'"logprobs":[1]'), piece("x", padding='a"b'), piece("x", padding=None),
        piece("x").replace(b'"obfuscation":"aB3"', b'"obfuscation":"'), b"", b"\n\n",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_be_parsed(chunk: bytes) -> None:
    shape = AlikePieces.of(piece("one"), (0, "text", 0))
    assert shape is not None and shape.read(chunk) is None


@pytest.mark.parametrize("chunk", [piece("a") + piece("b"), piece("\\"), piece("x").replace(b'"sequence_number":7,', b""), b"data: {}\n\n"])  # fmt: skip
def test_no_shape_is_made_of_what_is_not_plain(chunk: bytes) -> None:
    assert AlikePieces.of(chunk, (0, "text", 0)) is None


@settings(derandomize=True, max_examples=examples(200))
@given(
    st.lists(
        st.tuples(TEXTS, st.integers(0, 10**6), st.none() | TEXTS, st.integers(0, 1)), max_size=12
    )
)
def test_a_stream_reads_the_same_in_chunks_of_one_event_and_in_one_piece(
    pieces: list[tuple[str, int, str | None, int]],
) -> None:
    events = [piece(*one) for one in pieces]
    events.append(sse(life("completed", usage=USAGE)))
    one_by_one, at_once = (ResponseMeter(stream=True, text_bytes_max=None) for _ in range(2))
    for event in events:
        one_by_one.feed(event)
    at_once.feed(b"".join(events))
    for meter in (one_by_one, at_once):
        meter.end()
        assert meter.texts is not None
        meter.texts.finish()
    assert (
        one_by_one.text_bytes
        == at_once.text_bytes
        == sum(len(text.encode("utf-8", "surrogatepass")) for text, *_ in pieces)
    )
    assert "".join(one_by_one.texts.blocks) == "".join(at_once.texts.blocks)  # type: ignore[union-attr]
    assert (one_by_one.usage, one_by_one.next_number) == (at_once.usage, at_once.next_number)


CHUNKS = st.one_of(
    st.builds(piece, TEXTS, st.integers(0, 10**6)),
    st.sampled_from(
        [
            piece("x", padding=None), piece("x", at=1), piece("a") + piece("b"), piece("x")[:40], piece("x")[40:], b"", b"\n\n",
            sse(life("in_progress", usage=USAGE)), sse(life("completed", usage=USAGE)), sse({"type": "error", "message": "no"}),
            sse({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "y" * 40}),
        ]
    ),
)  # fmt: skip


@settings(derandomize=True, max_examples=examples(300))
@given(st.lists(CHUNKS, max_size=25), st.data())
def test_a_run_in_any_mixture_with_the_meter_comes_to_the_same(
    chunks: list[bytes], data: st.DataObject
) -> None:
    mixture_comes_to_the_same(ResponseMeter, [sse(life("created")), piece("Once"), *chunks], data)


def test_nearly_every_chunk_of_a_stream_is_taken_by_its_run() -> None:
    meter = ResponseMeter(stream=True)
    meter.feed(sse(life("created")))
    meter.feed(piece("Once"))
    texts = [" word", "\n\n", ' "so"', " 好", "", "." * 300]
    assert meter.run is not None
    taken = [meter.run.take(piece(text, 8 + at)) for at, text in enumerate(texts)]
    assert taken == [len(text.encode()) for text in texts]
    assert meter.next_number == 8 + len(texts)
    assert meter.text_bytes == len("Once" + "".join(texts)) + 2


def test_pieces_that_name_no_item_go_to_the_one_that_came_last() -> None:
    def bare(text: str) -> bytes:
        event = {"type": "response.output_text.delta", "sequence_number": 1, "delta": text}
        return f"data: {json.dumps(event)}\n\n".encode()

    def event(name: str, **members: object) -> bytes:
        return f"data: {json.dumps({'type': name, **members})}\n\n".encode()

    meter = ResponseMeter(stream=True, content_type="text/event-stream")
    for number, words in enumerate((["one ", "two ", "three"], ["four ", "five ", "six"])):
        item = {"id": f"m{number}", "type": "message", "content": []}
        meter.feed(event("response.output_item.added", output_index=number, item=item))
        for word in words:
            meter.feed(bare(word))
        text = {"type": "output_text", "text": "".join(words)}
        done = item | {"content": [text]}
        meter.feed(event("response.output_item.done", output_index=number, item=done))
    meter.end()
    assert meter.text_bytes == len("one two three" + "four five six")
