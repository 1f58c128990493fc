"""One answer in any dress: how a server writes text, where it states usage, how it frames events
and where they are cut changes nothing that is read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter

WORDS = 'tide harbour lantern gull rope 海 潮水 grey anchor \n " \\ {} [DONE] usage error 42 été 😀 salt net oar'.split(
    " "
)
USAGE = {"prompt_tokens": 700, "completion_tokens": 225, "total_tokens": 925}
ZEROS = dict.fromkeys(USAGE, 0)
SIDE = [
    {"obfuscation": "xyz"}, {"citations": ["https://example.org/" + "a" * 30]}, {"message": "success"}, {"error": None}, {"error": {"code": 0, "message": ""}},
    {"usage": None}, {"search_results": [{"snippet": "text " * 20}]},
]  # fmt: skip
# How a server writes: each piece and all of the text so far -> a choice.
WRITES: dict[str, Callable[[str, str], dict[str, object]]] = {
    "increments": lambda piece, _: {"delta": {"content": piece}},
    "snapshots": lambda _, text: {"delta": {"content": text}},
    "delta and message": lambda piece, text: {
        "delta": {"content": piece},
        "message": {"content": text},
    },
    "parts": lambda piece, _: {"delta": {"content": [{"type": "text", "text": piece}]}},
    "thoughts twice": lambda piece, _: {"delta": {"reasoning": piece, "reasoning_content": piece}},
    "a call": lambda piece, _: {
        "delta": {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    },
    "legacy": lambda piece, _: {"text": piece, "logprobs": {"tokens": [piece], "text_offset": [0]}},
}
# How it frames: before and behind each event, and whether `[DONE]` can follow.
FRAMES = {
    "SSE": (b"data: ", b"\n\n", True), "CRLF": (b"data: ", b"\r\n\r\n", True), "CR": (b"data:", b"\r\r", True), "one line end": (b"data: ", b"\n", True),
    "comments": (b": ping\n\ndata: ", b"\n\n", True), "names": (b"event: message\nid: 3\ndata: ", b"\n\n", True), "twice": (b"data: data: ", b"\n\n", True),
    "blanks": (b" data: ", b"\n\n", True), "capitals": (b"Data: ", b"\n\n", True), "lines": (b"", b"\r\n", False), "glued": (b"", b"", False), "a list": (b"", b",\n", False),
}  # fmt: skip


def dressed(rng: random.Random) -> tuple[list[bytes], str, bool, str]:
    """Chunks of an answer, its text, whether it states usage behind that, and what it looks
    like."""
    writes, frame, states = (
        rng.choice(list(WRITES)),
        rng.choice(list(FRAMES)),
        rng.choice(
            [
                "nothing",
                "last",
                "beside the finish",
                "running",
                "zeros, then last",
                "Groq",
                "before",
            ]
        ),
    )
    pieces = [
        rng.choice(["", " "]) + rng.choice(WORDS) + str(rng.randint(0, 999))
        for _ in range(rng.randint(6, 30))
    ]
    events: list[dict[str, object]] = []
    for at, piece in enumerate(pieces):
        events.append(
            {
                "id": "c",
                "model": "m",
                "choices": [{"index": 0, **WRITES[writes](piece, "".join(pieces[: at + 1]))}],
            }
        )
        if states == "running":
            events[-1]["usage"] = {
                "prompt_tokens": 700,
                "completion_tokens": 225 - len(pieces) + at + 1,
            }
        elif states == "zeros, then last":
            events[-1]["usage"] = ZEROS
        elif rng.random() < 0.3:
            events[-1] |= rng.choice(SIDE)
    if states == "before":
        events[0]["usage"] = {"prompt_tokens": 700, "completion_tokens": 1}
    finish: dict[str, object] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if states == "beside the finish":
        finish["usage"] = USAGE
    elif states == "Groq":
        finish["x_groq"] = {"usage": USAGE}
    events.append(finish)
    if states.endswith("last"):
        events.append({"choices": rng.choice([[], None]), "usage": USAGE})
    before, behind, done = FRAMES[frame]
    texts = [json.dumps(event, ensure_ascii=rng.random() < 0.5).encode() for event in events] + [
        b"[DONE]"
    ] * (done and rng.random() < 0.7)
    body = (
        b"[" + behind.join(texts) + b"]"
        if frame == "a list"
        else b"".join(before + text + behind for text in texts)
    )
    step = rng.choice([1, 7, 100, 1448, len(body)])
    return (
        [body[at : at + step] for at in range(0, len(body), step)],
        "".join(pieces),
        states not in ("nothing", "before"),
        f"{writes}, {frame}, {states}",
    )


def check(seed: int) -> None:
    chunks, text, states, looks = dressed(random.Random(seed))
    meter = ChatMeter(stream=True)
    for chunk in chunks:
        meter.feed(chunk)
    meter.end()
    size = len(text.encode())
    assert (meter.answered, meter.error, meter.unreadable) == (True, False, False), (seed, looks)
    assert size <= meter.text_bytes <= size * (1.05 if "snapshots" in looks else 1), (seed, looks)
    if states:
        assert meter.usage is not None and meter.usage_current, (seed, looks)
        assert (meter.usage.input_tokens, meter.usage.output_tokens) == (700, 225), (seed, looks)


def test_no_dress_changes_what_is_read() -> None:
    for seed in range(150):
        check(seed)


@pytest.mark.campaign
def test_no_dress_changes_what_is_read_in_full() -> None:
    for seed in range(150, 10_000):
        check(seed)
