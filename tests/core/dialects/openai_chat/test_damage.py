"""Damage costs only what it damages: whatever stands beside it, the usage of an answer is booked as
if it were not there."""

from __future__ import annotations

import json
import re

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter
from tests.core.dialects.openai_chat.golden import GOLDENS, Golden

STATED = [golden for golden in GOLDENS if golden.usage is not None and golden.status < 300]
# Values that no strict reader takes; the last ones leave the rest of their object unreadable.
VALUES: dict[str, bytes] = {
    "half a character": rb'"hi \ud83d"', "halves in the wrong order": rb'"\ude00\ud83d"', "control characters": b'"\x00\x01\x1f\x0b"', "NaN": b"NaN", "Infinity": b"[-Infinity,Infinity]",
    "too large a number": b"1e400", "no UTF-8": b'"\xff\xfe\xc3("', "a bad escape": rb'"\x41 \u12 \q"', "a leading zero": b"007", "a sign too many": b"+1", "a comma too many": b"[1,]",
    "Python's words": b"[None,True]", "deep nesting": b"[" * 2000 + b"]" * 2000, "a long number": b"9" * 5000, "no value": b"", "single quotes": b"'a'", "a string without end": b'"broken',
    "an unescaped quote": b'"a "quoted" word"', "a list without end": b"[[1,", "an object without end": b'{"a":{', "a list that ends twice": b"1]",
}  # fmt: skip


def objects(body: bytes) -> list[tuple[int, int]]:
    """Where in an answer its JSON objects stand: the whole body, or each event's data."""
    found = []
    decoder = json.JSONDecoder()
    text = body.decode("latin-1")
    for match in re.finditer(r"^(?:data: )?(?=\{)", text, re.MULTILINE):
        if not found or match.end() >= found[-1][1]:
            found.append((match.end(), decoder.raw_decode(text, match.end())[1]))
    return found


def damaged(body: bytes, value: bytes) -> list[bytes]:
    """The answer with one more member of this value: at the beginning and at the end of its first
    object, its last one, and all of them."""
    places = objects(body)
    out = []
    for chosen in ([places[0]], [places[-1]], places):
        for first in (True, False):
            copy = body
            for start, end in reversed(chosen):
                inner = copy[start + 1 : end - 1]
                copy = (
                    copy[: start + 1]
                    + (b'"x":%b,%b' % (value, inner) if first else b'%b,"x":%b' % (inner, value))
                    + copy[end - 1 :]
                )
            out.append(copy)
    return out


def read(golden: Golden, body: bytes) -> ChatMeter:
    meter = ChatMeter(
        stream=golden.stream,
        content_type=golden.content_type,
        status=golden.status,
        cached_inside_input=golden.cached_inside_input,
    )
    for at in range(0, len(body), 1000):
        meter.feed(body[at : at + 1000])
    meter.end()
    return meter


@pytest.mark.parametrize("name", VALUES)
def test_no_damage_beside_the_usage_changes_it(name: str) -> None:
    for golden in STATED:
        expected = golden.expected()
        for body in damaged(golden.body, VALUES[name]):
            meter = read(golden, body)
            assert (meter.usage, meter.usage_final) == (
                expected["usage"],
                expected["usage_final"],
            ), (golden.name, body[:300])
            assert (meter.done, meter.error) == (expected["done"], expected["error"]), golden.name


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in VALUES
        if name not in ("single quotes", "no value")
        and not name.startswith("a")
        and name != "deep nesting"
    ],
)
def test_what_can_be_repaired_costs_nothing_at_all(name: str) -> None:
    for golden in STATED:
        for body in damaged(golden.body, VALUES[name]):
            meter = read(golden, body)
            assert {
                field: getattr(meter, field) for field in golden.expected()
            } == golden.expected(), (golden.name, body[:300])


@pytest.mark.parametrize("inside", [rb"\ud83d", b"\x01", b"\xff", rb"\q", b'"', b'"}}],'])
def test_no_damage_in_the_text_changes_the_usage(inside: bytes) -> None:
    """What a client can have its model write, where a vendor does not escape it."""
    usage = b'"usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}'
    for wrapped in (
        b'{"id":"c","choices":[{"message":{"content":"hi %b"},"finish_reason":"stop"}],%b}',
        b'data: {"id":"c","choices":[{"delta":{"content":"hi %b"},"finish_reason":"stop"}],%b}\n\ndata: [DONE]\n\n',
    ):
        meter = ChatMeter(stream=True)
        meter.feed(wrapped % (inside, usage))
        meter.end()
        assert meter.usage is not None
        assert (meter.usage.input_tokens, meter.usage.output_tokens, meter.usage_final) == (
            1000,
            500,
            True,
        )


@pytest.mark.parametrize("number", [b"1e400", b"NaN", b"-1e9999"])
def test_a_number_that_nobody_reads_costs_the_others_nothing(number: bytes) -> None:
    meter = ChatMeter(stream=False)
    meter.feed(
        b'{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1000,"time":%b,"completion_tokens":500}}'
        % number
    )
    meter.end()
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens, meter.unreadable) == (
        1000,
        500,
        False,
    )


@pytest.mark.parametrize("value", [b"NaN", rb'"\ud83d"', b'"broken', b"[[["])
def test_the_usage_of_a_large_answer_is_found_at_its_end(value: bytes) -> None:
    """To repair megabytes takes a second; of those, the ends are searched."""
    text = b"lorem ipsum NaN, " * 30_000
    meter = ChatMeter(stream=False)
    meter.feed(
        b'{"choices":[{"message":{"content":"'
        + text
        + b'"}}],"x":'
        + value
        + b',"usage":{"prompt_tokens":1000,"completion_tokens":500}}'
    )
    meter.end()
    assert meter.usage is not None
    assert (
        meter.usage.input_tokens,
        meter.usage.output_tokens,
        meter.usage_final,
        meter.text_known,
    ) == (1000, 500, True, False)
