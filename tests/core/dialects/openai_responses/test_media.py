"""Sounds and pictures in a response that states no usage count on the high side, each once."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.media import PICTURE_TOKENS
from proxy.core.dialects.openai_responses.meter import ResponseMeter
from tests.core.dialects.openai_responses.answers import (
    USAGE,
    Event,
    Item,
    T,
    life,
    message,
    response,
    said,
    sse,
)

PICTURE = "iVBO" * 1000
SOUND = "q80A" * 16_000  # 64,000 bytes of base64: a second of PCM at 24 kHz


def drawn(result: str | None = PICTURE) -> Item:
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result}


def spoken(data: str = SOUND) -> Item:
    part = {"type": "output_audio", "data": data, "transcript": T}
    return {"type": "message", "id": "msg_2", "role": "assistant", "content": [part]}


def fed(*events: Event, stream: bool = True) -> ResponseMeter:
    meter = ResponseMeter(stream=stream, text_bytes_max=None)
    meter.feed(sse(*events) if stream else json.dumps(events[0]).encode())
    meter.end()
    return meter


def done(item: Item, at: int) -> Event:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


TEXT = fed(*said(T), life("completed", output=[message(T)])).output_measure


@pytest.mark.parametrize("last", [[], [message(T), drawn()], [drawn(), message(T)]])
def test_a_picture_counts_once_however_often_it_comes(last: list[Item]) -> None:
    partial = {"type": "response.image_generation_call.partial_image", "output_index": 1,
               "item_id": "ig_1", "partial_image_b64": PICTURE}  # fmt: skip
    begun = {"type": "response.output_item.added", "output_index": 1, "item": drawn(None)}
    for events in (
        (done(drawn(), 1),),
        (begun, partial, partial),
        (begun, partial, done(drawn(), 1)),
    ):
        meter = fed(*said(T), *events, life("completed", output=last))
        assert meter.output_measure == PICTURE_TOKENS + TEXT
        assert not meter.text_known and meter.answered


def test_two_pictures_are_two_and_one_that_was_not_made_is_none() -> None:
    two = fed(done(drawn(), 0), done(drawn(), 1), life("completed", output=[]))
    assert two.output_measure == 2 * PICTURE_TOKENS
    assert fed(done(drawn(None), 0), life("completed", output=[])).output_measure == 0


@pytest.mark.parametrize("name", ["response.audio.delta", "response.output_audio.delta"])
def test_speech_counts_at_least_what_the_dearest_vendor_bills(name: str) -> None:
    size = len(SOUND) // 8
    pieces = [
        {"type": name, "output_index": 0, "delta": SOUND[at : at + size]}
        for at in range(0, len(SOUND), size)
    ]
    for last in ([], [spoken()]):
        meter = fed(*pieces, life("completed", output=last))
        assert 25 <= meter.output_measure - (TEXT if last else 0) <= 25 * 8


@pytest.mark.parametrize(
    ("item", "least"),
    [
        (drawn(), PICTURE_TOKENS),
        (drawn("data:image/png;base64," + PICTURE), PICTURE_TOKENS),
        (drawn(PICTURE * 300), len(PICTURE * 300) // 128),
        ({**message(""), "content": [{"type": "output_image", "image_url": "data:image/png;base64," + PICTURE}]}, PICTURE_TOKENS),
        (spoken(), 25),
    ],
)  # fmt: skip
def test_media_of_a_whole_response(item: Item, least: int) -> None:
    meter = fed(response(output=[item, message(T)]), stream=False)
    assert least + TEXT <= meter.output_measure <= 8 * least + 2 * TEXT
    assert not meter.text_known


def test_what_is_stated_at_the_end_overrules() -> None:
    meter = fed(done(drawn(), 0), life("completed", output=[drawn()], usage=USAGE))
    assert meter.usage is not None and meter.usage.output_tokens == 90
    assert meter.usage_final and meter.usage_current
