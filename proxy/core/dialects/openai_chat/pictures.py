"""What a chat completion's messages hold inline that is not text: pictures and sounds. Each counts
by a rule of its own.

Whatever is taken out of the text has to be proved, since the client writes the request: it is the
value of `image_url.url` in a part
of the type `image_url`, a data URL of an image, and base64 to its end; or base64 in
`input_audio.data` of a part of the type
`input_audio`. Everything else counts with all of its bytes: base64 anywhere else, files (they may
hold text), and what cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.tokens.images import HEAD_CHARS_MAX, data_url_size

INLINED_MAX: Final = (
    256  # pictures and sounds that are looked at; those behind them count with their bytes
)
_BRACES_MAX: Final = (
    50_000  # of a body that is looked through for them: each takes a moment of the loop's time
)
# Half a character: sent by clients that cut texts inside an emoji, and refused by the decoder.
_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# PHP writes a slash as `\/`, and MIME breaks its lines: so a backslash may stand in it, with what
# is escaped.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-\\"
_MEDIA_TYPE = rb"\\?/[A-Za-z0-9.+-]{1,64}(?:;[A-Za-z0-9=.+-]{1,64}){0,8}?;base64,"
_PICTURE = re.compile(rb'"data:image' + _MEDIA_TYPE, re.IGNORECASE)
_SOUND = re.compile(rb'"(?:data:audio' + _MEDIA_TYPE + rb")?", re.IGNORECASE)


class Picture(msgspec.Struct, frozen=True, gc=False):
    """A picture of the request itself: its size in pixels, None if it cannot be told. `low`: less
    detail is asked for."""

    size: tuple[int, int] | None = None
    low: bool = False


class Inlined(msgspec.Struct, frozen=True, gc=False):
    """What is no text among the bytes of `messages`: `size_bytes` in all, of which `sound_bytes`
    are sounds.

    `spans` are their places in it, [start, end), in order.
    """

    size_bytes: int = 0
    sound_bytes: int = 0
    pictures: tuple[Picture, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


class _Body(msgspec.Struct, gc=False):
    messages: list[msgspec.Raw] = []


class _Message(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    image_url: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()


class _Image(msgspec.Struct, gc=False):
    url: msgspec.Raw = msgspec.Raw()
    detail: object = None


class _Audio(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw()


_body_decoder = msgspec.json.Decoder(_Body)
_messages_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_message_decoder = msgspec.json.Decoder(_Message)
_parts_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_part_decoder = msgspec.json.Decoder(_Part)
_image_decoder = msgspec.json.Decoder(_Image)
_audio_decoder = msgspec.json.Decoder(_Audio)

NOTHING: Final = Inlined()


def inlined(messages: msgspec.Raw | None) -> Inlined:
    """What the JSON of `messages` holds inline."""
    text = b"" if messages is None else bytes(messages)
    if (text.find(b"image_url") < 0 and text.find(b"input_audio") < 0) or text.count(
        b"{"
    ) > _BRACES_MAX:
        return NOTHING
    sound_bytes = end = 0
    pictures: list[Picture] = []
    spans: list[tuple[int, int]] = []
    for number, part in enumerate(_media_parts(text)):
        if number >= INLINED_MAX:
            break
        if part.type == "image_url" and (found := _picture(part.image_url)) is not None:
            pictures.append(found[1])
            encoded = found[0]
        elif part.type == "input_audio":
            encoded = _sound(part.input_audio)
            sound_bytes += len(encoded)
        else:
            continue
        if encoded:
            # A text before it may hold the same letters and be taken for it: as many bytes either
            # way.
            start = text.index(encoded, end)
            end = start + len(encoded)
            spans.append((start, end))
    size_bytes = sum(end - start for start, end in spans)
    return Inlined(size_bytes, sound_bytes, tuple(pictures), tuple(spans))


def count_images(body: bytes) -> int | None:
    """The `image_url` parts of all messages, for prices per image; None if the body cannot be read
    that far.

    What is not as the API describes it counts nothing.
    """
    if body.find(b"image") < 0 and body.find(b"\\u") < 0:
        return 0  # neither spelt out nor in escapes
    try:
        messages = _body_decoder.decode(_HALF.sub(b"\\\\ufffd", body)).messages
    except _ERRORS:
        return None
    return sum(part.type == "image_url" for message in messages for part in _parts(message))


def _media_parts(text: bytes) -> Iterator[_Part]:
    try:
        messages = _messages_decoder.decode(text)
    except _ERRORS:
        return
    for message in messages:
        for part in _parts(message):
            if part.type in ("image_url", "input_audio"):
                yield part


def _parts(message: msgspec.Raw) -> Iterator[_Part]:
    """The parts of a message's content, as far as it can be read. Most often it is a text, and has
    none."""
    try:
        parts = _parts_decoder.decode(_message_decoder.decode(message).content)
    except _ERRORS:
        return
    for part in parts:
        try:
            read = _part_decoder.decode(part)
        except _ERRORS:
            continue
        yield read


def _picture(image: msgspec.Raw) -> tuple[bytes, Picture] | None:
    """Its base64, and what there is to see; None if that is not proved."""
    text = bytes(image)
    low = False
    if text[:1] == b"{":
        try:
            read = _image_decoder.decode(text)
        except _ERRORS:
            return None
        text, low = bytes(read.url), read.detail == "low"
    encoded = _base64(_PICTURE, text)
    if not encoded:
        return None
    head = text[1:HEAD_CHARS_MAX].replace(b"\\/", b"/").rstrip(b'"').decode("latin-1")
    return encoded, Picture(data_url_size(head), low)


def _sound(audio: msgspec.Raw) -> bytes:
    """Its base64; nothing if that is not proved."""
    try:
        text = bytes(_audio_decoder.decode(audio).data)
    except _ERRORS:
        return b""
    return _base64(_SOUND, text)


def _base64(before: re.Pattern[bytes], text: bytes) -> bytes:
    """The base64 that a JSON string holds behind `before`; nothing if anything else is in it."""
    matched = before.match(text)
    if matched is None:
        return b""
    encoded = text[matched.end() : -1]
    return b"" if encoded.translate(None, _BASE64) else encoded
