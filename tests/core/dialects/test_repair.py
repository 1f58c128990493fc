"""JSON that is not quite JSON: what is repaired, and what stands in a row."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.core.dialects.repair import objects_of, repaired

USAGE = b'"usage":{"prompt_tokens":1000,"completion_tokens":500}'


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (rb'"hi \ud83d"', "hi \ufffd"), (rb'"\ude00\ud83d"', "\ufffd\ufffd"), (rb'"\ud83d\ude00"', "😀"), (b'"a\x00b\x01\nc\t"', "a b  c "), (b"NaN", None), (b"-Infinity", None),
        (b"[1,NaN,Infinity,-inf,1e400,nan,2]", [1, None, None, None, None, None, 2]), (b'"\xff\xc3("', "\ufffd\ufffd("), (rb'"\x41 \u12 \' \\x"', "\\x41 \\u12 \\' \\x"),
        (b"[01,+1,.5,5.,-.5]", [None] * 5), (b"[1,2,]", [1, 2]), (b'{"a":1,}', {"a": 1}), (b"[None,True,undefined]", [None] * 3), (b"[1e99,-0.5,0,1.5E-7]", [1e99, -0.5, 0, 1.5e-7]),
        (b'"sound: text, NaN in it"', "sound: text, NaN in it"), ("好".encode(), None),
    ],
)  # fmt: skip
def test_what_strict_readers_refuse_is_repaired(value: bytes, read: object) -> None:
    text = repaired(b'{"x":' + value + b"," + USAGE + b"}")
    if value == "好".encode():
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(text)
        return
    assert msgspec.json.decode(text) == {
        "x": read,
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500},
    }


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_another_unicode_encoding_is_read(encoding: str) -> None:
    text = json.dumps({"a": "好"}, ensure_ascii=False)
    assert msgspec.json.decode(repaired(text.encode(encoding)).removeprefix(b"\xef\xbb\xbf")) == {
        "a": "好"
    }


@pytest.mark.parametrize(
    ("data", "objects"),
    [
        (b'{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}data: {"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1},\n {"b":NaN} ', [b'{"a":1}', b'{"b":NaN}']),
        (b'{"a":"}{"}{"b":"}data: {"}', [b'{"a":"}{"}', b'{"b":"}data: {"}']),
        (b'[{"a":1},\r\n{"b":2}\n]\n', [b'{"a":1}', b'{"b":2}']), (b'[{"a":1}]', [b'{"a":1}']), (b"[]", []), (b'[{"a":1}', []), (b'[{"a":1},2]', []),
        (b'{"a":1}', []), (b'{"a":1}x', []), (b'{"a":1}{"b"', []), (b"", []), (b"[1]{}", []), (b"{" * 3000, []),
    ],
)  # fmt: skip
def test_objects_in_a_row_are_told_apart(data: bytes, objects: list[bytes]) -> None:
    assert objects_of(data) == objects
