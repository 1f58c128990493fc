"""The text that is measured and counted is the one that a client assembles, however a server cuts,
repeats and wraps it."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.delivered import Delivered
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.shapes import read_answer

SENTENCE = "The tide came in slowly over the sand. "
WORDS = [
    "The",
    " tide",
    " came",
    " in",
    " slowly",
    " over",
    " the",
    " sand",
    ".",
    "\n\n",
    "ha",
    "ha",
    " 好",
    "😀",
    ' "x"',
    "\\",
    "  ",
    "150",
    "0",
]
Event = dict[str, object]


def chunk(choice: Event | None = None, **fields: object) -> Event:
    choices = [] if choice is None else [{"index": 0, "finish_reason": None} | choice]
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": choices,
    } | fields


def said(text: str, name: str = "content", **members: object) -> Event:
    return chunk({"delta": {name: text, **members}})


def stream(events: Iterable[Event], *, ascii_only: bool = False) -> list[bytes]:
    return [
        b"data: " + json.dumps(event, ensure_ascii=ascii_only).encode() + b"\n\n"
        for event in events
    ] + [b"data: [DONE]\n\n"]


def read(chunks: Iterable[bytes]) -> ChatMeter:
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
    for piece in chunks:
        meter.feed(piece)
    meter.end()
    assert meter.texts is not None
    meter.texts.finish()
    assert meter.text_known
    return meter


def blocks(meter: ChatMeter) -> list[str]:
    assert meter.texts is not None
    return sorted(meter.texts.blocks)


def client(events: Iterable[Event]) -> dict[tuple[object, ...], str]:
    """A plain reader, as clients have it: of each choice the deltas of each field appended; one
    that starts with all of the text so far replaces it."""
    texts: dict[tuple[object, ...], str] = defaultdict(str)
    for event in events:
        for choice in event["choices"]:  # type: ignore[attr-defined]
            for name, piece in choice["delta"].items():
                key = (choice["index"], name)
                replaces = len(texts[key].encode()) >= 64 and piece.startswith(texts[key])
                texts[key] = piece if replaces else texts[key] + piece
    return texts


@pytest.mark.parametrize("seed", range(40))
def test_any_mixture_of_choices_and_fields_comes_to_what_a_client_has(seed: int) -> None:
    """Each field of each choice in its own manner: increments, or snapshots of all the text so
    far."""
    rng = random.Random(seed)
    queues: list[list[tuple[int, str, str]]] = []
    for index in range(rng.choice([1, 1, 2, 5])):
        for name in rng.sample(["content", "reasoning_content", "refusal"], rng.choice([1, 1, 2])):
            words = [
                SENTENCE if rng.random() < 0.2 else rng.choice(WORDS)
                for _ in range(rng.choice([8, 30, 80]))
            ]
            if rng.random() < 0.5:
                words = list(accumulate([SENTENCE * 2, *words]))
            queues.append([(index, name, word) for word in words])
    events = []
    while queues:
        queue = rng.choice(queues)
        index, name, word = queue.pop(0)
        events.append(chunk({"index": index, "delta": {name: word}}))
        queues = [queue for queue in queues if queue]
    expected = sorted(text for text in client(events).values() if text)
    for chunks in (stream(events), stream(events, ascii_only=True), [b"".join(stream(events))]):
        meter = read(chunks)
        assert blocks(meter) == expected
        assert meter.text_bytes == sum(len(text.encode()) for text in expected)


WHOLE = SENTENCE * 25
PAGE = {
    "title": "Manual",
    "content": "Every form is to be handed in three times before noon. " * 60,
    "url": "https://example.org",
}
CITED = {"type": "url_citation", "url_citation": PAGE}
RUNNING = [
    chunk(
        {
            "delta": {"content": SENTENCE},
            "message": {"role": "assistant", "content": SENTENCE * at},
        },
        citations=[PAGE],
    )
    for at in range(1, 26)
]

STREAMS: list[tuple[str, list[Event], list[str]]] = [
    ("DashScope: all the text so far", [said(SENTENCE * at) for at in range(1, 26)], [WHOLE]),
    ("the same, each twice now and then", [said(SENTENCE * at) for at in range(1, 26) for _ in range(1 + (at % 7 == 5))], [WHOLE]),
    ("the same for thoughts", [said(SENTENCE * at, "reasoning_content") for at in range(1, 26)] + [said("So")], ["So", WHOLE]),
    ("the same with the whole once more at the finish", [said(SENTENCE * at) for at in range(1, 26)] + [chunk({"delta": {"content": WHOLE}, "finish_reason": "stop"})], [WHOLE]),
    ("Qianfan: all of the arguments so far, and the name each time", [chunk({"delta": {"tool_calls": [{"index": 0, "function": {"name": "find", "arguments": ('{"q":"' + SENTENCE * 3)[:at]}}]}}) for at in range(3, 120)], ["find", ('{"q":"' + SENTENCE * 3)[:119]]),
    ("Perplexity: the message so far beside the delta", RUNNING, [WHOLE]),
    ("the message at the end, behind deltas", [said(SENTENCE)] * 25 + [chunk({"delta": {}, "message": {"content": WHOLE}, "finish_reason": "stop"})], [WHOLE]),
    ("HybridAI: the message alone, so far", [chunk({"delta": {"content": ""}, "message": {"content": SENTENCE * at}}) for at in range(1, 26)], [WHOLE]),
    ("Together: text and content", [chunk({"text": word, "delta": {"role": "assistant", "content": word}}) for word in WORDS], ["".join(WORDS)]),
    ("RAGFlow: the whole answer once more", [said(SENTENCE)] * 25 + [said(WHOLE)], [WHOLE]),
    ("Azure: cited pages under the delta", [chunk({"delta": {"role": "assistant", "context": {"citations": [PAGE] * 5, "intent": "x"}}})] + [said(word) for word in WORDS], ["".join(WORDS)]),
    ("OpenAI, OpenRouter: annotations", [said(word) for word in WORDS] + [chunk({"delta": {"annotations": [CITED] * 9}})], ["".join(WORDS)]),
    ("pages beside the choices", [said(word) | {"search_results": [PAGE], "references": {"chunks": [PAGE]}} for word in WORDS], ["".join(WORDS)]),
    ("Mistral: thoughts in parts", [chunk({"delta": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": word}]}]}}) for word in WORDS] + [said("So")], ["So", "".join(WORDS)]),
    ("Mistral: parts of text and references", [chunk({"delta": {"content": [{"type": "text", "text": word}, {"type": "reference", "reference_ids": [1]}]}}) for word in WORDS], ["".join(WORDS)]),
    ("OpenRouter: reasoning and its details", [said(word, "reasoning", content="", reasoning_details=[{"type": "reasoning.text", "text": word, "index": 0}]) for word in WORDS], ["".join(WORDS)]),
    ("OpenRouter: details alone, and what is encrypted", [chunk({"delta": {"reasoning_details": [{"type": "reasoning.summary", "summary": word}, {"type": "reasoning.encrypted", "data": "aGk" * 99}]}}) for word in WORDS], ["".join(WORDS)]),
    ("LiteLLM: the thoughts once more, signed", [said(SENTENCE, "reasoning_content")] * 9 + [chunk({"delta": {"thinking_blocks": [{"type": "thinking", "thinking": SENTENCE * 9, "signature": "c2ln" * 99}]}})], [SENTENCE * 9]),
    ("Bedrock through a gateway: thoughts in an object", [chunk({"delta": {"reasoning_content": {"text": word}}}) for word in WORDS], ["".join(WORDS)]),
    ("Copilot: reasoning_text", [said(word, "reasoning_text", reasoning_opaque="aGk" * 9) for word in WORDS], ["".join(WORDS)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "texts"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS]
)
def test_only_what_the_model_wrote_counts_and_once(events: list[Event], texts: list[str]) -> None:
    for chunks in (stream(events), stream(events, ascii_only=True), [b"".join(stream(events))]):
        meter = read(chunks)
        assert blocks(meter) == sorted(texts)
        assert meter.text_bytes == sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize(
    ("events", "texts"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS]
)
def test_the_running_measure_follows_the_same_rule(events: list[Event], texts: list[str]) -> None:
    """A limit that cuts goes by it: an answer must not be ended because its server repeats
    itself."""
    meter = ChatMeter(stream=True, content_type="text/event-stream")
    whole = sum(len(text.encode()) for text in texts)
    for piece in stream(events):
        meter.feed(piece)
        assert meter.output_measure <= (whole + 200) // 4


def test_what_came_twice_is_flagged_where_it_may_have_been_written_twice() -> None:
    assert read(stream([said(SENTENCE)] * 25 + [said(WHOLE)])).doubtful
    assert not read(stream([said(SENTENCE)] * 50)).doubtful
    assert not read(stream([said(SENTENCE * at) for at in range(1, 26)])).doubtful
    assert not read(stream(RUNNING)).doubtful
    message = chunk({"delta": {}, "message": {"content": WHOLE}, "finish_reason": "stop"})
    assert not read(stream([said(SENTENCE)] * 25 + [message])).doubtful, (
        "deltas are what a client reads"
    )


def test_usage_stands_where_nothing_new_follows_it() -> None:
    """A repeat of the text behind the usage is no text that the usage could not have counted."""
    usage = {"prompt_tokens": 7, "completion_tokens": 225, "total_tokens": 232}
    events = [said(SENTENCE * at) for at in range(1, 26)] + [chunk(usage=usage)]
    assert read(stream([*events, said(WHOLE)])).usage_final
    assert not read(stream([*events, said(WHOLE + "more")])).usage_final


def test_an_answer_without_stream_is_read_by_the_same_rule() -> None:
    message = {
        "role": "assistant",
        "content": "say",
        "reasoning": "think",
        "reasoning_details": [{"type": "reasoning.text", "text": "think"}],
        "annotations": [CITED],
    }
    body = chunk(
        {"message": message, "finish_reason": "stop"}, object="chat.completion", citations=[PAGE]
    )
    meter = ChatMeter(stream=False, content_type="application/json")
    meter.feed(json.dumps(body).encode())
    meter.end()
    assert (meter.text_bytes, meter.finish_reason, meter.unreadable) == (8, "stop", False)


def test_an_answer_of_too_many_choices_keeps_its_usage_and_counts_with_its_bytes() -> None:
    """To read 300,000 choices took a second, in which nobody else was served."""
    usage = b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
    body = (
        b'{"id":"c","model":"m","choices":['
        + b'{"message":{"content":"a"}},' * 3000
        + b"{}],"
        + usage
    )
    meter = ChatMeter(stream=False, content_type="application/json")
    meter.feed(body)
    meter.end()
    assert meter.usage is not None
    assert (
        meter.usage.output_tokens,
        meter.usage_final,
        meter.text_known,
        meter.output_measure,
    ) == (3, True, False, -(-len(body) // 4))
    event = Delivered(None)
    answer = read_answer(body)
    assert answer is not None
    event.take(body, answer)
    assert (event.text_bytes, event.unread_bytes) == (0, len(body))


def test_so_many_choices_that_they_are_not_looked_at_are_an_answer() -> None:
    meter = ChatMeter(stream=False)
    meter.feed(b'{"choices":[' + b"{}," * 30_000 + b"{}]}")
    meter.end()
    assert meter.answered


@given(
    st.lists(st.sampled_from([*WORDS, "", "x" * 40, "The tide came"]), max_size=60),
    st.lists(st.integers(0, 4000), max_size=4),
    st.sampled_from([None, 0, 50]),
    st.booleans(),
)
def test_events_that_come_at_once_are_those_that_come_one_by_one(
    pieces: list[str], cuts: list[int], text_bytes_max: int | None, escaped: bool
) -> None:
    events = [
        b"data: "
        + json.dumps(
            {"id": "c", "choices": [{"index": 0, "delta": {"content": piece}}]},
            ensure_ascii=escaped,
        ).encode()
        + b"\n\n"
        for piece in pieces
    ]
    whole = b"".join(events) + b"data: [DONE]\n\n"
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    ways = (
        [*events, b"data: [DONE]\n\n"],
        [whole],
        [whole[start:end] for start, end in pairwise(places)],
    )
    read = []
    for chunks in ways:
        meter = ChatMeter(stream=True, text_bytes_max=text_bytes_max)
        for chunk in chunks:
            meter.feed(chunk)
        meter.end()
        texts = None if meter.texts is None else (meter.texts.blocks, meter.texts.whole)
        if meter.texts is not None:
            meter.texts.finish()
        read.append(
            (
                meter.text_bytes,
                meter.output_measure,
                meter.done,
                meter.doubtful,
                meter.answered,
                texts,
            )
        )
    assert read[0] == read[1] == read[2]


def test_what_repeats_a_text_under_another_member_is_not_counted_by_its_likeness() -> None:
    """Some gateways send each piece as `delta` and once more as `text`, for old clients."""
    pieces = [f"word {number} " for number in range(24)]
    events = [
        chunk({"index": 0, member: {"content": piece} if member == "delta" else piece})
        for piece in pieces
        for member in ("delta", "text")
    ]
    for first in ([], [chunk({"delta": {"role": "assistant", "content": "So: "}})]):
        beginning = "So: " if first else ""
        written = beginning + "".join(pieces)
        assert read(stream([*first, *events])).text_bytes == len(written)


def test_what_was_learned_of_a_member_ends_when_a_better_one_brings_the_text() -> None:
    texts = [chunk({"index": 0, "text": f"word {number} "}) for number in range(8)]
    delta = chunk({"index": 0, "delta": {"content": "now"}, "finish_reason": "stop"})
    repeats = [chunk({"index": 0, "text": "again"})] * 3
    written = "".join(f"word {number} " for number in range(8)) + "now"
    assert read(stream([*texts, delta, *repeats])).text_bytes == len(written)
