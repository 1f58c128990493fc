"""Splicing and stripping: one member in, one event out, every other byte as it was."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.names import squeezed
from proxy.core.dialects.openai_chat import injection
from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.injection import UsageEventFilter, is_usage_event, splice
from proxy.core.steering import steering_field
from tests.support.effort import examples

CHAT = "/v1/chat/completions"
READ = frozenset(
    "model stream stream_options n max_tokens max_completion_tokens service_tier user metadata extra_body".split()
)

SPLICED = [
    (
        b'{"model":"m","stream":true}',
        b'{"stream_options":{"include_usage":true},"model":"m","stream":true}',
    ),
    (
        b' { "model" : "m", "stream" : true } ',
        b' {"stream_options":{"include_usage":true}, "model" : "m", "stream" : true } ',
    ),
    (
        b'{"model":"m","stream":true,"stream_options":null}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    ),
    (
        b'{"model":"m","stream":true,"stream_options":{}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    ),
    (
        b'{"model":"m","stream":true,"stream_options": { "a" : 1 }}',
        b'{"model":"m","stream":true,"stream_options": {"include_usage":true, "a" : 1 }}',
    ),
    (
        b'{"model":"m","stream_options":{"include_usage": false, "a":1},"stream":true}',
        b'{"model":"m","stream_options":{"include_usage": true, "a":1},"stream":true}',
    ),
    (
        b'{"model":"m","stream":true,"stream_options":{"include_usage":null}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    ),
    (b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', None),
    (b'{"model":"m","stream":false}', None),
    (b'{"model":"m","stream":null}', None),
    (b'{"model":"m"}', None),
    (b'{"model":"m","stream":true,"stream_options":"yes"}', None),
    (b'{"model":"m","stream":true,"stream_options":{"include_usage":1}}', None),
    (b'{"model":"m","stream":true,"stream_options":{"include_usage":"true"}}', None),
]


@pytest.mark.parametrize(("body", "expected"), SPLICED)
def test_what_is_spliced_into_a_request(body: bytes, expected: bytes | None) -> None:
    assert splice(body, read_call(CHAT, body)) == expected


def test_embeddings_are_never_spliced() -> None:
    body = b'{"model":"m","stream":true}'
    assert splice(body, read_call("/v1/embeddings", body)) is None


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=4,
        ),
        max_size=5,
    )
)
@settings(max_examples=examples(200))
def test_a_spliced_body_says_what_it_said_and_asks_for_usage(extra: dict[str, object]) -> None:
    fields = {
        name: value
        for name, value in extra.items()
        if squeezed(name) not in map(squeezed, READ) and not steering_field(name)
    }
    said = {**fields, "model": "m", "stream": True}
    body = json.dumps(said).encode()
    spliced = splice(body, read_call(CHAT, body))
    assert spliced is not None
    assert json.loads(spliced) == {**said, "stream_options": {"include_usage": True}}


USAGE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
IS_USAGE = [
    (USAGE, True),
    (b'data:{"choices":null,"usage":{"prompt_tokens":1}}\r\n\r\n', True),
    (b'\xef\xbb\xbfdata: {"choices":[ ],\ndata: "usage":{"prompt_tokens":1}}\n\n', True),
    (b'data: {"choices":[],"usage":{"prompt_tokens":1},"timings":{"prompt_n":1}}\n\n', True),
    (b'data: {"choices":[],"usage":null}\n\n', False),
    (b'data: {"usage":{"prompt_tokens":1}}\n\n', True),  # no `choices` at all (ROCm's ATOM)
    (
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
        True,
    ),  # a choice that says nothing
    (
        b'data: {"choices":[{"index":0,"delta":{"role":null,"content":null,"tool_calls":[]},"finish_reason":null,"logprobs":null}],"usage":{"prompt_tokens":1}}\n\n',
        True,
    ),
    (
        b'data: {"choices":[{"index":0,"text":"","finish_reason":null},{"index":1,"text":""}],"usage":{"prompt_tokens":1}}\n\n',
        True,
    ),
    (
        b'data: {"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":1}}],"usage":{"prompt_tokens":1}}\n\n',
        True,
    ),
    (
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"prompt_filter_results":[],"cost":0.1,"citations":["x"],"new":{"a":1},"x_groq":{"id":"y"}}\n\n',
        True,
    ),
    (
        b'data: {"code":0,"message":"Success","sid":"x","choices":[],"usage":{"prompt_tokens":1}}\n\n',
        True,
    ),
    (b'data: {"choices":[],"usage":{"prompt_tokens":1,"cost":NaN}}\n\n', True),
    (b'data: {"choices":[],"error":null,"usage":{"prompt_tokens":1}}\n\n', True),
    (b'event: usage\nid: 7\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', True),
    (b'data: data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', True),
    (b'{"choices":[],"usage":{"prompt_tokens":1}}\n', True),  # JSON lines
    (
        b'data: {"choices":[],"error":{"code":0,"message":"","type":""},"message":"Success","usage":{"prompt_tokens":1}}\n\n',
        True,
    ),
    # What holds a part of the answer stays, with its usage.
    (b'data: {"choices":[],"content":"ok","usage":{"prompt_tokens":1}}\n\n', False),
    (b'data: {"choices":[],"delta":{"content":"0"},"usage":{"prompt_tokens":1}}\n\n', False),
    (b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}\n\n', False),
    (
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n',
        False,
    ),
    (
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":1}}\n\n',
        False,
    ),
    (
        b'data: {"choices":[{"delta":{"reasoning_content":"a"}}],"usage":{"prompt_tokens":1}}\n\n',
        False,
    ),
    (
        b'data: {"choices":[{"delta":{}},{"delta":{"tool_calls":[{"index":0}]}}],"usage":{"prompt_tokens":1}}\n\n',
        False,
    ),
    (
        b'data: {"choices":[{"delta":{},"content_filter_results":{"hate":{"filtered":true}}}],"usage":{"prompt_tokens":1}}\n\n',
        False,
    ),
    (
        b'data: {"choices":[],"error":{"message":"overloaded"},"usage":{"prompt_tokens":1}}\n\n',
        False,
    ),
    (b'data: {"code":"Throttling","message":"Requests rate limit exceeded","usage":{}}\n\n', False),
    (b'data: {"choices":[],"usage":[]}\n\n', False),
    (b'data: {"choices":[],"x":{"usage":{"prompt_tokens":1}}}\n\n', False),
    (
        b'data: {"choices":[],"usage":{"a":1}}\ndata: {"choices":[{"delta":{"content":"a"}}]}\n\n',
        False,
    ),  # two events, told apart by the filter
    (b'data: {"choices":[],"error":{"message":"\\"usage\\""}}\n\n', False),
    (b'data: {"choices":[{"delta":{"content":"\\"usage\\""}}]}\n\n', False),
    (b'data: not json "usage"\n\n', False),
    (b"data: [DONE]\n\n", False),
]


@pytest.mark.parametrize(("event", "expected"), IS_USAGE)
def test_which_event_is_taken_out(event: bytes, expected: bool) -> None:
    assert is_usage_event(event) is expected


def ends(text: bytes, end: bytes) -> bytes:
    return text.replace(b"\n", end)


BEFORE = b': comment\n\ndata: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
AFTER = b"data: [DONE]\n\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_every_split_gives_the_same_bytes(end: bytes, bom: bytes) -> None:
    stream, expected = bom + ends(BEFORE + USAGE + AFTER, end), bom + ends(BEFORE + AFTER, end)
    for at in range(len(stream) + 1):
        chosen = UsageEventFilter(1 << 20)
        assert chosen.feed(stream[:at]) + chosen.feed(stream[at:]) + chosen.end() == expected
    chosen = UsageEventFilter(1 << 20)
    assert (
        b"".join(chosen.feed(stream[at : at + 1]) for at in range(len(stream))) + chosen.end()
        == expected
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("name", [b"data: ", b""])
def test_events_that_end_with_one_line_end_are_told_apart(end: bytes, name: bytes) -> None:
    text, usage = (
        b'{"choices":[{"delta":{"content":"a"}}],"usage":null}',
        b'{"choices":[],"usage":{"prompt_tokens":1}}',
    )
    lines = [name + each + end for each in (text, text, usage)] + [b"data: [DONE]" + end]
    stream, expected = b"".join(lines), b"".join([*lines[:2], lines[3]])
    for at in range(len(stream) + 1):
        chosen = UsageEventFilter(1 << 20)
        first = chosen.feed(stream[:at])
        assert first + chosen.feed(stream[at:]) + chosen.end() == expected
        assert len(first) >= len(lines[0]) or at < len(lines[0]) + 20, (
            "an event is held back until the next one begins, and no longer"
        )


def test_whole_events_are_never_held_back() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        chosen = UsageEventFilter(1 << 20)
        assert chosen.feed(ends(BEFORE, end)) == ends(BEFORE, end)
        assert chosen.feed(ends(USAGE, end)) == b""
        assert chosen.feed(ends(AFTER, end)) == ends(AFTER, end)


def test_an_event_beyond_the_bound_passes_unread() -> None:
    chosen = UsageEventFilter(100)
    long = b'data: {"choices":[],"usage":{"x":"' + b"y" * 500
    assert len(chosen.feed(long)) >= len(long) - injection._END_BYTES_MAX
    assert chosen.feed(b'"}}\n\n' + USAGE.replace(b"created", b"c") * 0 + AFTER).endswith(AFTER)


def test_an_event_beyond_the_bound_passes_in_any_pieces() -> None:
    """Whole in one chunk too: the meter has not read it, so what it states would be nowhere."""
    stream = BEFORE + USAGE + AFTER
    for bound, expected in ((len(USAGE) - 1, stream), (len(USAGE), BEFORE + AFTER)):
        for at in range(len(stream) + 1):
            chosen = UsageEventFilter(bound)
            assert chosen.feed(stream[:at]) + chosen.feed(stream[at:]) + chosen.end() == expected


def test_a_long_event_in_small_pieces_is_searched_and_copied_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted, not timed: with pieces of a byte, whatever is done again with all that is held
    becomes the square of it."""
    looked_at = 0

    class Counting(bytes):
        def __radd__(self, held: bytes) -> bytes:
            nonlocal looked_at
            if isinstance(held, bytearray):
                return NotImplemented  # which grows in place
            looked_at += len(held)
            return held + bytes(self)

    class Search:
        def search(self, held: bytes, start: int) -> re.Match[bytes] | None:
            nonlocal looked_at
            looked_at += len(held) - start
            return event_end.search(held, start)

    event_end = injection._EVENT_END
    monkeypatch.setattr(injection, "_EVENT_END", Search())
    event = b'data: {"choices":[],"x":"' + b"x" * 5000 + b'"}\n\n'
    chosen = UsageEventFilter(1 << 20)
    assert b"".join(chosen.feed(Counting(event[at : at + 1])) for at in range(len(event))) == event
    assert looked_at <= 25 * len(event)


@given(
    st.lists(
        st.binary(max_size=12) | st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", USAGE, BEFORE]),
        max_size=12,
    )
)
@settings(max_examples=examples(300))
def test_any_bytes_pass_whole_in_any_chunks_but_for_usage_events(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    whole, pieces = UsageEventFilter(1 << 20), UsageEventFilter(1 << 20)
    expected = whole.feed(stream) + whole.end()
    assert b"".join(pieces.feed(part) for part in parts) + pieces.end() == expected
    if b'"usage"' not in stream:
        assert expected == stream
