"""No cut of an answer into chunks lets a key through, and nothing else of it changes."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.masking import WATCHED_BYTES_MAX, Mask, Masking, Watch

KEY = "sk-live/abababac+9"
MASKING = Masking([KEY, "short"])


def through(masking: Masking, chunks: list[bytes]) -> bytes:
    mask = Mask(masking)
    return b"".join([*map(mask.feed, chunks), mask.last(b"")])


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        KEY.replace("/", "\\/"),
        "sk-live%2Fabababac%2B9",
        KEY.replace("+", "\\u002B"),
        KEY.replace("+", "\\u002b"),
        KEY.encode().hex(),
        KEY.encode().hex().upper(),
    ],
)
def test_each_form_is_masked_at_every_cut(form: str) -> None:
    whole = f'data: {{"error":"Incorrect key {form}{form} sk-live"}}\n\n'.encode()
    expected = whole.replace(form.encode(), b"*" * len(form))
    assert b"short" in through(MASKING, [b"short"])
    for cut in range(len(whole)):
        assert through(MASKING, [whole[:cut], whole[cut:]]) == expected
        mask = Mask(MASKING)
        assert mask.feed(whole[:cut]) + mask.last(whole[cut:]) == expected
    assert through(MASKING, [bytes([byte]) for byte in whole]) == expected


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"u", b"us", b"user:", b"Bearer "])
@pytest.mark.parametrize("behind", [b"", b"x", b"\n"])
def test_base64_of_a_key_tells_nothing_of_it(encode, before: bytes, behind: bytes) -> None:
    """Only what stands before and behind it, and the letters that it shares with these, is left."""
    secret = "sk-live/abababac\xff\xfe9"
    encoded = encode(before + secret.encode("latin-1") + behind)
    masked = through(Masking([secret]), [b'{"error":"', encoded[:7], encoded[7:], b'"}'])
    left = masked[10:-2]
    assert len(left) == len(encoded)
    assert left.count(b"*") >= len(secret) * 8 // 6 - 1


@given(st.lists(st.text("skab-", max_size=12), max_size=8))
def test_it_does_what_one_replacement_of_the_whole_does(parts: list[str]) -> None:
    masking = Masking(["sk-ababab"])
    chunks = [part.encode() for part in parts]
    assert through(masking, chunks) == b"".join(chunks).replace(b"sk-ababab", b"*" * 9)


def test_nothing_waits_where_an_event_ends() -> None:
    mask = Mask(MASKING)
    event = b'data: {"choices":[{"delta":{"content":"sk-"}}]}\n\n'
    assert mask.feed(event) is event


@pytest.mark.parametrize("secrets", [[], ["k"], ["EMPTY"], ["not-needed"], ["sk-no-key-required"]])
def test_what_is_no_secret_is_not_looked_for(secrets: list[str]) -> None:
    masking = Masking(secrets)
    assert not masking
    assert (
        masking.masked(b"this is not-needed: EMPTY sk-no-key-required")
        == b"this is not-needed: EMPTY sk-no-key-required"
    )


def test_a_key_in_a_compressed_answer_is_found_wherever_the_chunks_end() -> None:
    packed = gzip.compress(f'{{"error":"Incorrect key {KEY}"}}'.encode())
    for cut in range(len(packed)):
        watch = Watch(MASKING, "gzip")
        assert watch.finds(packed[:cut]) or watch.finds(packed[cut:])
    watch = Watch(MASKING, "gzip")
    assert any(watch.finds(packed[at : at + 1]) for at in range(len(packed)))


def test_what_cannot_be_decoded_or_is_long_passes() -> None:
    assert not Watch(MASKING, "gzip").finds(KEY.encode())
    assert not Watch(MASKING, "what").finds(KEY.encode())
    watch = Watch(MASKING, "identity")
    assert not watch.finds(b"x" * (WATCHED_BYTES_MAX + 1)) and not watch.finds(KEY.encode())


@pytest.mark.parametrize(
    ("secrets", "bytes_max"),
    [
        (["sk-0123456789"], 12),
        ([], 0),
        (["short"], 0),
        (['sk-"0123456789'], 0),
        (["a\r\nbcdefgh"], 0),
    ],
)
def test_how_long_a_string_is_never_a_secret(secrets: list[str], bytes_max: int) -> None:
    """None that has a quote in it can be told from what is around it."""
    assert Masking(secrets).string_bytes_max == bytes_max


def test_no_string_is_let_past_while_a_secret_may_be_under_way_or_once_one_was_found() -> None:
    mask = Mask(MASKING)
    assert mask.string_bytes_max == MASKING.string_bytes_max > 0
    mask.feed(b"sk-live")
    assert mask.string_bytes_max == 0
    mask.feed(b" is no key")
    assert mask.string_bytes_max > 0
    mask.feed(KEY.encode() + b" is one")
    assert mask.found and mask.string_bytes_max == 0
