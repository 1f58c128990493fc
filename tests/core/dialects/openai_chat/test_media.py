"""Sounds, pictures and unknown texts in an answer that states no usage count on the high side."""

from __future__ import annotations

import base64
import json

import pytest

from proxy.core.dialects.openai_chat.media import PICTURE_TOKENS
from proxy.core.dialects.openai_chat.meter import ChatMeter

MP3 = base64.b64encode(b"\xff\xfb" + bytes(range(254)) * 94).decode()  # 32 KB: 2 s at 128 kbit/s
PCM = base64.b64encode(bytes(range(250)) * 192 * 2).decode()  # 2 s at 24 kHz, 16 bits
PICTURE = "data:image/png;base64," + "iVBO" * 1000


def fed(*deltas: dict[str, object], size: int = 10_000_000, last: str = "") -> ChatMeter:
    events = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    data = f"{body}{last}data: [DONE]\n\n".encode()
    meter = ChatMeter(stream=True, text_bytes_max=None)
    for at in range(0, len(data), size):
        meter.feed(data[at : at + size])
    meter.end()
    return meter


def sound(data: str, pieces: int) -> list[dict[str, object]]:
    size = len(data) // pieces
    return [{"audio": {"data": data[at : at + size]}} for at in range(0, len(data), size)]


@pytest.mark.parametrize("pieces", [1, 8])
@pytest.mark.parametrize("data", [MP3, PCM])
def test_speech_counts_at_least_what_the_dearest_vendor_bills(data: str, pieces: int) -> None:
    meter = fed({"role": "assistant"}, *sound(data, pieces))
    assert 2 * 25 <= meter.output_measure <= 2 * 25 * 8
    assert not meter.text_known, "so it is estimated, and says so"
    assert meter.answered


@pytest.mark.parametrize(
    "delta",
    [
        {"images": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
        {"images": ["https://vendor.example/1.png"]},
        {"content": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
        {"image": {"b64_json": "iVBO" * 1000}},
    ],
)
def test_a_picture_counts_as_the_dearest_there_is(delta: dict[str, object]) -> None:
    assert fed({"content": "Here"}, delta).output_measure == PICTURE_TOKENS + 1
    large = fed({"images": [PICTURE * 240]})
    assert large.output_measure == len(PICTURE * 240) // 128


def test_what_is_stated_behind_it_overrules_and_before_it_does_not() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 49}
    stated = f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
    behind = fed(*sound(PCM, 4), last=stated)
    assert behind.usage_current and behind.usage_final
    again = fed(
        *sound(PCM, 4),
        last=stated + f"data: {json.dumps({'choices': [{'delta': sound(PCM, 1)[0]}]})}\n\n",
    )
    assert not again.usage_current


def test_an_answer_in_one_piece_counts_the_same() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "audio": {"id": "a", "data": PCM, "transcript": "Hi"},
    }
    meter = ChatMeter(stream=False)
    meter.feed(json.dumps({"choices": [{"index": 0, "message": message}]}).encode())
    meter.end()
    assert meter.output_measure >= 2 * 25
    assert not meter.text_known


@pytest.mark.parametrize("size", [7, 10_000_000])
def test_text_under_a_name_that_is_not_known_counts_by_its_bytes(size: int) -> None:
    words = [{"musings": f"thought {number} "} for number in range(50)]
    known = [{"content": f"thought {number} "} for number in range(50)]
    assert fed(*words, size=size).text_bytes == fed(*known, size=size).text_bytes > 400


@pytest.mark.parametrize(
    "beside",
    [
        {"musings": "word"},
        {"role": "assistant"},
        {"tool_call_id": "call_1"},
        {"thought_signature": "c2VhbA=="},
        {"reasoning_encrypted_content": "c2VhbA=="},
        {"search_results": "a page"},
        {"musings": None, "score": 1, "annotations": [{"text": "page"}]},
    ],
)
def test_labels_and_repeats_beside_a_text_are_none(beside: dict[str, object]) -> None:
    assert fed({"content": "word", **beside}).text_bytes == 4
