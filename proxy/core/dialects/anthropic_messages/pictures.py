"""Pictures that a request holds inline. Each counts by a rule of its own, not by its bytes.

What is taken out of the text has to be proved, since the client writes the request: it is the
`data` of a `source` of the type `base64`, in a block of the type `image`, and its first bytes are
those of a picture. Everything else counts with all of its bytes: documents may hold text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.tokens.images import HEAD_CHARS_MAX, Picture, data_url_size

INLINED_MAX: Final = 256  # pictures that are looked at; those behind them count with their bytes
_BRACES_MAX: Final = 50_000  # of a body that is looked through: each takes a moment
_DEPTH_MAX: Final = 4  # of blocks in blocks: results of tools hold some
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-\\"
_MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")
_WEBP = (b"RIFF", b"WEBP")


class InlinedPictures(msgspec.Struct, frozen=True, gc=False):
    """The bytes of a body that are no text: `size_bytes` in all, at `spans`, in order."""

    size_bytes: int = 0
    pictures: tuple[Picture, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


class _WithContent(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()


class _BlockWithSource(msgspec.Struct, gc=False):
    type: str = ""
    source: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()


class _Source(msgspec.Struct, gc=False):
    type: str = ""
    media_type: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _WithMessages(msgspec.Struct, gc=False):
    messages: msgspec.Raw = msgspec.Raw()


NOTHING: Final = InlinedPictures()
_body_decoder = msgspec.json.Decoder(_WithMessages)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_message_decoder = msgspec.json.Decoder(_WithContent)
_block_decoder = msgspec.json.Decoder(_BlockWithSource)
_source_decoder = msgspec.json.Decoder(_Source)


def inlined(
    body: bytes, values: Mapping[str, msgspec.Raw], spans: Mapping[str, tuple[int, int]]
) -> InlinedPictures:
    """What this body holds inline, whose `messages` stand at their span."""
    messages = values.get("messages")
    if messages is None or body.find(b"base64") < 0 or body.count(b"{") > _BRACES_MAX:
        return NOTHING
    end = spans["messages"][0]
    pictures: list[Picture] = []
    found: list[tuple[int, int]] = []
    for number, source in enumerate(_sources(messages)):
        if number >= INLINED_MAX:
            break
        picture = _picture(source)
        if picture is None:
            continue
        encoded = bytes(source.data)[1:-1]
        # A text before it may hold the same letters and be taken for it: as many bytes either way.
        start = body.find(encoded, end)
        if start < 0:
            continue
        end = start + len(encoded)
        pictures.append(picture)
        found.append((start, end))
    return InlinedPictures(sum(end - start for start, end in found), tuple(pictures), tuple(found))


def count_images(body: bytes) -> int | None:
    """The number of `image` blocks in all messages, for prices per image.

    None if the body cannot be read that far.
    """
    if body.find(b"image") < 0 and body.find(b"\\u") < 0:
        return 0  # neither spelt out nor in escapes
    try:
        messages = _body_decoder.decode(body).messages
    except JSON_ERRORS:
        return None
    return sum(block.type == "image" for block in _blocks_of(messages))


def _sources(messages: msgspec.Raw) -> Iterator[_Source]:
    for block in _blocks_of(messages):
        if block.type == "image":
            try:
                yield _source_decoder.decode(block.source)
            except JSON_ERRORS:
                continue


def _blocks_of(messages: msgspec.Raw) -> Iterator[_BlockWithSource]:
    try:
        read = _list_decoder.decode(messages)
    except JSON_ERRORS:
        return
    for message in read:
        try:
            content = _message_decoder.decode(message).content
        except JSON_ERRORS:
            continue
        yield from _blocks(content, _DEPTH_MAX)


def _blocks(content: msgspec.Raw, depth: int) -> Iterator[_BlockWithSource]:
    """The blocks of a content and of the results in it. Most often it is a text, and has none."""
    if not depth or bytes(memoryview(content)[:1]) != b"[":
        return
    try:
        blocks = _list_decoder.decode(content)
    except JSON_ERRORS:
        return
    for block in blocks:
        try:
            read = _block_decoder.decode(block)
        except JSON_ERRORS:
            continue
        yield read
        yield from _blocks(read.content, depth - 1)


def _picture(source: _Source) -> Picture | None:
    """What there is to see; None if it is not proved to be a picture."""
    text = bytes(source.data)
    encoded = text[1:-1]
    if source.type != "base64" or text[:1] != b'"' or encoded.translate(None, _BASE64):
        return None
    head = encoded[:HEAD_CHARS_MAX].replace(b"\\/", b"/")
    try:
        start = base64.b64decode(head[:16], b"-_" if b"-" in head or b"_" in head else None)
    except binascii.Error:
        return None
    if not start.startswith(_MAGIC) and not (
        start.startswith(_WEBP[0]) and start[8:12] == _WEBP[1]
    ):
        return None
    return Picture(data_url_size(f"data:{source.media_type};base64,{head.decode('latin-1')}"))
