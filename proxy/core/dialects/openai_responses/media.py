"""Sounds and pictures in a response: how many tokens a vendor that states none may bill for them.

As of a chat (`openai_chat/media.py`), all is on the high side. Each comes several times: in pieces,
in its item, and in the response of the last event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.lists import ListDecoder, TooMuch
from proxy.core.dialects.openai_chat.media import (
    PCM_BYTES_PER_TOKEN,
    PICTURE_TOKENS,
    picture_tokens,
    shown_tokens,
)
from proxy.core.dialects.openai_responses.items import Item

_PICTURE_CALL: Final = b'"image_generation_call"'
_SOUNDS: Final = (b'audio.delta"', b'audio_delta"')
_PICTURES: Final = b"partial_image"
_ITEMS_MAX: Final = 4096  # that are told apart; those behind them count as one


class _SoundPart(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw()


_PARTS: Final = ListDecoder(_SoundPart)


class DeliveredMedia:
    """Counts the media of one response. What takes any says how many tokens are new."""

    __slots__ = ("_sounds", "_tokens", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self._tokens: dict[int, int] = {}  # of each item, by its number
        self._sounds: dict[int, int] = {}  # bytes of what came in pieces

    @staticmethod
    def brings(name: bytes) -> bool:
        """Whether an event of this type brings a piece of a sound or a picture."""
        return name.endswith(_SOUNDS) or _PICTURES in name

    def piece(self, name: bytes, number: int, delta: msgspec.Raw) -> int:
        """The next piece of an item's sound, or a view of its picture."""
        if _PICTURES in name:
            return self._count(number, PICTURE_TOKENS)
        number = self._number(number, self._sounds)
        size_bytes = self._sounds.get(number, 0) + memoryview(delta).nbytes
        self._sounds[number] = size_bytes
        return self._count(number, -(-size_bytes // PCM_BYTES_PER_TOKEN))

    def item(self, number: int, item: Item) -> int:
        """An item that is whole, or was begun."""
        return self._count(number, _tokens_of(item))

    def all_of(self, items: Iterable[Item]) -> int:
        """All items of a response: only what goes beyond all that came before counts."""
        new = sum(map(_tokens_of, items)) - self.tokens
        if new <= 0:
            return 0
        self.tokens += new
        return new

    def _count(self, number: int, tokens: int) -> int:
        number = self._number(number, self._tokens)
        new = tokens - self._tokens.get(number, 0)
        if new <= 0:
            return 0
        self._tokens[number] = tokens
        self.tokens += new
        return new

    @staticmethod
    def _number(number: int, known: dict[int, int]) -> int:
        return number if number in known or len(known) < _ITEMS_MAX else -1


def _tokens_of(item: Item) -> int:
    tokens = 0
    if bytes(item.type) == _PICTURE_CALL and memoryview(item.result).nbytes > len(b"null"):
        tokens += shown_tokens(bytes(item.result))
    content = bytes(item.content)
    if content[:1] == b"[":
        if content.find(b"image") >= 0:
            tokens += picture_tokens(content)
        if content.find(b'"data"') >= 0:
            tokens += _sound_tokens(content)
    return tokens


def _sound_tokens(content: bytes) -> int:
    try:
        sizes = [memoryview(part.data).nbytes for part in _PARTS.decode(content)]
    except (TooMuch, *JSON_ERRORS):
        return -(-len(content) // PCM_BYTES_PER_TOKEN)
    return sum(-(-size // PCM_BYTES_PER_TOKEN) for size in sizes)
