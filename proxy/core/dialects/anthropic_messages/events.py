"""What stands in one event of a stream, or in one message.

It tells who answers, what was written, why it ends, and where the usage is. An event is read into a
few members that stay text until they are looked at. An unknown type is passed over: results of
tools, citations and signatures were not written by the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS, plain
from proxy.core.dialects.openai_chat.media import shown_tokens
from proxy.core.dialects.repair import REPAIRED_BYTES_MAX, repaired

_ABSENT: Final = msgspec.Raw()
_TEXT_CHARS_MAX: Final = 256  # names from upstreams become rows and labels
_BLOCKS_MAX: Final = 10_000  # of a message that is read whole
_NO_ERROR: Final = (b"", b"null", b"false", b'""', b"{}", b"0", b"[]")
_NO_INPUT: Final = (b"", b"null", b"{}", b'""')
_QUOTE: Final = 0x22
_COUNT = re.compile(rb"[0-9]{1,12}")
_TOKENS_UNSEEN_MAX: Final = 2**20  # of one delta: a whole answer is shorter
_CONTENT = re.compile(rb'"content"[ \t\r\n]*+:[ \t\r\n]*+(?:"[^"]|\[[ \t\r\n]*+\{)')


class MessageEvent(msgspec.Struct, gc=False):
    """The top level of an event, or of a message that is a whole answer."""

    type: msgspec.Raw = _ABSENT
    index: msgspec.Raw = _ABSENT
    delta: msgspec.Raw = _ABSENT
    content_block: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    model: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    stop_reason: msgspec.Raw = _ABSENT
    # of Bedrock, in the last event
    metrics: msgspec.Raw = msgspec.field(default=_ABSENT, name="amazon-bedrock-invocationMetrics")


class Delta(msgspec.Struct, gc=False):
    """What an event adds to a block, or to the message."""

    type: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT
    partial_json: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    stop_reason: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    estimated_tokens: msgspec.Raw = _ABSENT


class _Model(msgspec.Struct, gc=False):
    model: msgspec.Raw = _ABSENT


class ContentBlock(msgspec.Struct, gc=False):
    """A block of a message's content."""

    type: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT
    name: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    to: msgspec.Raw = _ABSENT
    source: msgspec.Raw = _ABSENT


_event_decoder = msgspec.json.Decoder(MessageEvent)
_delta_decoder = msgspec.json.Decoder(Delta)
_block_decoder = msgspec.json.Decoder(ContentBlock)
_blocks_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_model_decoder = msgspec.json.Decoder(_Model)


def read_event(data: bytes) -> MessageEvent | None:
    """The top level of this JSON object, repaired if it is not quite JSON; None if it is none."""
    try:
        return _event_decoder.decode(data)
    except JSON_ERRORS:
        pass
    if len(data) > REPAIRED_BYTES_MAX:
        return None
    try:
        return _event_decoder.decode(repaired(data))
    except JSON_ERRORS:
        return None


def kind_of(event: MessageEvent) -> bytes:
    """The type of an event; where none is named, the type that has its members.

    Empty: it is no event of this wire.
    """
    kind = word(event.type)
    if kind:
        return kind
    if event.message is not _ABSENT and bytes(memoryview(event.message)[:1]) == b"{":
        return b"message_start"
    if event.content_block is not _ABSENT:
        return b"content_block_start"
    if event.delta is not _ABSENT:
        return b"message_delta" if event.index is _ABSENT else b"content_block_delta"
    if event.content is not _ABSENT or event.stop_reason is not _ABSENT:
        return b"message"
    return b""


def holds_blocks(event: MessageEvent) -> bool:
    """Whether it is like a message, whatever it says to be."""
    return bytes(memoryview(event.content)[:1]) == b"[" and event.usage is not _ABSENT


def holds_message(data: bytes) -> bool:
    """Whether there is the beginning of some content in what cannot be read as JSON."""
    return _CONTENT.search(data) is not None


def read_delta(raw: msgspec.Raw) -> Delta:
    """An event's `delta`; an empty one where it is none."""
    try:
        return _delta_decoder.decode(raw)
    except JSON_ERRORS:
        return Delta()


def read_block(raw: msgspec.Raw) -> ContentBlock:
    """A block of the content; an empty one where it is none."""
    try:
        return _block_decoder.decode(raw)
    except JSON_ERRORS:
        return ContentBlock()


def blocks_of(content: msgspec.Raw) -> list[ContentBlock]:
    """The blocks of a message. One that is a text alone counts as a block of text."""
    if bytes(memoryview(content)[:1]) == b'"':
        return [ContentBlock(type=msgspec.Raw(b'"text"'), text=content)]
    try:
        blocks = _blocks_decoder.decode(content)
    except JSON_ERRORS:
        return []
    return [read_block(block) for block in blocks[:_BLOCKS_MAX]]


def word(raw: msgspec.Raw) -> bytes:
    """A short string as it stands between its quotes: what types and reasons are made of."""
    text = bytes(raw)
    return text[1:-1] if text[:1] == b'"' else b""


def string(raw: msgspec.Raw) -> bytes:
    """The text of a string, as UTF-8; nothing for anything else."""
    text = bytes(raw)
    return plain(text[1:-1]) if text and text[0] == _QUOTE else b""


def name_of(raw: msgspec.Raw) -> str | None:
    """A string that is not empty, cut to what fits a row; else None."""
    return string(raw).decode("utf-8", "replace")[:_TEXT_CHARS_MAX] or None


def written_at_start(block: ContentBlock) -> Iterator[bytes]:
    """The texts that a block begins with, in a stream: all but the input of a call."""
    yield string(block.text)
    yield string(block.thinking)
    if word(block.type).endswith(b"tool_use"):
        yield string(block.name)
    if word(block.type) == b"compaction":
        yield string(block.content)


def picture_of(block: ContentBlock) -> int:
    """The tokens of a picture that relays of other vendors send as a block; 0 where it is none."""
    return shown_tokens(bytes(block.source)) if word(block.type) == b"image" else 0


def input_of(block: ContentBlock) -> bytes:
    """The input of a call, as the JSON that a model wrote; nothing where there is none (yet)."""
    if not word(block.type).endswith(b"tool_use"):
        return b""
    text = bytes(block.input)
    if text in _NO_INPUT:
        return b""
    if text[0] == _QUOTE:
        return plain(text[1:-1])
    try:
        return msgspec.json.format(text, indent=0)
    except JSON_ERRORS:
        return text


def piece_of(delta: Delta) -> tuple[bytes, msgspec.Raw]:
    """The member of a delta that adds text of any kind or input of a call, and what stands there.

    Without a name: a signature or a citation adds none.
    """
    if delta.text is not _ABSENT:
        return b"text", delta.text
    if delta.partial_json is not _ABSENT:
        return b"partial_json", delta.partial_json
    if delta.thinking is not _ABSENT:
        return b"thinking", delta.thinking
    if delta.content is not _ABSENT and word(delta.type) == b"compaction_delta":
        return b"content", delta.content
    return b"", _ABSENT


def hints_of_unseen(delta: Delta) -> bool:
    """Whether a delta may say how much was thought unseen."""
    return delta.estimated_tokens is not _ABSENT


def tokens_unseen(delta: Delta) -> int:
    """What a delta of hidden thinking says to have come; 0 where its thinking is shown."""
    if not hints_of_unseen(delta) or string(delta.thinking):
        return 0
    count = bytes(delta.estimated_tokens)
    return min(int(count), _TOKENS_UNSEEN_MAX) if _COUNT.fullmatch(count) else 0


def model_of_fallback(block: ContentBlock) -> str | None:
    """The model that goes on behind a block of the type `fallback`."""
    if word(block.type) != b"fallback":
        return None
    try:
        return name_of(_model_decoder.decode(block.to).model)
    except JSON_ERRORS:
        return None


def is_error(event: MessageEvent) -> bool:
    """Whether an event or an answer says that something went wrong."""
    return word(event.type) == b"error" or bytes(event.error).strip() not in _NO_ERROR
