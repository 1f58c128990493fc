"""Pictures that are proved to be pictures count by a rule of their own; all else by its bytes."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from proxy.core.dialects.anthropic_messages.call import read_call
from proxy.core.dialects.anthropic_messages.endpoints import MESSAGES
from proxy.core.dialects.anthropic_messages.pictures import INLINED_MAX, count_images

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x06" + b"x" * 900


def picture(data: bytes | str = PNG, **source: object) -> dict[str, object]:
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    whole = {"type": "base64", "media_type": "image/png", "data": text} | source
    return {"type": "image", "source": whole}


def body(*content: object) -> bytes:
    messages = [{"role": "user", "content": list(content)}]
    return json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()


def test_a_picture_is_no_text() -> None:
    text = {"type": "text", "text": "What is this?"}
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [picture()]}
    whole = body(text, picture(), inside)
    call = read_call(MESSAGES, whole)
    size = len(base64.b64encode(PNG))
    assert call.prompt_bytes == len(whole) - 2 * size
    assert [one.size for one in call.pictures] == [(640, 480)] * 2
    assert all(whole[start:end] == base64.b64encode(PNG) for start, end in call.inlined)
    assert call.media
    assert count_images(whole) == 2


@pytest.mark.parametrize(
    "claims",
    [
        picture(b"Long text that says it is a picture. " * 40),
        picture("not base64 at all, but text. " * 40),
        picture(type="url"),
        {"type": "document", "source": {"type": "base64", "data": base64.b64encode(PNG).decode()}},
        {"type": "text", "text": base64.b64encode(PNG).decode()},
    ],
)
def test_what_is_not_proved_counts_with_its_bytes(claims: dict[str, object]) -> None:
    whole = body(claims)
    call = read_call(MESSAGES, whole)
    assert (call.prompt_bytes, call.pictures) == (len(whole), ())


def test_so_many_are_looked_at() -> None:
    call = read_call(MESSAGES, body(*[picture()] * (INLINED_MAX + 3)))
    assert len(call.pictures) == INLINED_MAX


@pytest.mark.parametrize(
    ("content", "images"),
    [(b'{"messages": 7, "image": 1}', 0), (b"image{", None), (body("image"), 0), (b"{}", 0)],
)
def test_images_are_counted_as_far_as_the_body_is_read(content: bytes, images: int | None) -> None:
    assert count_images(content) == images
