"""Content codings undone in any chunks, and bombs that stay small."""

from __future__ import annotations

import gzip
import random
import sys
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ProxyError
from proxy.core.http import content_coding as decoding
from proxy.core.http.content_coding import Decoder, decode_body
from tests.support.effort import examples

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FIXED = settings(max_examples=examples(60))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "": bytes,
    "identity": bytes,
}


def decoder(encoding: str | None) -> Decoder:
    made = Decoder.for_encoding(encoding)
    assert made is not None
    return made


def decoded(made: Decoder, chunks: list[bytes]) -> bytes:
    return b"".join(piece for chunk in chunks for piece in made.feed(chunk))


@pytest.mark.parametrize("encoding", CODINGS)
def test_an_answer_decodes_in_any_chunks(encoding: str) -> None:
    plain = b'data: {"a": "\xe5\xa5\xbd"}\n\n' * 7
    packed = CODINGS[encoding](plain)
    for chunks in [[packed[:at], packed[at:]] for at in range(len(packed))] + [
        [packed[at : at + 1] for at in range(len(packed))]
    ]:
        made = decoder(encoding)
        assert decoded(made, chunks) == plain
        assert not made.failed


@pytest.mark.parametrize("encoding", sorted(set(CODINGS) - {"Deflate"}))
def test_a_request_decodes(encoding: str) -> None:
    plain = b'{"a": "\xe5\xa5\xbd"}'
    assert decode_body(encoding, CODINGS[encoding](plain), len(plain)) == plain


def test_a_request_that_is_json_and_deflate_at_once_is_refused() -> None:
    both = b'{"Yx85ey5 XL'
    assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(
        both
    )  # so an upstream that ignores the coding would read something else than we
    for body in (both, raw_deflate(b"{}")):
        with pytest.raises(ProxyError) as refused:
            decode_body("deflate", body, 1000)
        assert (refused.value.status, refused.value.code) == (400, "invalid_request")


def test_nothing_is_held_back_when_a_piece_is_full() -> None:
    plain = random.Random(1).randbytes(64 * 1024 * 3 + 17) + b"x" * 70_000
    for encoding in ("gzip", "deflate", "br", "zstd"):
        assert decoded(decoder(encoding), [CODINGS[encoding](plain)]) == plain


def test_a_gzip_answer_may_have_several_members_and_padding() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0"
    for at in range(len(packed)):
        made = decoder("gzip")
        assert decoded(made, [packed[:at], packed[at:]]) == b"one two"
        assert not made.failed
    assert decode_body("gzip", packed, 100) == b"one two"


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "nonsense"])
def test_other_codings_are_not_read(encoding: str) -> None:
    assert Decoder.for_encoding(encoding) is None
    with pytest.raises(ProxyError) as refused:
        decode_body(encoding, b"x", 100)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_encoding")
    assert "gzip" in refused.value.message


@FIXED
@given(
    st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.lists(st.binary(max_size=40), max_size=8)
)
def test_no_bytes_make_a_decoder_raise(encoding: str, chunks: list[bytes]) -> None:
    decoded(decoder(encoding), chunks)
    try:
        decode_body(encoding, b"".join(chunks), 1000)
    except ProxyError as error:
        assert error.status in (400, 413)


BOMBS = {
    "gzip": lambda plain: gzip.compress(plain, compresslevel=1),
    "br": lambda plain: brotli.compress(plain, quality=1),
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", BOMBS)
def test_a_bomb_fails_early(encoding: str) -> None:
    bomb = BOMBS[encoding](bytes(200 * 1024 * 1024))
    made = decoder(encoding)
    size = 0
    for at in range(0, len(bomb), 1024):
        size += sum(len(piece) for piece in made.feed(bomb[at : at + 1024]))
        assert size <= 1024 * 1024 + 200 * (at + 1024)
    assert made.failed
    with pytest.raises(ProxyError) as refused:
        decode_body(encoding, bomb, 1000)
    assert (refused.value.status, refused.value.code) == (413, "body_too_large")
    assert "bodies.max" in refused.value.message
    with pytest.raises(ProxyError, match="200 times as long") as refused:
        decode_body(encoding, bomb, 10**9)
    assert refused.value.status == 413


def test_the_output_has_a_bound_of_its_own() -> None:
    made = Decoder.for_encoding("gzip", 10)
    assert made is not None
    assert decoded(made, [gzip.compress(b"more than ten bytes")]) == b"" and made.failed


def test_a_zstd_frame_that_wants_a_huge_window_is_not_read() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    packed = packer.compress(b"x" * 100) + packer.flush()
    made = decoder("zstd")
    assert decoded(made, [packed]) == b"" and made.failed


def test_zstd_frames_follow_each_other() -> None:
    packed = zstd.compress(b"one ") + zstd.compress(b"two")
    for at in range(len(packed)):
        assert decoded(decoder("zstd"), [packed[:at], packed[at:]]) == b"one two"
    assert decode_body("zstd", packed, 100) == b"one two"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip", "zstd"])
def test_a_request_that_is_json_as_it_stands_is_not_taken_for_compressed(encoding: str) -> None:
    with pytest.raises(ProxyError) as refused:
        decode_body(encoding, b' {"model":"dear"}', 1000)
    assert (refused.value.status, refused.value.code) == (400, "ambiguous_body")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip", "zstd"])
@pytest.mark.parametrize("damage", ["none of it", "cut short", "rubbish behind"])
def test_a_request_body_that_is_not_what_it_says_is_refused(encoding: str, damage: str) -> None:
    packed = CODINGS[encoding](b"some text, some text")
    body = {
        "none of it": b"no such coding",
        "cut short": packed[:-3],
        "rubbish behind": packed + b"rubbish",
    }[damage]
    if encoding == "deflate" and damage == "rubbish behind":
        assert (
            decode_body(encoding, body, 1000) == b"some text, some text"
        )  # zlib's form has one end, and nothing reads on
        return
    with pytest.raises(ProxyError) as refused:
        decode_body(encoding, body, 1000)
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")


MEMBERS = {"gzip": gzip.compress(b"", mtime=0), "zstd": zstd.compress(b"")}


@pytest.mark.parametrize("coding", MEMBERS)
def test_a_request_of_very_many_bodies_in_a_row_is_refused(coding: str) -> None:
    """Each costs microseconds of its own: a few bytes each, 32 MiB of them would be minutes in
    which nobody is served."""
    last = CODINGS[coding](b"{}")
    assert decode_body(coding, MEMBERS[coding] * 999 + last, 100) == b"{}"
    with pytest.raises(ProxyError) as refused:
        decode_body(coding, MEMBERS[coding] * 1000 + last, 100)
    assert refused.value.status == 400


@pytest.mark.parametrize("coding", MEMBERS)
def test_an_answer_may_begin_another_with_each_event_but_not_for_ever(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = decoder(coding)
    events = [b"data: %d\n\n" % number for number in range(3000)]
    assert decoded(made, [CODINGS[coding](event) for event in events]) == b"".join(events)
    monkeypatch.setattr(decoding, "_ANSWER_MEMBERS_MAX", 50)
    made = decoder(coding)
    assert len(decoded(made, [CODINGS[coding](event) for event in events])) == len(
        b"".join(events[:50])
    )
    assert made.failed


@pytest.mark.parametrize("coding", MEMBERS)
def test_what_is_handed_to_decompressors_is_little_more_than_what_came(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: given all that is left, each of many small bodies would be the cost of
    all behind it."""
    given = 0

    class Counting:
        def __init__(self, made: object) -> None:
            self.made = made

        def decompress(self, part: bytes, size: int) -> bytes:
            nonlocal given
            given += len(part)
            return self.made.decompress(part, size)  # type: ignore[attr-defined, no-any-return]

        def __getattr__(self, name: str) -> object:
            return getattr(self.made, name)

    made_by_zlib, made_by_zstd = zlib.decompressobj, zstd.ZstdDecompressor
    monkeypatch.setattr(decoding.zlib, "decompressobj", lambda bits: Counting(made_by_zlib(bits)))
    monkeypatch.setattr(
        decoding.zstd, "ZstdDecompressor", lambda options: Counting(made_by_zstd(options=options))
    )
    large = random.Random(1).randbytes(300_000)
    body = (
        b"".join(CODINGS[coding](large[:size]) for size in (0, 10, 1000, 300_000, 100) * 2)
        + MEMBERS[coding] * 900
    )
    assert decode_body(coding, body, 1 << 20) == b"".join(
        large[:size] for size in (0, 10, 1000, 300_000, 100) * 2
    )
    assert given < 2 * len(body) + 900 * 128
