"""Streams of events that are nearly alike come to the same in whatever pieces they are read."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter
from tests.support.effort import examples

FIGURES = (
    "text_bytes",
    "output_measure",
    "output_so_far",
    "usage",
    "usage_current",
    "usage_final",
    "done",
    "error",
    "finish_reason",
    "answered",
    "doubtful",
    "text_known",
    "complete",
    "unreadable",
    "oversized",
)
USAGE = b'{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":99}}'
BEFORE = b'{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"'
SHAPES = [
    (BEFORE, b'"}}]}'),
    (b" " + BEFORE, b'"}}]} '),
    (BEFORE, b'"}}],"obfuscation":"xy"}'),
    (b'{"id":"c","model":"m","choices":[{"index":0,"text":"', b'"}]}'),
]
TEXTS = [b"word", b" a", b"", b"x", b'\\"q', b"\\n", b"\xe5\xa5\xbd", b"\xff", b'bad"q', b"y" * 40]


def events(rng: random.Random) -> list[bytes]:
    """Mostly alike, with one now and then that differs by a little."""
    before, behind = rng.choice(SHAPES)
    name = rng.choice([b"data: "] * 4 + [b"data:", b"data:  "])
    end = rng.choice([b"\n\n"] * 4 + [b"\r\n\r\n", b"\n"])
    odd = rng.choice([0.05, 0.1, 0.3])

    def alike() -> bytes:
        return before + rng.choice(TEXTS[:3] if rng.random() < 0.95 else TEXTS) + behind

    def cut_out(event: bytes) -> bytes:
        at = rng.randrange(len(event))
        return event[:at] + event[at + rng.randrange(1, 30) :]

    found = []
    for _ in range(rng.randrange(3, 60)):
        event = alike()
        if rng.random() < odd:
            event = rng.choice(
                [
                    event + b"\n" + name + alike(),
                    event + alike(),
                    cut_out(event),
                    event.replace(behind, b'"}') if b"obfuscation" in behind else b"[DONE]",
                    event.replace(b'"index":0', b'"index":1'),
                    event.replace(b"}]", b',"finish_reason":"stop"}]'),
                    event[: rng.randrange(len(event))] + b"\n",
                    USAGE,
                    b'{"error":{"message":"no"}}',
                ]
            )
        found.append(name + event + end)
    return found


def figures(chunks: Iterable[bytes], options: dict[str, object], *, runs: bool = False) -> object:
    """What a meter says at the end. `runs`: its run has each chunk first."""
    meter = ChatMeter(stream=True, content_type="text/event-stream", **options)  # type: ignore[arg-type]
    for chunk in chunks:
        run = meter.run if runs else None
        if run is None or run.take(chunk) is None:
            meter.feed(chunk)
    meter.end()
    if meter.texts is not None:
        meter.texts.finish()
    texts = None if meter.texts is None else sorted(meter.texts.blocks)
    return {name: getattr(meter, name) for name in FIGURES} | {"texts": texts}


def bytewise(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


@pytest.mark.parametrize("seed", range(examples(150)))
def test_events_that_are_nearly_alike_come_to_the_same_in_any_pieces(seed: int) -> None:
    rng = random.Random(seed)
    sent = events(rng)
    body = b"".join(sent)
    options: dict[str, object] = {
        "text_bytes_max": rng.choice([0, None, 50]),
        "event_bytes_max": rng.choice([1 << 20, 1 << 20, 120]),
    }
    expected = figures(bytewise(body), options)
    cuts = [0, *sorted(rng.sample(range(len(body)), min(len(body), 6))), len(body)]
    assert figures([body], options) == expected
    assert figures(sent, options) == expected
    assert figures(sent, options, runs=True) == expected
    assert figures([body[at:to] for at, to in pairwise(cuts)], options) == expected


def test_the_usage_behind_an_event_of_two_lines_is_read() -> None:
    """Its two objects are alike, and were taken for two of the events that had come."""
    word = b"data:  %bword %%d%b" % (BEFORE, b'"}}]}')
    begun = [word % number + b"\n\n" for number in range(14)]
    body = b"".join([*begun, word % 14, b"\n", word % 15, b"\n\ndata: ", USAGE, b"\n\n"])
    assert figures([body], {}) == figures(bytewise(body), {})
    meter = ChatMeter(stream=True)
    meter.feed(body)
    assert meter.usage is not None and meter.usage.output_tokens == 99


def test_an_event_without_its_padding_is_no_text() -> None:
    padded = [b"data: %bword %d%b\n\n" % (BEFORE, at, SHAPES[2][1]) for at in range(10)]
    broken = b'data: %babc"}\n\n' % BEFORE
    alone = figures([*padded, broken], {}, runs=True)
    assert alone == figures(bytewise(b"".join([*padded, broken])), {})
    assert isinstance(alone, dict) and alone["unreadable"]


def test_an_event_too_large_is_dropped_in_any_pieces_where_its_text_is_short() -> None:
    """Its escapes are longer than the text, so the text does not tell how large it is."""
    events = [
        b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text
        for text in (*[b"one"] * 3, b"two", b"six", rb"\"\t\n")
    ]
    told = set()
    for size in (1, len(events[0]), 1000):
        meter = ChatMeter(stream=True, text_bytes_max=None, event_bytes_max=len(events[0]))
        for event in events:
            for at in range(0, len(event), size):
                meter.feed(event[at : at + size])
        meter.end()
        told.add((meter.text_bytes, meter.oversized, meter.output_measure))
    assert len(told) == 1
