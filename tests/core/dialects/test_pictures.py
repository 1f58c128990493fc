"""How many images a request holds."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.pictures import count_images

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "image_url"}


@pytest.mark.parametrize(
    ("messages", "images"),
    [
        ([], 0),
        ([{"role": "user", "content": "image_url"}], 0),
        ([{"role": "user", "content": [TEXT, IMAGE, IMAGE]}, {"role": "user", "content": "x"}, {"role": "user", "content": [IMAGE]}], 3),
        ([{"role": "user", "content": [IMAGE, 1, None, [], {"type": 5}, {"type": "input_audio"}, IMAGE]}], 2),
        ([1, None, {"role": "user", "content": None}, {"role": "user", "content": [IMAGE]}, {"role": "assistant"}], 1),
        ([{"role": "user", "content": [{"type": "text", "text": "\ud83d"}, IMAGE]}], 1),
    ],
)
def test_image_parts_of_all_messages(messages, images):
    assert count_images(json.dumps({"model": "m", "messages": messages}).encode()) == images


@pytest.mark.parametrize(
    ("body", "images"),
    [
        (b'{"input": "an image"}', 0), (b'{"messages": [{"content": [{"type": "image\\u005furl"}]}]}', 1), (b'{"messages": [{"content": [{"type": "\\u0069mage_url"}]}]}', 1),
        (b"image", None), (b'{"messages": "image"}', None), (b"[" * 2000 + b"image", None), (b'{"messages": [{"content": [' + b"[" * 2000 + b"image", None), (b"{}", 0),
    ],
)  # fmt: skip
def test_other_bodies(body, images):
    assert count_images(body) == images


def test_a_message_beyond_reading_counts_as_far_as_it_was_read():
    assert count_images(b'{"messages": [{"content": [{"type": "image_url"}, {"type": "image_url", "x": ' + b"[" * 1500 + b"]" * 1500 + b"}]}]}") in (1, 2, None)
