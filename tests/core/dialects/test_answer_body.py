"""What an answer's body is, events or one JSON value, is told from its first bytes, however it is
cut. (What stands in it: the tests of each wire.)"""

from __future__ import annotations

import gzip

import pytest

from proxy.core.dialects.answer_body import BOM, AnswerBody

EVENT = b'event: ping\ndata: {"type": "ping"}\n\n'


def read(body: AnswerBody, content: bytes, step: int) -> list[bytes]:
    events = []
    for at in range(0, len(content), step):
        for piece in body.pieces(content[at : at + step]):
            events += body.events(piece)
    return events + body.end()


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
@pytest.mark.parametrize("before", [b"", BOM, b"\n\n", b": hello\n\n", BOM + b"\r\n"])
def test_events_are_events_whatever_was_promised(before: bytes, step: int) -> None:
    for stream, content_type in ((True, None), (False, "application/json"), (False, None)):
        body = AnswerBody(stream=stream, content_type=content_type)
        assert read(body, before + 2 * EVENT, step) == [b'{"type": "ping"}'] * 2
        assert body.json is False
        assert not body.prose
        assert body.pending_bytes == 0


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("before", [b"", BOM, b" \n"])
def test_json_is_json_even_where_a_stream_was_asked_for(before: bytes, step: int) -> None:
    for stream in (True, False):
        body = AnswerBody(stream=stream, content_type="text/event-stream")
        assert read(body, before + b'{"a": {\n}}', step) == []
        assert body.json is True
        assert body.pending_bytes == 10
        assert body.kept.whole() == b'{"a": {\n}}'
        assert body.whole_events(b"}") == b""


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_json_lines_are_events(step: int) -> None:
    body = AnswerBody(stream=True)
    assert read(body, b'{"a": 1}\n{"a": 2}\n', step) == [b'{"a": 1}', b'{"a": 2}']
    assert body.json is False


def test_a_page_begins_like_neither() -> None:
    for content in (b"<html>", b"Bad gateway"):
        body = AnswerBody(stream=False, content_type="text/html")
        assert read(body, content, 1) == []
        assert body.prose


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_content_coding_is_undone(step: int) -> None:
    body = AnswerBody(stream=True, content_encoding="gzip")
    assert read(body, gzip.compress(EVENT), step) == [b'{"type": "ping"}']
    assert not body.blind
    assert not body.between_events, "nothing can be put behind what is compressed"


@pytest.mark.parametrize("coding", ["gzip", "unheard-of"])
def test_what_cannot_be_undone_is_only_measured(coding: str) -> None:
    body = AnswerBody(stream=True, content_encoding=coding)
    assert read(body, b"this is not compressed at all", 4) == []
    assert body.blind
    assert body.size_bytes >= 20


def test_it_knows_where_an_event_of_ours_can_be_put() -> None:
    body = AnswerBody(stream=True)
    chunk = EVENT + b"event: pi"
    for piece in body.pieces(chunk):
        body.events(piece)
    assert not body.between_events
    assert body.whole_events(chunk) == EVENT
    assert body.pending_bytes == len(b"event: pi")
    body.events(b"ng\ndata: {}\n\n")
    assert body.between_events
