"""How many images a chat completion's messages hold, for prices per image. Only where a price asks for it: a body is decoded once more for this."""

from __future__ import annotations

import re

import msgspec

_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")  # of a character: sent by clients that cut texts inside an emoji, and refused by the decoder
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Body(msgspec.Struct, gc=False):
    messages: list[msgspec.Raw] = []


class _Message(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, gc=False):
    type: str = ""


_body_decoder = msgspec.json.Decoder(_Body)
_message_decoder = msgspec.json.Decoder(_Message)
_parts_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_part_decoder = msgspec.json.Decoder(_Part)


def count_images(body: bytes) -> int | None:
    """The `image_url` parts of all messages; None if the body cannot be read that far. What is not as the API describes it counts nothing."""
    if body.find(b"image") < 0 and body.find(b"\\u") < 0:
        return 0    # neither spelt out nor in escapes
    try:
        messages = _body_decoder.decode(_HALF.sub(b"\\\\ufffd", body)).messages
    except _ERRORS:
        return None
    return sum(_images_of(message) for message in messages)


def _images_of(message: msgspec.Raw) -> int:
    found = 0
    try:
        for part in _parts_decoder.decode(_message_decoder.decode(message).content):
            found += _is_image(part)
    except _ERRORS:     # a text, most often
        return found
    return found


def _is_image(part: msgspec.Raw) -> bool:
    try:
        return _part_decoder.decode(part).type == "image_url"
    except _ERRORS:
        return False
