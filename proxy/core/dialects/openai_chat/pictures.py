"""Finds what a chat's messages hold inline that is no text: pictures and sounds.

Each counts by a rule of its own.

Whatever is taken out of the text has to be proved, since the client writes the request. It is the
value of `image_url.url` in a part of the type `image_url`: a data URL of an image, base64 to its
end, that begins like a picture. Or it is base64 in `input_audio.data` of a part of the type
`input_audio`, and begins like a sound. All else counts with all of its bytes: base64 anywhere else,
files (they may hold text), and what cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.lists import bounded, entries
from proxy.core.dialects.scan import count, holds, repair_surrogates
from proxy.core.tokens.images import HEAD_CHARS_MAX, Picture, data_url_size
from proxy.core.tokens.magic import is_picture, is_sound

CHAT_PICTURE: Final = "image_url"
# Pictures and sounds that are looked at; those behind them count with their bytes.
INLINED_MAX: Final = 256
# Braces of a body that is looked through for them: each takes a moment of the loop's time.
_BRACES_MAX: Final = 50_000
# Messages of a body, and parts of a message: a list of millions of nothing takes half a minute.
_ENTRIES_MAX: Final = 4096
_PARTS_MAX: Final = 20_000  # of all messages together
_LIST_BYTES: Final = 8 * 1024  # a list up to this size has few enough entries
_STEP_BYTES: Final = 2**20  # looked through at a time: one call holds the interpreter's lock
_PLACE_BYTES: Final = 256  # by which a picture's place is found
_PLACE_TRIES_MAX: Final = 16
# PHP writes a slash as `\/`, and MIME breaks its lines: so a backslash may stand in it, with what
# is escaped.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-\\"
_MEDIA_TYPE = rb"\\?/[A-Za-z0-9.+-]{1,64}(?:;[A-Za-z0-9=.+-]{1,64}){0,8}?;base64,"
_PICTURE = re.compile(rb'"data:image' + _MEDIA_TYPE, re.IGNORECASE)
_SOUND = re.compile(rb'"(?:data:audio' + _MEDIA_TYPE + rb")?", re.IGNORECASE)


class Inlined(msgspec.Struct, frozen=True, gc=False):
    """The bytes of `messages` that are no text.

    `size_bytes` in all, of which `sound_bytes` are sounds. `spans` are their places in it, [start,
    end), in order.
    """

    size_bytes: int = 0
    sound_bytes: int = 0
    pictures: tuple[Picture, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


class _TooMany(ValueError):
    """There are more messages or parts than are looked through."""


class _Body(msgspec.Struct, gc=False):
    messages: msgspec.Raw = msgspec.Raw(b"[]")
    input: msgspec.Raw = msgspec.Raw(b"[]")


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
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_bounded_decoder = bounded(_ENTRIES_MAX)
_message_decoder = msgspec.json.Decoder(_Message)
_part_decoder = msgspec.json.Decoder(_Part)
_image_decoder = msgspec.json.Decoder(_Image)
_audio_decoder = msgspec.json.Decoder(_Audio)

NOTHING: Final = Inlined()


def inlined(messages: msgspec.Raw | None, kind: str = CHAT_PICTURE) -> Inlined:
    """What the JSON of `messages` holds inline. `kind`: the type of a part that is a picture."""
    text = b"" if messages is None else bytes(messages)
    if (
        not (holds(text, b"image_url") or holds(text, b"input_audio"))
        or count(text, b"{") > _BRACES_MAX
    ):
        return NOTHING
    try:
        parts = _media_parts(msgspec.Raw(text), kind)
        return _inlined(text, list(islice(parts, INLINED_MAX)), kind)
    except (_TooMany, *JSON_ERRORS):
        return NOTHING


def _inlined(text: bytes, parts: list[_Part], kind: str) -> Inlined:
    sound_bytes = end = 0
    pictures: list[Picture] = []
    spans: list[tuple[int, int]] = []
    for part in parts:
        if part.type == kind and (found := _picture(part.image_url)) is not None:
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
            start = _place(text, encoded, end)
            end = start + len(encoded)
            spans.append((start, end))
    size_bytes = sum(end - start for start, end in spans)
    return Inlined(size_bytes, sound_bytes, tuple(pictures), tuple(spans))


def count_images(body: bytes) -> int | None:
    """The number of `image_url` parts in all messages, for prices per image.

    None if the body cannot be read that far.
    """
    return count_pictures(body, member="messages", kind=CHAT_PICTURE)


def count_pictures(body: bytes, *, member: str, kind: str) -> int | None:
    """The number of parts of this kind in all messages, which stand in this member.

    None if the body cannot be read that far.

    What is not as the API describes it counts nothing. Of more messages or parts than are looked
    through, whatever may be such a part counts as one.
    """
    if not (holds(body, b"image") or holds(body, b"\\u")):
        return 0  # neither spelt out nor in escapes
    try:
        messages = getattr(_read(body), member)
        return sum(part.type == kind for part in _all_parts(messages))
    except _TooMany:
        return min(count(body, b"{"), count(body, kind.encode()) + count(body, b"\\u00"))
    except JSON_ERRORS:
        return None


def _read(body: bytes) -> _Body:
    try:
        return _body_decoder.decode(body)
    except JSON_ERRORS:
        # Half a character, sent by clients that cut texts inside an emoji.
        repaired = repair_surrogates(body)
        if repaired is None:
            raise
        return _body_decoder.decode(repaired)


def _media_parts(messages: msgspec.Raw, kind: str) -> Iterator[_Part]:
    return (part for part in _all_parts(messages) if part.type in (kind, "input_audio"))


def _all_parts(messages: msgspec.Raw) -> Iterator[_Part]:
    """The parts of all messages, as far as each can be read.

    Raises _TooMany, or one of JSON_ERRORS for messages that are no list.
    """
    left = _PARTS_MAX
    for message in _entries(messages):
        try:
            # Most often it is a text, and has none.
            parts = _entries(_message_decoder.decode(message).content)
        except JSON_ERRORS:
            continue
        left -= len(parts)
        if left < 0:
            raise _TooMany
        for part in parts:
            try:
                read = _part_decoder.decode(part)
            except JSON_ERRORS:
                continue
            yield read


def _entries(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The entries of a list. Raises _TooMany, or one of JSON_ERRORS for anything but a list."""
    if memoryview(raw).nbytes <= _LIST_BYTES:
        return _list_decoder.decode(raw)
    if bytes(memoryview(raw)[:1]) != b"[":
        raise msgspec.ValidationError
    try:
        return entries(_bounded_decoder.decode(raw))
    except msgspec.ValidationError:
        raise _TooMany from None


def _place(text: bytes, encoded: bytes, start: int) -> int:
    """Where it stands behind `start`.

    Its beginning mostly stands there only once; looking for all of a large one takes ten times as
    long.
    """
    for _ in range(_PLACE_TRIES_MAX):
        start = text.index(encoded[:_PLACE_BYTES], start)
        if text.startswith(encoded, start):
            return start
        start += 1
    return text.index(encoded, start)


def _picture(image: msgspec.Raw) -> tuple[bytes, Picture] | None:
    """Its base64, and what there is to see; None if that is not proved."""
    text = bytes(image)
    low = False
    if text[:1] == b"{":
        try:
            read = _image_decoder.decode(text)
        except JSON_ERRORS:
            return None
        text, low = bytes(read.url), read.detail == "low"
    encoded = _base64(_PICTURE, text)
    if not encoded or not is_picture(_beginning(encoded)):
        return None
    head = text[1:HEAD_CHARS_MAX].replace(b"\\/", b"/").rstrip(b'"').decode("latin-1")
    return encoded, Picture(data_url_size(head), low)


def _sound(audio: msgspec.Raw) -> bytes:
    """Its base64; nothing if that is not proved."""
    try:
        text = bytes(_audio_decoder.decode(audio).data)
    except JSON_ERRORS:
        return b""
    encoded = _base64(_SOUND, text)
    return encoded if is_sound(_beginning(encoded)) else b""


def _beginning(encoded: bytes) -> str:
    return encoded[:_PLACE_BYTES].replace(b"\\/", b"/").decode("latin-1")


def _base64(before: re.Pattern[bytes], text: bytes) -> bytes:
    """The base64 that a JSON string holds behind `before`; nothing if anything else is in it."""
    matched = before.match(text)
    if matched is None:
        return b""
    encoded = text[matched.end() : -1]
    steps = range(0, len(encoded), _STEP_BYTES)
    if any(encoded[at : at + _STEP_BYTES].translate(None, _BASE64) for at in steps):
        return b""
    return encoded
