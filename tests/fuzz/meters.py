"""The targets of the meters: any bytes as an answer, and damage beside the usage of a real one."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from proxy.core.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from proxy.core.dialects.contract import OpenMeter
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_responses.dialect import OPENAI_RESPONSES
from proxy.core.dialects.passthrough.meter import PassMeter
from tests.core.dialects.anthropic_messages.answers import CASES as MESSAGES
from tests.core.dialects.openai_chat.golden import GOLDENS
from tests.core.dialects.openai_responses.answers import CASES as RESPONSES
from tests.core.dialects.passthrough.test_meter import STATED as PASSED
from tests.fuzz.ways import opened, ways

INTEGER_MAX = 2**53
ANSWER_BYTES_MIN = (
    64 * 1024
)  # the smallest `bodies.answer_max`: as much as is kept of each end of a longer one
_STATED = [golden for golden in GOLDENS if golden.usage is not None and golden.status < 300]
_OF_WIRES: list[tuple[Any, dict[str, object], bytes]] = [
    *((OPENAI_RESPONSES.open_meter, {"stream": case.stream}, case.body) for case in RESPONSES if case.usage is not None),
    *(
        (ANTHROPIC_MESSAGES.open_meter, {"stream": case.stream, "cached_inside_input": False}, case.body)
        for case in MESSAGES
        if case.usage is not None and b"iterations" not in case.body
    ),
    *((PassMeter, {"stream": False, "content_type": kind}, body) for kind, body, _ in PASSED.values()),
]  # fmt: skip
OF_PASSED = (
    "usage",
    "usage_final",
    "model_served",
    "response_id",
    "service_tier",
    "oversized",
    "shows_its_end",
)
FIGURES = (
    "usage",
    "usage_current",
    "usage_final",
    "answered",
    "output_measure",
    "text_bytes",
    "text_known",
    "done",
    "error",
    "finish_reason",
    "model_served",
    "response_id",
    "service_tier",
    "unreadable",
    "oversized",
)


def meter(data: bytes) -> str:
    """The same figures in any pieces, within what numbers can mean, and text to count that is the
    text that was measured."""
    return metered(data, ChatMeter)


def responses(data: bytes) -> str:
    """The same of the meter of responses."""
    return metered(data, OPENAI_RESPONSES.open_meter)


def messages(data: bytes) -> str:
    """The same of the meter of messages."""
    return metered(data, ANTHROPIC_MESSAGES.open_meter)


def passed(data: bytes) -> str:
    """The same of the meter of what is passed through, which counts no text."""
    return metered(data, partial(PassMeter, makes=True), OF_PASSED)


def metered(
    data: bytes,
    open_meter: OpenMeter,
    names: Sequence[str] = FIGURES,
) -> str:
    """What these names of the meter say, in any pieces."""
    rng, body = opened(data)
    event_bytes_max, answer_bytes_max = rng.choice(
        [(1 << 20, 4 << 20)] * 3 + [(80, ANSWER_BYTES_MIN)]
    )
    if rng.random() < 0.01:
        at = rng.randrange(len(body) + 1)
        body = body[:at] + b" " * ANSWER_BYTES_MIN + body[at:]
    options = {
        "stream": rng.random() < 0.8, "status": rng.choice([200, 200, 200, 400, 500]), "content_type": rng.choice([None, "text/event-stream", "application/json", "text/html"]),
        "cached_inside_input": rng.random() < 0.7, "text_bytes_max": rng.choice([0, 50, None]), "event_bytes_max": event_bytes_max, "answer_bytes_max": answer_bytes_max,
    }  # fmt: skip
    seen: set[str] = set()
    for chunks in ways(rng, body):
        one = open_meter(**options)  # type: ignore[arg-type]
        for chunk in chunks:
            one.feed(chunk)
            assert one.output_measure >= 0
        one.end()
        one.end()
        figures = {name: getattr(one, name) for name in names}
        if one.usage is not None:
            counts = [
                getattr(one.usage, name)
                for name in one.usage.__struct_fields__
                if name.endswith("_tokens")
            ]
            assert all(
                count is None or (isinstance(count, int) and 0 <= count <= 3 * INTEGER_MAX)
                for count in counts
            )
            msgspec.json.encode(one.usage.raw)
        assert one.text_bytes <= 3 * len(body)
        if one.texts is not None:
            one.texts.finish()
            for block in one.texts.blocks:
                one.texts.counting.counted(block, len(block))
            figures["counted"] = (
                one.texts.tokens(one.text_bytes),
                one.texts.characters(one.text_bytes),
            )
        seen.add(repr(figures))
    assert len(seen) == 1, seen
    return (
        "unreadable"
        if one.unreadable
        else "usage"
        if one.usage is not None
        else "text"
        if one.text_bytes
        else "nothing"
    )


_VALUES = re.compile(rb'"(?!usage")[a-z_]+": ?"((?:[^"\\]|\\.)*)"')
# On these wires the kind of an event says what it is: damaged, it is another event.
_BUT_KINDS = re.compile(rb'"(?!usage"|type"|object")[a-z_]+": ?"((?:[^"\\]|\\.)*)"')
_USAGES = re.compile(rb'"usage": ?\{(?:[^{}]|\{[^{}]*\})*\}')
_DAMAGE = (
    rb"\ud83d",
    rb"\ude00\ud83d",
    rb"\q",
    rb"\u12",
    b"\x00",
    b"\x1f",
    b"\xff",
    b"\xc3",
    b"\xe5\xa5",
    b'"',
    b'"}',
    b'"]',
    b'"{',
    b'",',
    b'"}}]}',
    b'":NaN,"',
    b'",NaN,"',
    b'",1e400,"',
    b"\\",
)


def damage(data: bytes) -> str:
    """Damage in any string beside the usage of a vendor's answer, in any pieces: the same usage as
    without it."""
    rng, chosen = opened(data)
    golden = _STATED[sum(chosen[:64]) % len(_STATED)]
    body, damaged = _damaged(rng, golden.body, _VALUES)
    for chunks in ways(rng, body):
        one = ChatMeter(
            stream=golden.stream,
            content_type=golden.content_type,
            status=golden.status,
            cached_inside_input=golden.cached_inside_input,
        )
        for chunk in chunks:
            one.feed(chunk)
        one.end()
        assert one.usage == golden.usage, body
    return "damaged" if damaged else "sound"


def wire_damage(data: bytes) -> str:
    """The same of responses, messages, and what is passed through."""
    rng, chosen = opened(data)
    open_meter, options, sound = _OF_WIRES[sum(chosen[:64]) % len(_OF_WIRES)]
    whole = open_meter(**options)
    whole.feed(sound)
    whole.end()
    body, damaged = _damaged(rng, sound, _BUT_KINDS)
    for chunks in ways(rng, body):
        one = open_meter(**options)
        for chunk in chunks:
            one.feed(chunk)
        one.end()
        assert one.usage == whole.usage, body
    return "damaged" if damaged else "sound"


def _damaged(rng: random.Random, body: bytes, strings: re.Pattern[bytes]) -> tuple[bytes, bool]:
    """The body with up to two changes in strings beside its usage; whether there are any."""
    stated = [match.span() for match in _USAGES.finditer(body)]
    places = [
        match.span(1)
        for match in strings.finditer(body)
        if not any(start <= match.start() < end for start, end in stated)
    ]
    damaged = rng.random() < 0.9 and bool(places)
    if damaged:
        for start, end in sorted(
            rng.sample(places, rng.choice([1, 1, min(2, len(places))])), reverse=True
        ):
            at = rng.randint(start, end)
            body = body[:at] + rng.choice(_DAMAGE) + body[at:]
    return body, damaged
