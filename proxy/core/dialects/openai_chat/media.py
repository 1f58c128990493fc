"""Sounds and pictures in an answer: how many tokens a vendor that states none may bill for them.

All is on the high side: who leaves out the question for the usage gains nothing by it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.openai_chat.written import Choice
from proxy.core.tokens.magic import is_sound
from proxy.core.tokens.prompts import SOUND_BYTES_PER_TOKEN

# OpenAI bills a token for 50 ms of speech that a model says (its guide to the costs of realtime
# calls), Google 25 a second. Streamed speech is PCM, which has 10,667 bytes of base64 a second at
# least, as G.711, and mostly 64,000; compressed speech has fewer.
PCM_BYTES_PER_TOKEN: Final = 512
# The dearest picture of OpenAI's guide to image generation: gpt-image-1, high, 1024 x 1536. Google
# bills up to 2,000 for one.
PICTURE_TOKENS: Final = 6240
_PICTURE_BYTES_PER_TOKEN: Final = 128
_WAV: Final = "UklGR"  # RIFF, in base64
_HEAD_BYTES: Final = 64
_ABSENT = msgspec.Raw()
_HINTS: Final = (b'"audio"', b'"image', b'"video"', b'"data:')
_PICTURE = re.compile(rb'"(?:data:image\\?/[^"]*+|[A-Za-z0-9+/=\\]{256,}+)"')
_SHOWN = re.compile(rb'"(?:data:|https?:|[A-Za-z0-9+/=\\]{256})')
# of a member; a picture of so many bytes is no dearer than the dearest
_SEARCHED_BYTES_MAX: Final = 64 * 1024


class _Media(msgspec.Struct, gc=False):
    """The members of a delta or a message that hold what is no text."""

    audio: msgspec.Raw = _ABSENT
    images: msgspec.Raw = _ABSENT
    image: msgspec.Raw = _ABSENT
    image_url: msgspec.Raw = _ABSENT
    video: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT


class _Sound(msgspec.Struct, gc=False):
    data: msgspec.Raw = _ABSENT


_decoder = msgspec.json.Decoder(_Media)
_sound_decoder = msgspec.json.Decoder(_Sound)


class MediaTokens:
    """Counts the media of one answer, piece by piece."""

    __slots__ = ("_bytes_per_token",)

    def __init__(self) -> None:
        self._bytes_per_token: int | None = None  # of its sound, which its beginning tells

    def take(self, data: bytes, choices: list[Choice]) -> int:
        """What the choices of this event or answer add."""
        if not any(data.find(hint) >= 0 for hint in _HINTS):
            return 0
        new = 0
        for choice in choices:
            holder = bytes(choice.delta) or bytes(choice.message)
            if holder[:1] == b"{":
                try:
                    media = _decoder.decode(holder)
                except JSON_ERRORS:
                    continue
                new += self._of(media)
        return new

    def _of(self, media: _Media) -> int:
        new = self._sound(bytes(media.audio))
        content = bytes(media.content)
        if content[:1] in (b"[", b"{") and b"image" in content:
            new += picture_tokens(content)
        for raw in (media.images, media.image, media.image_url, media.video):
            new += shown_tokens(bytes(raw))
        return new

    def _sound(self, audio: bytes) -> int:
        if audio[:1] != b"{":
            return 0
        try:
            encoded = bytes(_sound_decoder.decode(audio).data)[1:-1]
        except JSON_ERRORS:
            return 0
        if self._bytes_per_token is None and encoded:
            self._bytes_per_token = _bytes_per_token(
                encoded[:_HEAD_BYTES].decode("ascii", "replace")
            )
        return -(-len(encoded) // (self._bytes_per_token or 1))


def picture_tokens(content: bytes) -> int:
    """Of those among the parts of a content."""
    return _pictures(content, _PICTURE)


def shown_tokens(raw: bytes) -> int:
    """Of those that a member shows, by address or whole."""
    return _pictures(raw, _SHOWN)


def _bytes_per_token(head: str) -> int:
    """Compressed sound begins like it. PCM begins like nothing, or like a WAV file."""
    compressed = is_sound(head) and not head.startswith(_WAV)
    return SOUND_BYTES_PER_TOKEN if compressed else PCM_BYTES_PER_TOKEN


def _pictures(raw: bytes, shown: re.Pattern[bytes]) -> int:
    """Those in a member. A large one is not searched, so as to hold nobody up."""
    if len(raw) > _SEARCHED_BYTES_MAX:
        least = PICTURE_TOKENS * max(1, raw.count(b'"data:'))
        return max(least, len(raw) // _PICTURE_BYTES_PER_TOKEN)
    return PICTURE_TOKENS * len(shown.findall(raw))
