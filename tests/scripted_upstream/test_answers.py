"""The whole answer, without a network: the bytes, their faults, their encodings, and that they
depend on the request alone."""

from __future__ import annotations

import gzip
import zlib

import msgspec
import pytest

from proxy.scripted_upstream import Fault, ScriptedAnswer, expected, pieces
from tests.scripted_upstream.asking import ASKED, PARIS, ask, spoken, whole


def test_the_same_request_gets_the_same_bytes_and_another_one_others():
    assert ask(stream=True) == ask(stream=True)
    assert ask(stream=True).body != ask(stream=True, seed=7).body


def test_completions_and_embeddings():
    body = msgspec.json.encode(
        {"model": "demo-chat", "prompt": ["One", "Two"], "stream": True, **ASKED}
    )
    completion = expected(body, "completions")
    assert completion.texts == ("One … and so on.", "Two … and so on.")
    assert completion.usage["completion_tokens"] == sum(
        len(pieces(text)) for text in completion.texts
    )
    body = msgspec.json.encode(
        {"model": "text-embedding-3-small", "input": ["Hello!", "x"], "dimensions": 4}
    )
    embeddings = whole(expected(body, "embeddings"))
    assert [len(row["embedding"]) for row in embeddings["data"]] == [4, 4]
    assert embeddings["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("model", "stream", "events", "ending"),
    [
        ("demo-cut", True, 3, Fault.RESET),
        ("demo-cut:0", True, 0, Fault.RESET),
        ("demo-cut:999", True, 10, Fault.RESET),
        ("demo-close:5", True, 5, Fault.CLOSE),
        ("demo-stall:1", True, 1, Fault.STALL),
        ("demo-cut", False, 1, Fault.RESET),
        ("demo-error-event:2", True, 4, Fault.NONE),
        ("demo-nodone", True, 9, Fault.NONE),
        ("demo-no-head", True, 0, Fault.NO_HEAD),
        ("demo-hang", False, 0, Fault.HANG),
    ],
)
def test_faults(model, stream, events, ending):
    answer = ask(model, stream=stream)
    assert (len(answer.events), answer.ending) == (events, ending)
    assert answer.text == spoken(answer)
    if ending is not Fault.NONE and answer.content_length is not None:
        assert answer.content_length > len(answer.body)


def test_an_error_inside_a_stream_comes_before_done():
    events = ask("demo-error-event:2", stream=True).events
    assert events[-2].startswith(b'data: {"error":')
    assert events[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize(("model", "ending"), [("demo-crlf", b"\r\n\r\n"), ("demo-cr", b"\r\r")])
def test_line_ends(model, ending):
    answer = ask(model, stream=True)
    assert all(event.endswith(ending) for event in answer.events)
    assert spoken(answer) == PARIS


def test_compressed_events_can_be_read_one_by_one():
    answer = ask("demo-gzip", stream=True)
    assert spoken(ScriptedAnswer(events=(gzip.decompress(answer.body),))) == PARIS
    unpack = zlib.decompressobj(wbits=31)
    assert all(unpack.decompress(event).endswith(b"\n\n") for event in answer.events)
