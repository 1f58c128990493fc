"""The published examples of image tokens, and sizes read from the head of data URLs of every kind,
whole or not."""

from __future__ import annotations

import base64
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.tokens.images import (
    HEAD_CHARS_MAX,
    IMAGE_RULES,
    ImageRule,
    Patches,
    Tiles,
    data_url_size,
    image_rule,
    image_tokens,
)
from tests.support.effort import examples

FIXED = settings(max_examples=examples(300))

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5B", 13, b"IHDR", 640, 480, 8, 2, 0, 0, 0)
GIF = b"GIF89a" + struct.pack("<HH", 640, 480) + b"\x80\x00\x00"
JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
    + bytes(9)
    + b"\xff\xc4\x00\x04ab\xff\xff\xc2\x00\x11\x08"
    + struct.pack(">HH", 480, 640)
    + b"\x03"
    + bytes(9)
)
LOSSY = b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + struct.pack(
    "<HH", 640 | 0x4000, 480
)
LOSSLESS = b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack(
    "<I", 639 | 479 << 14 | 1 << 28
)
EXTENDED = (
    b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00"
    + (639).to_bytes(3, "little")
    + (479).to_bytes(3, "little")
)
KINDS = {
    "png": PNG,
    "gif": GIF,
    "jpeg": JPEG,
    "webp lossy": LOSSY,
    "webp lossless": LOSSLESS,
    "webp extended": EXTENDED,
}


def data_url(data: bytes) -> str:
    return "data:image/any;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens", "low"),
    [
        ("gpt-4o", 1024, 1024, 765, 85),  # the vision guide's examples
        ("gpt-4o-2024-11-20", 2048, 4096, 1105, 85),
        ("openai/gpt-4o", 128, 64, 255, 85),
        ("gpt-4o", 512, 512, 255, 85),
        ("gpt-4o", 513, 512, 425, 85),
        ("gpt-4o", 1536, 768, 1105, 85),
        ("gpt-4o", 4_000_000_000, 1, 765, 85),
        ("gpt-4o-mini", 1024, 1024, 25501, 2833),
        ("gpt-4.1", 1024, 1024, 765, 85),
        ("gpt-5", 1024, 1024, 630, 70),
        ("gpt-5-2025-08-07", 512, 512, 210, 70),
        ("o1", 512, 512, 225, 75),
        ("o3-pro", 1024, 1024, 675, 75),
        ("gpt-4.1-mini", 1024, 1024, 1659, 1659),  # 1024 patches
        ("gpt-4.1-mini", 1800, 2400, 2353, 2353),  # 1452 patches, the guide's example
        ("gpt-4.1-mini", 4000, 1474, 2348, 2348),
        ("gpt-4.1-nano", 2048, 2048, 3742, 3742),
        ("gpt-5-mini", 1024, 1024, 1229, 1229),
        ("gpt-5-nano", 32, 33, 3, 3),
        ("o4-mini", 32, 32, 2, 2),
        ("o4-mini", 4_000_000_000, 1, 2642, 2642),
        ("o4-mini", 1, 4_000_000_000, 2642, 2642),
    ],
)
def test_published_figures(model: str, width: int, height: int, tokens: int, low: int):
    rule = image_rule(model)
    assert rule is not None
    assert image_tokens(rule, width, height) == tokens
    assert image_tokens(rule, width, height, low=True) == low


def test_an_operators_rows_come_first():
    rows = msgspec.yaml.decode(
        "[{models: gpt-4o*, by: tiles, base_tokens: 1, tile_tokens: 2}, {models: qwen*-vl, by: patches, patch_millitokens: 1000, patches_max: 100}]",
        type=tuple[ImageRule, ...],
    )
    assert image_rule("gpt-4o-mini", (*rows, *IMAGE_RULES)) == Tiles(
        models="gpt-4o*", base_tokens=1, tile_tokens=2
    )
    assert image_rule("qwen2-vl", (*rows, *IMAGE_RULES)) == Patches(
        models="qwen*-vl", patch_millitokens=1000, patches_max=100
    )
    assert [
        image_rule(model) for model in ("qwen2-vl", "gpt-3.5-turbo", "gpt-4", "gpt-5.9", "")
    ] == [None] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_of_all_kinds(kind: str):
    whole = data_url(KINDS[kind] + bytes(100_000))
    assert data_url_size(whole) == (640, 480)
    assert data_url_size(whole.replace("data:", "DATA:", 1)) == (640, 480)
    assert data_url_size(data_url(KINDS[kind]).rstrip("=") + "===") == (640, 480)
    for size in range(len(KINDS[kind])):
        cut = data_url_size(data_url(KINDS[kind][:size]))
        assert cut is None or size > 6, "what is missing is no size"


def test_only_the_first_64_kb_are_read():
    def behind(size: int) -> str:
        segments = b"".join(
            b"\xff\xe1" + struct.pack(">H", min(left, 9_000) + 2) + bytes(min(left, 9_000))
            for left in range(size, 0, -9_000)
        )
        return data_url(b"\xff\xd8" + segments + JPEG[2:])

    assert data_url_size(behind(40_000)) == (640, 480)
    assert data_url_size(behind(60_000)) is None
    assert data_url_size(data_url(PNG)[:HEAD_CHARS_MAX] + "\ud800" * 10**6) in (None, (640, 480))


@pytest.mark.parametrize(
    "url",
    [
        "", "https://example.com/a.png", "data:", "data:image/png;base64", "data:image/png;base64,", "data:image/png,abcd", "data:image/png;base64,é", "data:image/png;base64,====",
        data_url(b"BM" + bytes(60)), data_url(PNG[:16] + bytes(8)), data_url(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 50), data_url(b"\xff\xd8\x00"), data_url(b"RIFF0000WEBPVP9 "),
    ],
)  # fmt: skip
def test_what_is_no_image_has_no_size(url: str):
    assert data_url_size(url) is None


@given(
    start=st.sampled_from([*KINDS.values(), b"\xff\xd8"]),
    keep=st.integers(0, 40),
    rest=st.binary(max_size=80),
    width=st.integers(1, 10**6),
    height=st.integers(1, 10**6),
)
@FIXED
def test_whatever_the_bytes_there_is_a_size_or_none_and_a_bounded_count(
    start: bytes, keep: int, rest: bytes, width: int, height: int
):
    size = data_url_size(data_url(start[:keep] + rest))
    assert size is None or min(size) > 0
    for rule in IMAGE_RULES:
        most = (
            rule.base_tokens + 8 * rule.tile_tokens
            if isinstance(rule, Tiles)
            else rule.patches_max * rule.patch_millitokens // 1000 + 1
        )
        for sides in ((width, height), size or (1, 1)):
            assert 0 < image_tokens(rule, *sides) <= most
