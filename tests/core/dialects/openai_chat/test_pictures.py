"""How many images a request holds."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.pictures import (
    INLINED_MAX,
    Inlined,
    Picture,
    count_images,
    inlined,
)

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TEXT = {"type": "text", "text": "image_url"}


@pytest.mark.parametrize(
    ("messages", "images"),
    [
        ([], 0),
        ([{"role": "user", "content": "image_url"}], 0),
        (
            [
                {"role": "user", "content": [TEXT, IMAGE, IMAGE]},
                {"role": "user", "content": "x"},
                {"role": "user", "content": [IMAGE]},
            ],
            3,
        ),
        (
            [
                {
                    "role": "user",
                    "content": [IMAGE, 1, None, [], {"type": 5}, {"type": "input_audio"}, IMAGE],
                }
            ],
            2,
        ),
        (
            [
                1,
                None,
                {"role": "user", "content": None},
                {"role": "user", "content": [IMAGE]},
                {"role": "assistant"},
            ],
            1,
        ),
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
    assert count_images(
        b'{"messages": [{"content": [{"type": "image_url"}, {"type": "image_url", "x": '
        + b"[" * 1500
        + b"]" * 1500
        + b"}]}]}"
    ) in (1, 2, None)


PIXELS = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\x00\x00\x01\x00" + bytes(300)
).decode()
SIZE = len(PIXELS)


def looked_at(*parts: object) -> Inlined:
    return inlined(msgspec.Raw(json.dumps([{"role": "user", "content": list(parts)}]).encode()))


def picture(url: str, **more: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (picture(f"data:image/png;base64,{PIXELS}"), Inlined(SIZE, 0, (Picture((512, 256)),))),
        (
            picture(f"DATA:Image/PNG;charset=x;BASE64,{PIXELS}", detail="low"),
            Inlined(SIZE, 0, (Picture((512, 256), low=True),)),
        ),
        (
            {"type": "image_url", "image_url": f"data:image/png;base64,{PIXELS}"},
            Inlined(SIZE, 0, (Picture((512, 256)),)),
        ),
        (picture("data:image/heic;base64,AAAAGGZ0eXBoZWlj"), Inlined(16, 0, (Picture(),))),
        ({"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}}, Inlined(4, 4)),
        (
            {"type": "input_audio", "input_audio": {"data": "data:audio/mp3;base64,SUQz"}},
            Inlined(4, 4),
        ),
        # None of these is proved to be a picture or a sound.
        ({"type": "text", "text": f";base64,{PIXELS}"}, Inlined()),
        ({"type": "text", "text": f"data:image/png;base64,{PIXELS}"}, Inlined()),
        (
            {"type": "text", "text": "hi", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}},
            Inlined(),
        ),
        ({"image_url": {"url": f"data:image/png;base64,{PIXELS}"}}, Inlined()),
        (picture("data:image/png;base64,all my words, in clear"), Inlined()),
        (picture("data:image/png;base64," + base64.b64encode(b"my words").decode()), Inlined()),
        ({"type": "input_audio", "input_audio": {"data": "bXkgd29yZHM="}}, Inlined()),
        (picture(f"data:text/plain;base64,{PIXELS}"), Inlined()),
        (picture(f"https://example.com/?;base64,{PIXELS}"), Inlined()),
        ({"type": "image_url", "image_url": {"x": f"data:image/png;base64,{PIXELS}"}}, Inlined()),
        ({"type": "file", "file": {"file_data": f"data:text/plain;base64,{PIXELS}"}}, Inlined()),
        ({"type": "input_audio", "input_audio": {"data": "all my words, in clear"}}, Inlined()),
        ({"type": "input_audio", "input_audio": {"transcript": PIXELS}}, Inlined()),
        ({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{PIXELS}"}}, Inlined()),
    ],
)
def test_only_what_is_proved_to_be_a_picture_or_a_sound_is_no_text(
    part: object, expected: Inlined
) -> None:
    found = looked_at(part)
    assert msgspec.structs.replace(found, spans=()) == expected
    assert bool(found.spans) == bool(expected.size_bytes)


def test_the_places_of_pictures_are_told() -> None:
    """Equal ones too, and such as a text before them holds in the same letters."""
    parts = [
        picture("data:image/png;base64,/9j/AAAA"),
        {"type": "text", "text": "好 SUQzBBBB"},
        picture("data:image/png;base64,/9j/AAAA"),
    ]
    parts.append({"type": "input_audio", "input_audio": {"data": "SUQzBBBB"}})
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()
    call = read_call("/v1/chat/completions", body)
    assert [body[start:end] for start, end in call.inlined] == [
        b"/9j/AAAA",
        b"/9j/AAAA",
        b"SUQzBBBB",
    ]
    assert call.prompt_bytes == len(body) - 24


def test_pictures_beyond_the_bound_count_with_their_bytes() -> None:
    assert (
        looked_at(*[picture("data:image/png;base64,/9j/AAAA")] * (INLINED_MAX + 5)).size_bytes
        == 8 * INLINED_MAX
    )


def test_a_slash_may_be_escaped_as_php_does_it() -> None:
    text = (
        json.dumps([{"content": [picture(f"data:image/png;base64,{PIXELS}")]}])
        .replace("/", "\\/")
        .encode()
    )
    found = inlined(msgspec.Raw(text))
    assert found.pictures == (Picture((512, 256)),) and found.size_bytes >= SIZE


@pytest.mark.parametrize(
    "messages",
    [
        b"",
        b"null",
        b'"data:image/png;base64,/9j/AAAA"',
        b'{"content":[";base64,"]}',
        b"[" * 2000 + b";base64,",
    ],
)
def test_messages_that_cannot_be_read_hold_none(messages: bytes) -> None:
    assert inlined(msgspec.Raw(messages)) == Inlined()


def test_a_list_of_millions_of_nothing_is_not_looked_through() -> None:
    """Half a minute of work and a gigabyte, for one body: whatever may be a picture counts as one."""
    entries = b"[]," * 1_000_000
    body = b'{"messages":[{"content":[{"type":"image_url"}]},%b1]}' % entries
    few = b'{"messages":[{"content":[%b{"type":"image_url"},{}]}]}' % (b'{"a":1},' * 50)
    assert count_images(body) == 1
    assert count_images(body.replace(b"image_url", rb"image\u005furl")) == 1
    assert inlined(msgspec.Raw(body[12:-1])) == Inlined()
    assert count_images(few) == 1
    parts = b'{"content":[%b1]},' % (b"1," * 4000)
    assert count_images(b'{"messages":[%b{"x":"image_url"}]}' % (parts * 6)) == 1


def test_a_large_picture_is_found_where_it_stands() -> None:
    """Also behind a text that begins with the same letters, as often as it likes."""
    large = PIXELS[:-4] + "A" * 3_000_000
    for before in ("A", large[:1000] + "B", (PIXELS[:256] + "B") * 40):
        found = looked_at(
            {"type": "text", "text": before}, picture(f"data:image/png;base64,{large}")
        )
        assert found.size_bytes == len(large)
        messages = json.dumps(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": before},
                        picture(f"data:image/png;base64,{large}"),
                    ],
                }
            ]
        )
        [(start, end)] = found.spans
        assert messages[start:end] == large


def test_a_picture_behind_more_than_is_looked_through_counts_with_its_bytes() -> None:
    """More messages, or more braces: and where pictures have a price, each mention counts as one."""
    said = {"type": "text", "text": "image_url " * 9}
    shown = [{"content": [said, picture("data:image/png;base64,/9j/AAAA")]}]
    assert inlined(msgspec.Raw(json.dumps([[]] * 4000 + shown).encode())).size_bytes == 8
    many = [[]] * 5000 + shown
    assert inlined(msgspec.Raw(json.dumps(many).encode())) == Inlined()
    assert count_images(json.dumps({"messages": many}).encode()) == 5  # its braces
    braces = [{"x": [{}] * 50_000}, *shown]
    assert inlined(msgspec.Raw(json.dumps(braces).encode())) == Inlined()


@pytest.mark.parametrize("at", [0, 2**20 - 1, 2**20, 3_000_000])
def test_words_anywhere_in_a_picture_make_it_a_text(at: int) -> None:
    encoded = "/9j/" + "A" * 3_000_100
    assert looked_at(picture(f"data:image/png;base64,{encoded}")).size_bytes == len(encoded)
    words = encoded[: 4 + at] + "?" + encoded[5 + at :]
    assert looked_at(picture(f"data:image/png;base64,{words}")) == Inlined()
