"""Counts the tokens of an image in a prompt by its size, with a table of the vendors' rules.

An operator can put rows before the table. Its sources are OpenAI's guide on images and vision, and
the calculator of its pricing page where the two differ (gpt-5-mini, gpt-5-nano). Sizes are read
from the head of a data URL; an image elsewhere is never fetched, and none is ever tokenised.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from math import isqrt
from typing import Final

import msgspec

from proxy.core.model_names import matches_caseless

# of a data URL; a photograph's preview and colour profile, which may come before its size, mostly
# fit
HEAD_CHARS_MAX: Final = 65_536
SIZE_ASSUMED: Final = (1024, 1024)  # of an image whose size cannot be seen

_FIT_PX: Final = 2048
_SHORT_SIDE_PX: Final = 768
_TILE_PX: Final = 512
_PATCH_PX: Final = 32


class Picture(msgspec.Struct, frozen=True, gc=False):
    """A picture of the request itself: its size in pixels, None if it cannot be told. `low`: less
    detail is asked for."""

    size: tuple[int, int] | None = None
    low: bool = False


class Tiles(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="by",
    tag="tiles",
):
    """Scaled down into 2048 x 2048 and to a short side of 768 px, then cut into tiles of 512 px.
    `detail: low` is the base alone."""

    models: str  # a glob
    base_tokens: int
    tile_tokens: int


class Patches(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="by",
    tag="patches",
):
    """Cut into patches of 32 px, each `patch_millitokens` / 1000 tokens.

    An image with more than `patches_max` is scaled down to that.
    """

    models: str  # a glob
    patch_millitokens: int
    patches_max: int = 1536


ImageRule = Tiles | Patches

_UNKNOWN: Final = Tiles(models="*", base_tokens=85, tile_tokens=170)

# The first row whose glob matches decides.
IMAGE_RULES: Final[tuple[ImageRule, ...]] = (
    Tiles(models="gpt-4o-mini*", base_tokens=2833, tile_tokens=5667),
    Tiles(models="gpt-4o*", base_tokens=85, tile_tokens=170),
    Tiles(models="chatgpt-4o*", base_tokens=85, tile_tokens=170),
    Patches(models="gpt-4.1-mini*", patch_millitokens=1620),
    Patches(models="gpt-4.1-nano*", patch_millitokens=2460),
    Tiles(models="gpt-4.1*", base_tokens=85, tile_tokens=170),
    Tiles(models="gpt-4.5*", base_tokens=85, tile_tokens=170),
    Tiles(models="gpt-4-turbo*", base_tokens=85, tile_tokens=170),
    Patches(models="gpt-5-mini*", patch_millitokens=1200),
    Patches(models="gpt-5-nano*", patch_millitokens=1500),
    Tiles(models="gpt-5", base_tokens=70, tile_tokens=140),
    Tiles(models="gpt-5-*", base_tokens=70, tile_tokens=140),
    Patches(models="o4-mini*", patch_millitokens=1720),
    Tiles(models="o1*", base_tokens=75, tile_tokens=150),
    Tiles(models="o3*", base_tokens=75, tile_tokens=150),
)


def image_rule(model: str, rules: Sequence[ImageRule] = IMAGE_RULES) -> ImageRule | None:
    """The rule for a model's images, or None if the table does not know it."""
    name = model.removeprefix("openai/")
    return next((rule for rule in rules if matches_caseless(rule.models, name)), None)


def image_tokens(rule: ImageRule, width: int, height: int, *, low: bool = False) -> int:
    """Tokens of one image of this size in pixels; `low` if the request asks for `detail: low`."""
    if isinstance(rule, Tiles):
        return (
            rule.base_tokens if low else rule.base_tokens + rule.tile_tokens * _tiles(width, height)
        )
    return -(-_patches(width, height, rule.patches_max) * rule.patch_millitokens // 1000)


def _tiles(width: int, height: int) -> int:
    # The two scalings as one fraction, so that nothing is rounded on the way: a side of 1536 px is
    # three tiles, never four.
    numerator, denominator = 1, 1
    if max(width, height) > _FIT_PX:
        numerator, denominator = _FIT_PX, max(width, height)
    if min(width, height) * numerator > _SHORT_SIDE_PX * denominator:
        numerator, denominator = _SHORT_SIDE_PX, min(width, height)
    tile = _TILE_PX * denominator
    return -(-width * numerator // tile) * -(-height * numerator // tile)


def _patches(width: int, height: int, patches_max: int) -> int:
    columns, rows = -(-width // _PATCH_PX), -(-height // _PATCH_PX)
    if columns * rows <= patches_max:
        return columns * rows
    # Scaled to an area of patches_max patches, then down until one side, which needs less of it, is
    # a whole number of them.
    columns = max(isqrt(patches_max * width // height), 1)
    rows = max(isqrt(patches_max * height // width), 1)
    if columns * height <= rows * width:
        rows = -(-columns * height // width)
    else:
        columns = -(-rows * width // height)
    return min(columns * rows, patches_max)


def picture_tokens(
    rule: ImageRule | None, size: tuple[int, int] | None, *, low: bool = False
) -> int:
    """Tokens of a picture; one of unknown size or rule counts as 1024 px square for gpt-4o.

    Less detail costs less only where the rule is known: other vendors need not even read `detail`.
    """
    width, height = SIZE_ASSUMED if size is None else size
    return image_tokens(
        _UNKNOWN if rule is None else rule, width, height, low=low and rule is not None
    )


def data_url_size(url: str) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG, GIF or WebP in a data URL.

    They are read from its first 64 kB. None if they cannot be told, as for any other URL.
    """
    head = url[:HEAD_CHARS_MAX]
    if head[:5].lower() != "data:":
        return None
    media, comma, encoded = head.partition(",")
    if not comma or not media.lower().endswith(";base64"):
        return None
    try:
        data = binascii.a2b_base64(encoded[: len(encoded) // 4 * 4])
    except ValueError:
        return None
    width, height = _size(data)
    return (width, height) if width > 0 and height > 0 else None


def _size(data: bytes) -> tuple[int, int]:
    """(0, 0) if unknown. Bytes that are missing read as zeros."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _big(data, 16, 4), _big(data, 20, 4)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _little(data, 6, 2), _little(data, 8, 2)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the frame header (SOF0 to SOF15, of which C4, C8 and CC are other things), found by
    stepping over the segments before it."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        else:
            at += 2 + _big(data, at + 2, 2)
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    if kind == b"VP8L":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    return 0, 0


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
