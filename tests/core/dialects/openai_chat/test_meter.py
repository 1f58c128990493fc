"""The meter over every vendor's answers: the same whatever the chunks, line ends and content
coding, and never an exception."""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat import meter as meter_module
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.usual_event import usual_event
from tests.support.effort import examples

FIXED = settings(max_examples=examples(200))
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
RUNNING = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
DONE = "[DONE]"


def chunk(
    text: str | None = None, finish: str | None = None, **fields: object
) -> dict[str, object]:
    delta = {} if text is None else {"content": text}
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    } | fields


def stream_of(*events: object, comment: bool = False) -> bytes:
    lines = [
        event
        if isinstance(event, str)
        else json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        for event in events
    ]
    return b"".join(
        f"{': PROCESSING' + chr(10) * 2 if comment else ''}data: {line}\n\n".encode()
        for line in lines
    )


def run(chunks: Iterable[bytes], **options: object) -> ChatMeter:
    meter = ChatMeter(**({"stream": True} | options))  # type: ignore[arg-type]
    for piece in chunks:
        meter.feed(piece)
    meter.end()
    return meter


def result(meter: ChatMeter) -> dict[str, object]:
    names = (
        "usage",
        "usage_final",
        "output_measure",
        "done",
        "error",
        "finish_reason",
        "model_served",
        "response_id",
        "service_tier",
        "unreadable",
        "oversized",
    )
    return {name: getattr(meter, name) for name in names}


def tokens(text: str) -> int:
    return -(-len(text.encode()) // 4)


TEXTS = [chunk("The"), chunk(" answer"), chunk(" is"), chunk(" 好"), chunk(' "42"')]
TEXT = 'The answer is 好 "42"'
LAST = chunk(finish="stop")

# name, events, usage as (input, output), final, [DONE], error, finish_reason
STREAMS = [
    ("OpenAI without include_usage", [*TEXTS, LAST, DONE], None, False, True, False, "stop"),
    ("OpenAI with include_usage", [*(event | {"usage": None} for event in TEXTS), LAST | {"usage": None}, chunk() | {"choices": [], "usage": USAGE}, DONE], (9, 4), True, True, False, "stop"),
    ("OpenAI with obfuscation", [*(event | {"usage": None, "obfuscation": "xyz"[:at]} for at, event in enumerate(TEXTS)), LAST, DONE], None, False, True, False, "stop"),
    ("OpenAI broken off before its usage", [*TEXTS], None, False, False, False, None),
    ("Azure", [{"choices": [], "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}, *TEXTS, {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}], "id": "", "model": ""}, LAST, DONE], None, False, True, False, "stop"),
    ("DeepSeek: usage on the last content chunk", [*TEXTS[:-1], chunk(' "42"', "stop", usage=USAGE | {"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1}), DONE], (9, 4), True, True, False, "stop"),
    ("Gemini: running totals", [*(event | {"usage": RUNNING} for event in TEXTS), LAST | {"usage": USAGE}, DONE], (9, 4), True, True, False, "stop"),
    ("Gemini, cut", [event | {"usage": RUNNING} for event in TEXTS], (9, 2), False, False, False, None),
    ("Moonshot: usage in the choice", [*TEXTS, chunk() | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}, DONE], (9, 4), True, True, False, "stop"),
    ("Groq", [TEXTS[0] | {"x_groq": {"id": "r"}}, *TEXTS[1:], LAST | {"x_groq": {"id": "r", "usage": USAGE}}, DONE], (9, 4), True, True, False, "stop"),
    ("vLLM: null choices", [*TEXTS, LAST, chunk() | {"choices": None, "usage": USAGE}, DONE], (9, 4), True, True, False, "stop"),
    ("vLLM: error, then [DONE]", [*TEXTS, {"error": {"message": "m", "code": 500}}, DONE], None, False, True, True, None),
    ("SGLang: running totals, then final ones", [*(event | {"usage": RUNNING} for event in TEXTS), LAST | {"usage": RUNNING}, chunk() | {"choices": [], "usage": USAGE}, DONE], (9, 4), True, True, False, "stop"),
    ("Mistral's error", [*TEXTS, {"object": "error", "message": "m", "type": "t", "code": "3"}], None, False, False, True, None),
    ("an error with its type", [*TEXTS, {"type": "error", "message": "m"}], None, False, False, True, None),
    ("transformers: no [DONE]", [*TEXTS, LAST | {"usage": USAGE}], (9, 4), True, False, False, "stop"),
    ("LiteLLM: usage beside choices", [*TEXTS, LAST, chunk("", usage=USAGE), DONE], (9, 4), True, True, False, "stop"),
    ("llama.cpp: timings", [*TEXTS, LAST | {"timings": {"prompt_n": 9, "predicted_n": 4}}, DONE], None, False, True, False, "stop"),
    ("usage on an unfinished chunk, cut", [*TEXTS, chunk("", usage=USAGE)], (9, 4), False, False, False, None),
    ("usage on an unfinished chunk, then [DONE]", [*TEXTS, chunk("", usage=USAGE), DONE], (9, 4), True, True, False, None),
    ("a usage that text follows was a running one", [chunk() | {"choices": [], "usage": RUNNING}, *TEXTS], (9, 2), False, False, False, None),
    ("a null after the usage takes nothing back", [*TEXTS, LAST | {"usage": USAGE}, chunk() | {"choices": [], "usage": None}, DONE], (9, 4), True, True, False, "stop"),
    ("a reported zero", [*TEXTS, LAST, chunk() | {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}, DONE], (0, 0), True, True, False, "stop"),
    ("an error of null is none", [*(event | {"error": None} for event in TEXTS), LAST, DONE], None, False, True, False, "stop"),
    ("text that looks like JSON", [chunk('"usage":{"prompt_tokens":1}'), chunk('{"error":{"message":"x"}}'), chunk("[DONE]"), chunk(r"\"finish_reason\":\"stop\"")], None, False, False, False, None),
]  # fmt: skip
LOOKALIKE = (
    '"usage":{"prompt_tokens":1}{"error":{"message":"x"}}[DONE]' + r"\"finish_reason\":\"stop\""
)


@pytest.mark.parametrize(
    ("events", "usage", "final", "done", "error", "finish"),
    [row[1:] for row in STREAMS],
    ids=[row[0] for row in STREAMS],
)
def test_each_vendors_stream(
    events: list[object],
    usage: tuple[int, int] | None,
    final: bool,
    done: bool,
    error: bool,
    finish: str | None,
) -> None:
    meter = run([stream_of(*events)])
    assert (
        None if meter.usage is None else (meter.usage.input_tokens, meter.usage.output_tokens)
    ) == usage
    assert (meter.usage_final, meter.done, meter.error, meter.finish_reason) == (
        final,
        done,
        error,
        finish,
    )
    assert (meter.model_served, meter.response_id, meter.unreadable, meter.oversized) == (
        "m-1",
        "c-1",
        False,
        False,
    )
    assert meter.output_measure == tokens(
        LOOKALIKE if events[0] == chunk('"usage":{"prompt_tokens":1}') else TEXT
    )


def many_chunkings(stream: bytes) -> Iterable[list[bytes]]:
    """Every third cut in two, the ends among them: the campaign cuts the golden answers at each."""
    yield from ([stream[:at], stream[at:]] for at in {*range(0, len(stream), 3), len(stream)})
    yield [stream[at : at + 1] for at in range(len(stream))]
    yield stream.splitlines(keepends=True)
    yield [event + b"\n\n" for event in stream.split(b"\n\n")]


@pytest.mark.parametrize("events", [row[1] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_no_framing_changes_what_is_metered(events: list[object]) -> None:
    stream = stream_of(*events)
    expected = result(run([stream]))
    for chunks in many_chunkings(stream):
        assert result(run(chunks)) == expected
    for other in (
        stream.replace(b"\n", b"\r\n"),
        stream.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + stream,
        stream_of(*events, comment=True),
        stream.rstrip(b"\n"),
    ):
        assert result(run([other])) == expected
        assert result(run([other[at : at + 1] for at in range(len(other))])) == expected
        assert result(run([event + b"\n\n" for event in other.split(b"\n\n")])) == expected
    for packed, encoding in ((gzip.compress(stream), "gzip"), (zlib.compress(stream), "deflate")):
        assert result(run([packed], content_encoding=encoding)) == expected
        assert (
            result(
                run([packed[at : at + 1] for at in range(len(packed))], content_encoding=encoding)
            )
            == expected
        )


@pytest.mark.parametrize("events", [row[1] for row in STREAMS], ids=[row[0] for row in STREAMS])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stream": False},
        {"content_type": "application/x-ndjson"},
        {"content_type": "text/event-stream"},
    ],
    ids=str,
)
def test_framing_that_is_not_quite_sse_changes_nothing(
    events: list[object], options: dict[str, object]
) -> None:
    """As line-wise clients read it: one line end between events, JSON lines, no blank behind the
    name, the name twice."""
    stream = stream_of(*events)
    expected = result(run([stream]))
    lines = stream.replace(b"\n\n", b"\n")
    for other in (
        lines, lines.rstrip(b"\n"), lines.replace(b"\n", b"\r\n"), lines.replace(b"\n", b"\r"), stream.replace(b"data: ", b"data:"),
        lines.replace(b"data: ", b""), lines.replace(b"data: ", b"").replace(b"\n", b"\r\n"), stream.replace(b"data: ", b""),
        lines.replace(b"data: ", b"data: data: "), lines.replace(b"data: ", b"event: message\nid: 1\ndata: "), b"\xef\xbb\xbf" + lines, b"\n\n" + lines,
    ):  # fmt: skip
        assert result(run([other], **options)) == expected, other[:200]
        assert result(run(other.splitlines(keepends=True), **options)) == expected
        assert (
            result(run((other[at : at + 7] for at in range(0, len(other), 7)), **options))
            == expected
        )


@pytest.mark.parametrize("events", [row[1] for row in STREAMS], ids=[row[0] for row in STREAMS])
@pytest.mark.parametrize("between", [b"", b" ", b"data: "])
def test_objects_in_a_row_without_any_line_end_are_events(
    events: list[object], between: bytes
) -> None:
    """Relays that glue what they get together: in one event, or in a body that is neither an answer
    nor lines."""
    objects = [
        stream_of(event).removeprefix(b"data: ").strip() for event in events if event != DONE
    ]
    if len(objects) < 2:
        return
    expected = result(run([stream_of(*(event for event in events if event != DONE))]))
    assert result(run([b"data: " + between.join(objects) + b"\n\n"])) == expected
    body = run([between.join(objects)], stream=False)
    assert {name: value for name, value in result(body).items() if name != "usage_final"} == {
        name: value for name, value in expected.items() if name != "usage_final"
    }


def test_json_lines_are_measured_by_their_text_as_they_come() -> None:
    """A limit that cuts goes by the measure; the JSON around the text is none of it."""
    line = stream_of(chunk("abcd" * 4)).removeprefix(b"data: ").strip() + b"\n"
    meter = ChatMeter(stream=True, content_type="application/x-ndjson")
    for number in range(1, 30):
        meter.feed(line)
        assert number == 1 or meter.output_measure == 4 * number


def test_a_stream_can_be_ended_behind_a_line_where_its_events_end_with_lines() -> None:
    """A limit that ends a stream does so behind a whole event; a stream without empty lines would
    never be ended."""
    line = stream_of(chunk("abcd")).strip() + b"\n"
    meter = ChatMeter(stream=True, content_type="text/event-stream")
    for piece in (line, line, line + line[:30]):
        meter.feed(piece)
    assert (meter.between_events, meter.whole_events(line + line[:30])) == (False, line)
    meter.feed(line[30:])
    assert (meter.between_events, meter.whole_events(line[30:])) == (True, line[30:])


def test_one_json_answer_with_line_ends_in_it_is_no_lines() -> None:
    for text in (
        json.dumps(JSON_ANSWER) + "\n\n",
        json.dumps(JSON_ANSWER, indent=0),
        json.dumps(JSON_ANSWER).replace("}, {", "}\n,\n{").replace("}]", "}\n]"),
    ):
        for size in (1, 40, len(text)):
            meter = run(
                (text[at : at + size].encode() for at in range(0, len(text), size)), stream=True
            )
            assert (meter.usage_final, meter.unreadable, meter.output_measure) == (
                True,
                False,
                tokens("好 hi好 hi"),
            )


@pytest.mark.parametrize(
    "failure",
    [
        b'event: error\ndata: {"message":"overloaded"}\n\n',
        b'error: {"code":500,"message":"m"}\n\n',
        b"event: error\n\n",
    ],
)
def test_an_event_called_an_error_is_one(failure: bytes) -> None:
    assert run([stream_of(*TEXTS), failure, stream_of(DONE)]).error


@pytest.mark.parametrize(
    ("events", "complete"),
    [
        ([*TEXTS, DONE], True),
        ([*TEXTS, LAST], False),
        ([*TEXTS, LAST, chunk() | {"choices": [], "usage": USAGE}], True),
        ([*TEXTS, LAST | {"usage": USAGE}], True),
        ([*TEXTS, chunk() | {"choices": [], "usage": USAGE}], False),
        ([*TEXTS, LAST | {"usage": USAGE}, TEXTS[0]], False),
        ([*TEXTS, LAST | {"usage": USAGE}, {"error": {"message": "m"}}], False),
    ],
)
def test_what_proves_that_all_of_a_stream_has_come(events: list[object], complete: bool) -> None:
    assert run([stream_of(*events)]).complete is complete


def test_what_is_known_so_far_is_known_before_the_chunk_goes_on() -> None:
    """The exchange marks what it is about to deliver: the figures must cover each chunk as soon as
    it is fed."""
    meter = ChatMeter(stream=True)
    delivered = 0
    for event in (chunk("abcd" * 3) for _ in range(20)):
        meter.feed(stream_of(event))
        delivered += 12
        assert meter.output_measure == delivered // 4
    meter.feed(stream_of(chunk(finish="stop", usage=USAGE)))
    assert meter.usage is not None
    assert meter.usage_final


JSON_ANSWER = {
    "id": "c-1", "object": "chat.completion", "model": "m-1",
    "choices": [{"index": at, "message": {"role": "assistant", "content": "好 hi"}, "finish_reason": "length"} for at in range(2)],
    "usage": USAGE, "service_tier": "flex", "system_fingerprint": "fp",
}  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"stream": False},
        {"stream": True},
        {"stream": True, "content_type": "text/event-stream"},
        {"stream": False, "content_type": "text/html"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_answer_is_read_at_its_end_even_if_a_stream_was_asked_for(
    options: dict[str, object], indent: int | None
) -> None:
    body = json.dumps(JSON_ANSWER, indent=indent).encode()
    for chunks in ([body], [body[at : at + 1] for at in range(len(body))], [b"\n ", body]):
        meter = run(chunks, **options)
        assert meter.usage is not None
        assert (meter.usage.input_tokens, meter.usage.output_tokens, meter.usage_final) == (
            9,
            4,
            True,
        )
        assert (
            meter.model_served,
            meter.response_id,
            meter.finish_reason,
            meter.service_tier,
            meter.error,
        ) == ("m-1", "c-1", "length", "flex", False)
        assert (meter.output_measure, meter.unreadable, meter.done) == (
            tokens("好 hi好 hi"),
            False,
            False,
        )


# Totals stated beside a choice, each behind text of its choice -> whether the last one counts all
# of the text.
BESIDE_TEXT = [
    ("growing", [(0, 2), (0, 4), (0, 6)], True),
    ("the same each time", [(0, 1), (0, 1), (0, 1)], False),
    ("the same until the last", [(0, 1), (0, 1), (0, 9)], True),
    ("of one choice each", [(0, 2), (1, 2), (0, 4), (1, 4)], False),
    ("of one choice each, one behind the other", [(0, 2), (0, 4), (1, 2), (1, 4)], False),
    ("of both choices", [(0, 2), (1, 4), (0, 6), (1, 8)], True),
    ("of each event alone", [(0, 2), (0, 3), (0, 2)], False),
    ("of each event alone, the last the longest", [(0, 3), (0, 2), (0, 4)], False),
    ("zeros, then one of both choices", [(0, 0), (1, 0), (0, 0), (1, 8)], True),
]


@pytest.mark.parametrize(
    ("totals", "counts_all"), [row[1:] for row in BESIDE_TEXT], ids=[row[0] for row in BESIDE_TEXT]
)
def test_a_total_that_does_not_grow_with_the_text_has_not_counted_it(
    totals: list[tuple[int, int]], counts_all: bool
) -> None:
    events = [
        {
            "model": "m-1",
            "choices": [{"index": index, "delta": {"content": f"part {at} "}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": total},
        }
        for at, (index, total) in enumerate(totals)
    ]
    meter = run([stream_of(*events)])
    assert meter.usage_current is counts_all
    for last in (
        chunk() | {"choices": [], "usage": USAGE},
        events[-1] | {"choices": [], "usage": RUNNING},
    ):
        assert run([stream_of(*events, last)]).usage_final, (
            "what stands beside no choice is the last word"
        )


def test_what_is_on_its_way_is_not_written_yet() -> None:
    """Else five cited pages, while they arrive, would use up a limit that cuts."""
    meter = ChatMeter(stream=True)
    meter.feed(stream_of(TEXTS[0]))
    cited = stream_of(
        chunk() | {"choices": [{"index": 0, "delta": {"context": {"citations": ["page " * 9000]}}}]}
    )
    for at in range(0, len(cited), 1000):
        meter.feed(cited[at : at + 1000])
        assert meter.output_so_far == tokens("The")
        assert at + 1000 >= len(cited) or meter.output_measure > at / 4, (
            "who is cut off here may have got it"
        )
    meter.feed(stream_of(TEXTS[1]))
    assert meter.output_so_far == tokens("The answer")
    body = json.dumps(JSON_ANSWER).encode()
    meter = ChatMeter(stream=True)
    meter.feed(body[:-1])
    assert meter.output_so_far == 0 < meter.output_measure


def test_an_event_too_large_to_read_is_counted_as_it_comes() -> None:
    meter = ChatMeter(stream=True, event_bytes_max=1000)
    meter.feed(b'data: {"choices":[{"delta":{"content":"')
    for _ in range(10):
        meter.feed(b"x" * 400)
    assert meter.output_so_far == meter.output_measure >= 1000


def test_embeddings_that_state_an_input_alone_state_all() -> None:
    body = {"object": "list", "data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 9}}
    meter = run([json.dumps(body).encode()], stream=False)
    assert meter.usage_final and meter.usage is not None and meter.usage.output_tokens == 0


def test_a_list_of_events_and_an_answer_in_an_envelope_are_read() -> None:
    listed = (
        b"["
        + b",\r\n".join(json.dumps(event).encode() for event in [*TEXTS, LAST | {"usage": USAGE}])
        + b"]"
    )
    enveloped = json.dumps(
        {
            "code": 0,
            "msg": "ok",
            "data": {"choices": [{"message": {"content": TEXT}}], "usage": USAGE},
        }
    ).encode()
    for body in (listed, enveloped):
        meter = run([body])
        assert (meter.output_measure, meter.answered, meter.unreadable) == (
            tokens(TEXT),
            True,
            False,
        )
        assert meter.usage_final and meter.usage is not None and meter.usage.output_tokens == 4


def test_until_it_is_read_a_json_answer_counts_with_all_its_bytes() -> None:
    body = json.dumps(JSON_ANSWER).encode()
    meter = ChatMeter(stream=False)
    for at in range(len(body) - 1):
        meter.feed(body[at : at + 1])
        assert meter.output_measure == -(-(at + 1) // 4)
    meter.end()
    assert (meter.unreadable, meter.output_measure) == (True, -(-(len(body) - 1) // 4))
    assert meter.usage is not None, "what is whole in it counts"


@pytest.mark.parametrize(
    ("body", "status", "usage", "error", "unreadable"),
    [
        (b'{"error":{"message":"m"}}', 429, None, True, False),
        (
            b'{"error":{"message":"m"},"usage":{"prompt_tokens":3,"completion_tokens":0}}',
            500,
            3,
            True,
            False,
        ),
        (b'{"detail":"Not found"}', 404, None, False, False),
        (b'"text"', 500, None, False, True),
        (b"<html>Bad gateway</html>", 502, None, False, True),
        (b"Internal Server Error", 500, None, False, True),
        (
            b'{"object":"list","data":[{"embedding":[0.1]}],"model":"e","usage":{"prompt_tokens":3,"total_tokens":3}}',
            200,
            3,
            False,
            False,
        ),
        (b'\xef\xbb\xbf{"usage":{"prompt_tokens":3,"total_tokens":3}}', 200, 3, False, False),
        (b"", 200, None, False, False),
        (b"[" * 5000, 200, None, False, True),
    ],
)
def test_other_bodies(
    body: bytes, status: int, usage: int | None, error: bool, unreadable: bool
) -> None:
    for stream in (False, True) if status >= 400 else (False,):
        for chunks in ([body], [body[at : at + 1] for at in range(len(body))]):
            meter = run(chunks, stream=stream, status=status)
            assert (None if meter.usage is None else meter.usage.input_tokens) == usage
            assert (meter.error, meter.unreadable) == (error, unreadable)


BIG_DATA = [
    {
        "embedding": [0.125] * 2000,
        "text": '"usage":{"prompt_tokens":1}}',
        "usage": {"prompt_tokens": 2},
    }
    for _ in range(12)
]
USAGE_OF_3 = {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": BIG_DATA, "usage": USAGE_OF_3}, 3),
        ({"data": BIG_DATA, "usage": USAGE_OF_3, "service_tier": "flex", "x": {"y": [1, "}"]}}, 3),
        ({"model": "e", "usage": USAGE_OF_3, "data": BIG_DATA}, 3),
        ({"data": BIG_DATA, "model": "e"}, None),
        ({"data": BIG_DATA}, None),
        (
            {"choices": [{"message": {"content": "x" * 200_000 + '"usage":{"prompt_tokens":1}}'}}]},
            None,
        ),
        ({"a": {"usage": {"prompt_tokens": 1}}, "data": BIG_DATA}, None),
        ({"a": {"usage": {"prompt_tokens": 1}}, "usage": USAGE_OF_3, "data": BIG_DATA}, 3),
        ({"usage": "none", "data": BIG_DATA}, None),
        (BIG_DATA, None),
    ],
)
def test_a_json_answer_too_large_to_keep_still_tells_its_usage(
    body: object, expected: int | None
) -> None:
    for text in (json.dumps(body), json.dumps(body, indent=1)):
        data = text.encode()
        for size in (997, 64 * 1024, len(data)):
            meter = run(
                (data[at : at + size] for at in range(0, len(data), size)),
                stream=False,
                answer_bytes_max=100_000,
            )
            assert (None if meter.usage is None else meter.usage.input_tokens) == expected
            assert meter.usage_final is (expected is not None)
            assert meter.oversized
            assert meter._body.kept.kept_bytes <= 300_000


def test_an_event_too_large_to_read_counts_with_all_its_bytes() -> None:
    events = [
        chunk("abcd"),
        chunk("efgh"),
        chunk("x" * 5000),
        chunk("ijkl"),
        chunk() | {"choices": [], "usage": USAGE},
        DONE,
    ]
    stream = stream_of(*events)
    large = len(stream_of(events[2]).strip())
    for chunks in (
        [stream],
        [stream_of(event) for event in events],
        [stream[at : at + 7] for at in range(0, len(stream), 7)],
    ):
        meter = run(chunks, event_bytes_max=2000)
        assert (meter.output_measure, meter.oversized, meter.done, meter.usage_final) == (
            -(-(12 + large) // 4),
            True,
            True,
            True,
        )


@pytest.mark.parametrize("event_bytes_max", [1000, 100_000])
def test_text_in_an_event_that_never_ends_is_not_free(event_bytes_max: int) -> None:
    meter = ChatMeter(stream=True, event_bytes_max=event_bytes_max)
    meter.feed(stream_of(chunk("abcd")))
    assert meter.output_measure == 1
    meter.feed(b'data: {"choices":[{"delta":{"content":"')
    for _ in range(10):
        meter.feed(b"x" * 1000)
    assert 2501 <= meter.output_measure <= 2520
    if event_bytes_max > 10_100:
        meter.feed(b'"}}]}\n\n')
        assert meter.output_measure == 2501


@pytest.mark.parametrize("encoding", ["gzip, gzip", "compress"])
def test_a_coding_that_cannot_be_undone_leaves_bytes_to_go_by(encoding: str) -> None:
    meter = run([b"x" * 10, b"y" * 11], content_encoding=encoding)
    assert (meter.unreadable, meter.usage, meter.output_measure) == (True, None, 6)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
def test_bytes_that_are_not_of_their_coding_count_as_they_are(encoding: str) -> None:
    meter = run([b"x" * 10, b"y" * 40], content_encoding=encoding)
    assert meter.unreadable and meter.usage is None
    assert (
        10 <= meter.output_measure <= 13
    )  # a decoder may take a few bytes before it sees what they are


def test_a_broken_coding_is_said_and_counted_on() -> None:
    packed = gzip.compress(stream_of(*TEXTS, LAST))
    meter = run([packed[:40], b"\xff" * 200, b"z" * 40], content_encoding="gzip")
    assert meter.unreadable
    assert meter.output_measure >= 10


def test_the_last_service_tier_and_the_first_model_count_and_long_names_are_cut() -> None:
    meter = run(
        [
            stream_of(
                chunk("a", service_tier="auto"),
                chunk("b", "stop", model="other" * 99, service_tier="default"),
                DONE,
            )
        ]
    )
    assert (meter.model_served, meter.service_tier) == ("m-1", "default")
    long = run(
        [stream_of(chunk("a", "s" * 999, model="m" * 999, id="i" * 999, service_tier="t" * 999))]
    )
    assert [
        len(text or "")
        for text in (long.model_served, long.response_id, long.service_tier, long.finish_reason)
    ] == [256, 256, 64, 64]


def test_a_chunk_that_looks_like_a_whole_event_may_be_the_rest_of_one() -> None:
    whole = stream_of(chunk("abcd"))
    for before, measure in ((b"data: x", 5), (b"data: x\n", 5), (b": comment ", 4), (b"da", 4)):
        chunks = [whole, whole, whole, before, whole, whole]
        assert result(run(chunks)) == result(run([b"".join(chunks)]))
        assert run(chunks).output_measure == measure


def test_events_that_are_alike_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading JSON is for the first events, for those that may hold usage or an error, and for any
    that differ in more than their text."""
    decoded: list[bytes] = []
    monkeypatch.setattr(
        meter_module,
        "usual_event",
        lambda event: (decoded.append(event), usual_event(event))[1],
    )
    run(
        [stream_of(event | {"usage": None}) for event in (*TEXTS * 20, LAST)]
        + [stream_of(chunk() | {"choices": [], "usage": USAGE}), stream_of(DONE)]
    )
    assert len(decoded) == 4


PIECES = st.sampled_from(
    [stream_of(chunk("a")), stream_of(chunk("bc")), stream_of(chunk("好\\")), stream_of(chunk("", usage=RUNNING)), stream_of(LAST), stream_of(DONE), stream_of({"error": {}}),
     stream_of(chunk() | {"choices": [], "usage": USAGE}), b'data: {"usage":{', b'"choices"', b"\n", b"\r\n", b": x\n\n", b'data: {"choices":[{"text":"t"}]}\n\n', b'data: "error"\n\n', b"{"]
)  # fmt: skip


@FIXED
@given(
    st.lists(PIECES | st.binary(max_size=5), max_size=14),
    st.sampled_from([None, "gzip", "deflate"]),
    st.booleans(),
    st.sampled_from([40, 300, 1 << 20]),
)
def test_any_bytes_in_any_chunks_give_the_same_figures(
    pieces: list[bytes], encoding: str | None, stream: bool, bound: int
) -> None:
    options = {"stream": stream, "event_bytes_max": bound, "answer_bytes_max": bound}
    data = b"".join(pieces)
    expected = result(run([data], **options))
    assert result(run(pieces, **options)) == expected
    assert result(run((data[at : at + 1] for at in range(len(data))), **options)) == expected
    run(pieces, content_encoding=encoding, **options)
    if encoding is not None:
        packed = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
        assert result(run([packed], content_encoding=encoding, **options)) == expected


def test_no_damaged_stream_raises_or_reads_differently_in_other_chunks() -> None:
    rng = random.Random(11)
    streams = [stream_of(*row[1]) for row in STREAMS]
    for _ in range(1_000):
        damaged = bytearray(rng.choice(streams))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randint(0, 3)] = bytes(
                rng.choice(b'"\\{}[]:,\x00\xff\n\r 1eu') for _ in range(rng.randint(0, 3))
            )
        data = bytes(damaged)
        size = rng.randint(1, 60)
        expected = result(run([data]))
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        assert result(run(pieces)) == expected
        assert result(run(re.findall(rb"(?s:.+?(?:\n\n|$))", data))) == expected


@pytest.mark.parametrize("guard", [b")]}',\n", b")]}'\n", b")]}'", b"for (;;);", b"while(1);\r\n "])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_frameworks_put_before_json_costs_nothing(guard: bytes, size: int) -> None:
    """So that no web page can run an answer as a script."""
    answer = b'{"choices":[{"message":{"content":"Hello"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}'
    whole = guard + answer
    meter = run([whole[at : at + size] for at in range(0, len(whole), size)], stream=False)
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (9, 2)
    assert (meter.text_bytes, meter.answered, meter.unreadable) == (5, True, False)


def test_an_output_that_cannot_be_the_text_has_not_counted_it() -> None:
    """llama-cpp-python states 1 whatever a function-calling model writes (its issue 1344)."""
    for words, stated, counts in ((200, 1, False), (20, 1, True), (200, 200, True)):
        usage = {"prompt_tokens": 507, "completion_tokens": stated, "total_tokens": 507 + stated}
        text = "word " * words
        answer = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        meter = run([json.dumps(answer | {"usage": usage}).encode()], stream=False)
        assert (meter.usage_current, meter.usage_final) == (counts, counts)
        if not counts:
            assert meter.texts is not None
        events = stream_of(chunk(text), {"choices": [], "usage": usage})
        meter = run([events + b"data: [DONE]\n\n"], stream=True)
        assert (meter.usage_current, meter.usage_final) == (counts, counts)


def test_a_completion_may_begin_with_its_prompt_which_is_no_output() -> None:
    usage = {"prompt_tokens": 507, "completion_tokens": 1, "total_tokens": 508}
    answer = {"choices": [{"text": "word " * 500, "finish_reason": "stop"}], "usage": usage}
    meter = run([json.dumps(answer).encode()], stream=False)
    assert (meter.usage_current, meter.usage_final) == (True, True)
