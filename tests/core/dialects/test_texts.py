"""The text of an answer arrives at the count whole, each text for itself, however its events are
cut and shaped."""

from __future__ import annotations

import json
import tracemalloc
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.texts import Texts
from proxy.core.tokens.text import CALL_CHARS_MAX, EXACT_CHARS_MAX
from tests.support.corpora import SENTENCES, count
from tests.support.effort import examples

FIXED = settings(max_examples=examples(200))
PIECE = st.text(max_size=8) | st.sampled_from(
    ["\n\n", '"', "\\", "好", "😀", " the", "é", "\u2028", '","content":"']
)


def event(index: int, name: str, piece: str, *, ascii_only: bool = True) -> bytes:
    choice = {"index": index, "delta": {name: piece}, "finish_reason": None}
    return (
        b"data: "
        + json.dumps(
            {"id": "x", "model": "m", "choices": [choice]}, ensure_ascii=ascii_only
        ).encode()
        + b"\n\n"
    )


def counted(meter: ChatMeter) -> list[str]:
    """The blocks of an answer that is over."""
    meter.end()
    assert meter.texts is not None
    meter.texts.finish()
    return meter.texts.blocks


@FIXED
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from(["content", "reasoning_content", "refusal"]), PIECE
        ),
        max_size=60,
    ),
    st.booleans(),
    st.integers(1, 97),
)
def test_each_text_comes_out_whole(
    pieces: list[tuple[int, str, str]], ascii_only: bool, step: int
) -> None:
    expected: dict[tuple[int, str], str] = defaultdict(str)
    for index, name, piece in pieces:
        expected[index, name] += piece
    body = b"".join(event(*piece, ascii_only=ascii_only) for piece in pieces) + b"data: [DONE]\n\n"
    for cut in (step, len(body)):
        meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
        for start in range(0, len(body), cut):
            meter.feed(body[start : start + cut])
        assert sorted(counted(meter)) == sorted(text for text in expected.values() if text)
        assert meter.text_known
    chunks = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
    for piece in pieces:
        chunks.feed(event(*piece, ascii_only=ascii_only))
    assert sorted(counted(chunks)) == sorted(text for text in expected.values() if text)


def test_the_parts_of_a_character_in_two_events_become_one() -> None:
    texts = Texts(None)
    for piece in (b"a\xf0\x9f", b"\x98\x80b"):
        texts.add("k", piece)
    texts.finish()
    assert texts.blocks == ["a😀b"]


def test_tool_calls_are_texts_of_their_own() -> None:
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
    for index, piece in ((0, '{"a":'), (1, '{"b":'), (0, "1}"), (1, "2}")):
        call = {"index": index, "function": {"arguments": piece}}
        meter.feed(
            b"data: "
            + json.dumps(
                {
                    "id": "x",
                    "model": "m",
                    "choices": [{"index": 0, "delta": {"tool_calls": [call]}}],
                }
            ).encode()
            + b"\n\n"
        )
    assert sorted(counted(meter)) == ['{"a":1}', '{"b":2}']


def test_thoughts_under_two_names_are_one_text() -> None:
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
    for piece in ("th", "ink"):
        delta = {"reasoning": piece, "reasoning_content": piece, "content": "x"}
        meter.feed(
            b"data: "
            + json.dumps(
                {"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta}]}
            ).encode()
            + b"\n\n"
        )
    assert sorted(counted(meter)) == ["think", "xx"]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_long_answer_counts_in_blocks_as_it_does_in_one(sentence: str) -> None:
    text = sentence * (3 * CALL_CHARS_MAX // len(sentence))
    texts = Texts(None)
    for start in range(0, len(text), 7):
        texts.add("k", text[start : start + 7].encode())
    ready = len(texts.blocks)
    texts.finish()
    assert ready >= 2, "a long text is handed out while it grows"
    assert max(map(len, texts.blocks)) <= CALL_CHARS_MAX
    for block in texts.blocks:
        texts.counting.counted(block, count("o200k_base", block))
    assert texts.counting.exact
    assert texts.tokens(len(text.encode())) == count("o200k_base", text)


def test_a_beginning_stands_for_the_rest() -> None:
    texts = Texts(400)
    for _ in range(1000):
        texts.add("k", b"word ")
    texts.finish()
    assert not texts.whole
    [block] = texts.blocks
    assert len(block) == 400
    texts.counting.counted(block, 80)
    assert texts.tokens(5000) == 1000


@pytest.mark.parametrize("size", [1, 64, 60_000])
def test_what_is_held_is_bounded(size: int) -> None:
    texts = Texts(None)
    held = 0
    for number in range(4 * EXACT_CHARS_MAX // size if size > 1 else 100_000):
        texts.add(number % 3, b"x" * size)
        texts.blocks.clear()
        held = max(held, texts.counting.pending_chars + texts._run_bytes)
    assert held <= 4 * CALL_CHARS_MAX + 1024 + size


def test_a_beginning_ends_with_a_whole_character() -> None:
    texts = Texts(7)
    for piece in ("ab😀".encode(), "éé".encode(), b"c"):
        texts.add("k", piece)
    texts.finish()
    assert texts.blocks == ["ab😀"]
    assert not texts.whole


def test_little_of_large_events_is_kept_once_they_were_read() -> None:
    """A client that does not read keeps its meter alive: what that holds, each such client
    costs."""
    sizes = (60_000, 50_000, 40_000)
    events = [event(0, "content", letter * size) for letter, size in zip("abc", sizes, strict=True)]
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=4096)
    tracemalloc.start()
    try:
        for chunk in events:
            meter.feed(chunk)
        kept_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert meter.text_bytes == sum(sizes)
    assert kept_bytes < 16 * 1024


def test_a_json_answer_is_gathered_only_if_its_usage_is_missing_or_learned_from() -> None:
    body = {
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": f"text {i}"}} for i in range(2)
        ]
    }
    for usage, wanted, blocks in (
        (None, 0, ["text 0", "text 1"]),
        ({"prompt_tokens": 1, "completion_tokens": 2}, 0, None),
        ({"prompt_tokens": 1}, 9, ["text 0", "text 1"]),
    ):
        meter = ChatMeter(stream=False, content_type="application/json", text_bytes_max=wanted)
        meter.feed(json.dumps({**body, "usage": usage}).encode())
        meter.end()
        assert meter.text_known
        if blocks is None:
            assert meter.texts is None
        else:
            assert counted(meter) == blocks


@pytest.mark.parametrize(
    ("chunks", "options"),
    [
        ([b"data: {not json}\n\n"], {}),
        (
            [b'{"choices":[{"message":{"content":"' + b"x" * 200 + b'"}}]}'],
            {"answer_bytes_max": 100},
        ),
        ([event(0, "content", "x" * 200)], {"event_bytes_max": 100}),
        ([b"\x00\x01"], {"content_encoding": "compress"}),
    ],
)
def test_text_that_could_not_be_read_is_known_to_be_missing(
    chunks: list[bytes], options: dict[str, object]
) -> None:
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None, **options)  # type: ignore[arg-type]
    for chunk in chunks:
        meter.feed(chunk)
    meter.end()
    assert not meter.text_known


@pytest.mark.parametrize("indexed", [True, False])
def test_an_event_of_very_many_choices_is_gathered_in_few_texts(indexed: bool) -> None:
    """Batches of prompts have as many; each text is looked up by its key, and held apart while it
    waits."""
    choices = [
        {"index": number, "delta": {"content": "ab"}} if indexed else {"delta": {"content": "ab"}}
        for number in range(2_000)
    ]
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
    meter.feed(
        b"data: " + json.dumps({"id": "x", "model": "m", "choices": choices}).encode() + b"\n\n"
    )
    blocks = counted(meter)
    assert len("".join(blocks)) == meter.text_bytes == 4_000
    assert len(blocks) <= 520


@pytest.mark.parametrize("choices", [2, 3, 128])
def test_as_many_choices_as_vendors_allow_stay_apart_in_one_event(choices: int) -> None:
    meter = ChatMeter(stream=True, content_type="text/event-stream", text_bytes_max=None)
    for piece in ("one", " two"):
        event_choices = [
            {"index": number, "delta": {"content": f"{piece} {number}"}}
            for number in range(choices)
        ]
        meter.feed(
            b"data: "
            + json.dumps({"id": "x", "model": "m", "choices": event_choices}).encode()
            + b"\n\n"
        )
    assert sorted(counted(meter)) == sorted(
        f"one {number} two {number}" for number in range(choices)
    )


@given(
    st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=60), max_size=6),
    st.sampled_from([None, 0, 100, 3000]),
)
def test_several_pieces_at_once_are_the_same_pieces(
    groups: list[list[bytes]], bytes_max: int | None
) -> None:
    one, other = Texts(bytes_max), Texts(bytes_max)
    for number, pieces in enumerate(groups):
        key = number // 2
        one.add_all(key, pieces, sum(map(len, pieces)))
        for piece in pieces:
            other.add(key, piece)
    one.finish()
    other.finish()
    assert (one.blocks, one.whole) == (other.blocks, other.whole)
