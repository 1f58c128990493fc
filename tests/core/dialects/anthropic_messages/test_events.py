"""The shapes of events and blocks; what is of no known shape is passed over."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.dialects.anthropic_messages.events import (
    ContentBlock,
    MessageEvent,
    blocks_of,
    holds_message,
    input_of,
    is_error,
    kind_of,
    model_of_fallback,
    piece_of,
    read_block,
    read_delta,
    read_event,
    string,
    tokens_unseen,
)


def event(data: bytes) -> MessageEvent:
    read = read_event(data)
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"type": "ping"}', b"ping"),
        (b'{"message": {"id": "m"}}', b"message_start"),
        (b'{"index": 0, "content_block": {}}', b"content_block_start"),
        (b'{"index": 0, "delta": {}}', b"content_block_delta"),
        (b'{"delta": {"stop_reason": "end_turn"}}', b"message_delta"),
        (b'{"content": [], "stop_reason": null}', b"message"),
        (b'{"message": "Not Found"}', b""),
        (b'{"choices": []}', b""),
        (b"{}", b""),
    ],
)
def test_an_event_without_a_type_is_known_by_its_members(data: bytes, kind: bytes) -> None:
    assert kind_of(event(data)) == kind


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (b'{"type": "text_delta", "text": "a\\u00e9"}', "text", "aé"),
        (b'{"type": "thinking_delta", "thinking": "hm"}', "thinking", "hm"),
        (b'{"type": "input_json_delta", "partial_json": "{\\"a\\""}', "partial_json", '{"a"'),
        (b'{"type": "compaction_delta", "content": "sum"}', "content", "sum"),
        (b'{"type": "signature_delta", "signature": "x"}', "", ""),
        (b'{"type": "citations_delta", "citation": {"cited_text": "x"}}', "", ""),
        (b'{"type": "text_delta", "text": 7}', "text", ""),
        (b"7", "", ""),
    ],
)
def test_what_a_delta_adds(data: bytes, name: str, text: str) -> None:
    found, raw = piece_of(read_delta(msgspec.Raw(data)))
    assert (found, string(raw)) == (name.encode(), text.encode())


@pytest.mark.parametrize(
    ("hint", "thinking", "tokens"),
    [
        (b"64", b"", 64),
        (b"64", b"hm", 0),
        (b"null", b"", 0),
        (b"-1", b"", 0),
        (b"1e9", b"", 0),
        (b"999999999999", b"", 2**20),
    ],
)
def test_hidden_thinking_is_hinted_at(hint: bytes, thinking: bytes, tokens: int) -> None:
    data = b'{"type": "thinking_delta", "thinking": "%b", "estimated_tokens": %b}' % (
        thinking,
        hint,
    )
    assert tokens_unseen(read_delta(msgspec.Raw(data))) == tokens


def test_blocks_in_whatever_form() -> None:
    assert [bytes(block.text) for block in blocks_of(msgspec.Raw(b'"hi"'))] == [b'"hi"']
    assert len(blocks_of(msgspec.Raw(b'[{"type": "text"}, 7, null]'))) == 3
    assert blocks_of(msgspec.Raw(b'{"a": 1}')) == blocks_of(msgspec.Raw()) == []
    assert read_block(msgspec.Raw(b"[]")) == ContentBlock()


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b'{"type": "tool_use", "input": {}}', b""),
        (b'{"type": "tool_use", "input": {"a":1}}', b'{"a": 1}'),
        (b'{"type": "server_tool_use", "input": "raw"}', b"raw"),
        (b'{"type": "web_search_tool_result", "input": {"a":1}}', b""),
    ],
)
def test_the_input_of_a_call(block: bytes, text: bytes) -> None:
    assert input_of(read_block(msgspec.Raw(block))) == text


def test_the_model_that_goes_on() -> None:
    block = b'{"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}'
    assert model_of_fallback(read_block(msgspec.Raw(block))) == "b"
    for other in (b'{"type": "text", "to": {"model": "b"}}', b'{"type": "fallback", "to": 7}'):
        assert model_of_fallback(read_block(msgspec.Raw(other))) is None


def test_errors_and_what_only_has_their_name() -> None:
    for error in (b'{"type": "error"}', b'{"error": {"message": "x"}}', b'{"error": "no"}'):
        assert is_error(event(error))
    for none in (b'{"error": null}', b'{"error": {}}', b'{"type": "ping"}'):
        assert not is_error(event(none))
    assert holds_message(b'{"content": [ {"type') and not holds_message(b'{"content": []')
