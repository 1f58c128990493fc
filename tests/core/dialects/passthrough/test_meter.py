"""What is read of an answer that is passed through: its usage, and the ids that it makes."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.passthrough.meter import IDS_CHARS_MAX, PassMeter

JSON, EVENTS = "application/json", "text/event-stream"


def metered(body: bytes, content_type: str | None = JSON, **more: object) -> PassMeter:
    meter = PassMeter(stream=False, content_type=content_type, metered=True, makes=True, **more)
    for at in range(0, len(body), 7):
        meter.feed(body[at : at + 7])
    meter.end()
    return meter


# name: content type, answer -> input, output, total, served
STATED = {
    "jina rerank": (
        JSON,
        b'{"model":"jina-reranker-v2","usage":{"total_tokens":815,"prompt_tokens":815},"results":[]}',
        (815, 0, "jina-reranker-v2"),
    ),
    "voyage rerank": (
        JSON,
        b'{"object":"list","data":[{"index":0}],"model":"rerank-2","usage":{"total_tokens":26}}',
        (None, None, "rerank-2"),
    ),
    "cohere embed": (
        JSON,
        b'{"id":"x","meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":2}}}',
        (2, None, None),
    ),
    "gpt-image": (
        JSON,
        b'{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":50,"output_tokens":4160,'
        b'"total_tokens":4210,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}',
        (50, 4160, None),
    ),
    "transcription": (
        JSON,
        b'{"text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":101,'
        b'"total_tokens":115,"input_token_details":{"text_tokens":0,"audio_tokens":14}}}',
        (14, 101, None),
    ),
    "image events": (
        EVENTS,
        b'event: image_generation.partial_image\ndata: {"type":"x","b64_json":"AA"}\n\n'
        b'event: image_generation.completed\ndata: {"type":"image_generation.completed",'
        b'"b64_json":"AA","usage":{"input_tokens":5,"output_tokens":9,"total_tokens":14}}\n\n',
        (5, 9, None),
    ),
    "transcript events": (
        EVENTS,
        b'data: {"type":"transcript.text.delta","delta":"a"}\n\n'
        b'data: {"type":"transcript.text.done","text":"a","usage":{"input_tokens":3,'
        b'"output_tokens":4,"total_tokens":7}}\n\n',
        (3, 4, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATED)
def test_what_is_stated(name: str) -> None:
    content_type, body, expected = STATED[name]
    meter = metered(body, content_type)
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens, meter.model_served) == expected
    if name == "voyage rerank":
        assert meter.usage.total_tokens == 26


@pytest.mark.parametrize(
    "damage", [rb"\ud83d", b"\x00", b"\xff", b'"', b'",NaN,"', b'",1e400,"', b'"}]']
)
def test_no_damage_beside_the_usage_changes_it(damage: bytes) -> None:
    sound = b'{"text":"hi","usage":{"input_tokens":3,"output_tokens":4},"more":"hi"}'
    for name in (b'"text":"h', b'"more":"h'):
        body = sound.replace(name, name + damage)
        for content_type, answer in ((JSON, body), (EVENTS, b"data: " + body + b"\n\n")):
            meter = metered(answer, content_type)
            assert meter.usage is not None
            assert (meter.usage.input_tokens, meter.usage.output_tokens) == (3, 4)


def test_a_usage_inside_a_text_is_none() -> None:
    meter = metered(b'{"text":"\\"usage\\":{\\"input_tokens\\":1}\xff",,')
    assert meter.usage is None


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b'{"text":"hi","usage":{"type":"duration","seconds":61}}'),
        (JSON, b'{"results":[],"meta":{"billed_units":{"search_units":1}}}'),
        (JSON, b'{"created":1,"data":[{"url":"http://x"}]}'),
        (JSON, b"[1,2]"),
        (JSON, b'{"usage":null'),
        (JSON, b""),
        ("text/plain; charset=utf-8", b"usage: 5"),
        ("application/x-subrip", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n"),
        ("audio/mpeg", b'{"usage":{"input_tokens":5}}'),
        (None, b"\xff\xfb\x90\x00" * 9),
    ],
)
def test_what_states_no_tokens(content_type: str | None, body: bytes) -> None:
    meter = metered(body, content_type)
    assert (meter.usage, meter.answered) == (None, True)


def test_an_answer_too_large_to_keep_still_states_its_usage() -> None:
    pictures = json.dumps([{"b64_json": "A" * 3_000_000}])
    for body in (
        f'{{"data":{pictures},"usage":{{"input_tokens":5,"output_tokens":9}}}}',
        f'{{"usage":{{"input_tokens":5,"output_tokens":9}},"data":{pictures}}}',
    ):
        meter = PassMeter(
            stream=False, content_type=JSON, answer_bytes_max=65536, metered=True, makes=False
        )
        meter.feed(body.encode())
        meter.end()
        assert meter.usage is not None and meter.oversized
        assert (meter.usage.input_tokens, meter.usage.output_tokens) == (5, 9)


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"id":"file-1","object":"file"}', "file-1"),
        (
            b'{"id":"batch_1","output_file_id":"file-o","error_file_id":"file-e","input_file_id":"i"}',
            "batch_1 file-o file-e",
        ),
        (b'{"id":"upload_1","status":"completed","file":{"id":"file-9"}}', "upload_1 file-9"),
        (b'{"id":"a b","object":"file"}', None),
        (b'{"id":5}', None),
        (b'{"data":[{"id":"file-1"}]}', None),
        (b'{"id":"' + b"x" * 129 + b'"}', None),
    ],
)
def test_the_ids_that_an_answer_makes(body: bytes, ids: str | None) -> None:
    assert metered(body).response_id == ids


def test_the_ids_fit_a_record() -> None:
    long = {name: name[0] * 100 for name in ("id", "output_file_id", "error_file_id")}
    ids = metered(json.dumps(long).encode()).response_id
    assert ids is not None and len(ids) <= IDS_CHARS_MAX and ids.startswith("i" * 100)


def test_an_error_has_neither() -> None:
    body = b'{"id":"file-1","usage":{"input_tokens":5}}'
    meter = metered(body, status=404)
    assert (meter.usage, meter.response_id, meter.answered) == (None, None, None)


def test_what_is_not_metered_marks_its_status_before_its_first_byte() -> None:
    free = PassMeter(stream=False, content_type=JSON, metered=False, makes=False)
    assert free.usage_final and free.usage is None
    waits = PassMeter(stream=False, content_type=JSON, metered=True, makes=False)
    assert not waits.usage_final
