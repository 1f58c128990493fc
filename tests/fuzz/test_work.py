"""The work of every reader grows with its input and no faster, in pieces of any size: four times as
much of the same is some four times the work."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable

import pytest

from proxy.core.dialects import (
    answer_body,
    assembly,
    cost,
    edges,
    json_text,
    kept_body,
    opening,
    repair,
    scan,
    stated,
)
from proxy.core.dialects.anthropic_messages import events as message_events
from proxy.core.dialects.anthropic_messages import meter as message_meter
from proxy.core.dialects.anthropic_messages import salvage as message_salvage
from proxy.core.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from proxy.core.dialects.openai_chat import (
    call,
    injection,
    meter,
    pictures,
    salvage,
    shapes,
    text,
)
from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.injection import UsageEventFilter
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_responses import alike, delivered, items, response
from proxy.core.dialects.openai_responses import events as response_events
from proxy.core.dialects.openai_responses import meter as response_meter
from proxy.core.dialects.openai_responses import salvage as response_salvage
from proxy.core.dialects.openai_responses.dialect import OPENAI_RESPONSES
from proxy.core.dialects.passthrough import meter as pass_meter
from proxy.core.dialects.passthrough.meter import PassMeter
from proxy.core.errors import ProxyError
from proxy.core.http.content_coding import Decoder, decode_body
from proxy.core.http.sse import SSEParser
from proxy.core.tokens import text as tokens
from proxy.core.tokens.text import TextBlocks
from tests.fuzz.work import Work

MODULES = (
    tokens, answer_body, cost, json_text, kept_body, opening, repair, scan,
    call, injection, meter, pictures, salvage, shapes, text,
    assembly, edges, stated, message_events, message_meter, message_salvage, alike, delivered, items,
    response, response_events, response_meter, response_salvage, pass_meter,
)  # fmt: skip
UNITS = (
    b"x", b"\n", b"\r", b"\r\n\n", b" ", b"\\", b'"', b'\\"', b"\\\\", b"\\ud800", b"{", b"[", b'{"a":', b'"a":1,', b": c\n", b"data: x\n", b"data: {}\n\n", b"id: 1\n\n",
    b'"usage":', b'"usage":{"prompt_tokens":1},', b'"choices":[', b'"content":"', b'"content":"a",', b'"name":"\\', b'"index":0,', b";base64,", b'"image_url"', b'"error"', b"\xef\xbb\xbf",
    b'data: {"type":"response.output_text.delta","delta":"a"}\n\n', b'data: {"type":"message_delta","usage":{}}\n\n', b'"output":[{', b'"content_block":{', b'{"type":"text","text":"a"},',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', b'data: {"model":"m","choices":[{"text":"a","reasoning":"a"}],"usage":{}}\r\r',
)  # fmt: skip
FRAMES = (
    (b"", b""),
    (b'data: {"choices":[{"delta":{"content":"', b'"}}]}\n\n'),
    (b'data: {"choices":[],"usage":{"x":', b"}}\n\n"),
    (b'{"model":"m","stream":true,"messages":', b"}"),
    (b'{"type":"message","object":"response","output":[{"content":[', b"}"),
)


def feeding(reader: object, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        reader.feed(piece)  # type: ignore[attr-defined]
    reader.end()  # type: ignore[attr-defined]


def requested(pieces: Iterable[bytes]) -> None:
    body = b"".join(pieces)
    pictures.count_images(body)
    try:
        made = read_call("/v1/chat/completions", body)
    except ProxyError:
        return
    injection.splice(body, made)


def decoded(pieces: Iterable[bytes]) -> None:
    decoder = Decoder.for_encoding("gzip")
    assert decoder is not None
    for piece in pieces:
        for _ in decoder.feed(gzip.compress(bytes(piece), mtime=0)):
            pass
    decode_body("gzip", gzip.compress(b"".join(pieces)), 1 << 20)


def counted(pieces: Iterable[bytes]) -> None:
    blocks = TextBlocks()
    for number, piece in enumerate(pieces):
        blocks.add(number % 3, piece.decode("latin-1"))
    blocks.finish()


READERS: dict[str, Callable[[list[bytes]], None]] = {
    "events": lambda pieces: feeding(SSEParser(1 << 20), pieces),
    "small events": lambda pieces: feeding(SSEParser(100), pieces),
    "meter": lambda pieces: feeding(ChatMeter(stream=True, text_bytes_max=None), pieces),
    "meter, small": lambda pieces: feeding(
        ChatMeter(stream=True, event_bytes_max=100, answer_bytes_max=100), pieces
    ),
    "meter, JSON": lambda pieces: feeding(ChatMeter(stream=False, text_bytes_max=None), pieces),
    "responses": lambda pieces: feeding(
        OPENAI_RESPONSES.open_meter(stream=True, text_bytes_max=None), pieces
    ),
    "response, JSON": lambda pieces: feeding(OPENAI_RESPONSES.open_meter(stream=False), pieces),
    "messages": lambda pieces: feeding(
        ANTHROPIC_MESSAGES.open_meter(stream=True, text_bytes_max=None), pieces
    ),
    "message, JSON": lambda pieces: feeding(ANTHROPIC_MESSAGES.open_meter(stream=False), pieces),
    "passed": lambda pieces: feeding(PassMeter(stream=False, makes=True), pieces),
    "passed events": lambda pieces: feeding(
        PassMeter(stream=False, content_type="text/event-stream"), pieces
    ),
    "usage events": lambda pieces: feeding(UsageEventFilter(1 << 20), pieces),
    "small usage events": lambda pieces: feeding(UsageEventFilter(100), pieces),
    "request": requested,
    "coding": decoded,
    "blocks": counted,
}


@pytest.mark.parametrize("reader", READERS)
def test_the_work_grows_no_faster_than_the_input(
    reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows_no_faster(
        reader,
        monkeypatch,
        200,
        [(unit, FRAMES[number % len(FRAMES)], 3) for number, unit in enumerate(UNITS)],
    )


@pytest.mark.campaign
@pytest.mark.parametrize("reader", READERS)
def test_the_work_of_long_inputs_grows_no_faster(
    reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows_no_faster(
        reader,
        monkeypatch,
        1000,
        [
            (unit, frame, size)
            for unit in UNITS
            for frame in FRAMES
            for size in (1, 3, 100, 1 << 20)
        ],
    )


def grows_no_faster(
    reader: str,
    patch: pytest.MonkeyPatch,
    small: int,
    rows: Iterable[tuple[bytes, tuple[bytes, bytes], int]],
) -> None:
    """So many bytes of a unit in a frame, in pieces of a size, against four times as many."""
    work = Work()
    work.watch(patch, *MODULES)
    for unit, (before, behind), size in rows:
        bodies = [before + unit * (length // len(unit)) + behind for length in (small, 4 * small)]
        pieces = [
            [work.piece(body[at : at + size]) for at in range(0, len(body), size)]
            for body in bodies
        ]
        one, four = (work.counting(lambda given=given: READERS[reader](given)) for given in pieces)
        # Pieces and units do not always meet alike, hence five; the square of four is sixteen.
        assert four <= 5 * one, (before, unit, size, one, four)


def test_the_count_sees_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that joins and searches all it holds for each piece is far beyond the bound."""
    work = Work()
    work.watch(monkeypatch, injection)

    def careless(body: bytes) -> None:
        held = b""
        for at in range(0, len(body), 3):
            held = held + work.piece(body[at : at + 3])
            injection._EVENT_END.search(held)

    small, large = (
        work.counting(lambda length=length: careless(b"x" * length)) for length in (300, 1200)
    )
    assert large > 12 * small
