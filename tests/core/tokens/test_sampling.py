"""Windows of a prompt stand for all of it, wherever its dense text lies."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.tokens.sampling import (
    PIECE_BYTES,
    WINDOW_BYTES,
    WINDOWS,
    sampled,
    unescaped,
    windows,
)
from tests.support.effort import examples

LARGE = WINDOWS * WINDOW_BYTES


@given(
    size=st.integers(0, LARGE - 1) | st.integers(LARGE, 8 * LARGE),
    cuts=st.lists(st.integers(0, 8 * LARGE), max_size=6),
    seed=st.integers(),
)
@settings(max_examples=examples(40), deadline=None)
def test_each_stretch_has_its_window_and_what_is_skipped_has_none(
    size: int, cuts: list[int], seed: int
) -> None:
    places = sorted({cut for cut in cuts if cut <= size})
    spans = list(zip(places[::2], places[1::2], strict=False))
    body = bytearray(b"a" * size)
    for start, end in spans:
        body[start:end] = b"#" * (end - start)
    kept = size - sum(end - start for start, end in spans)
    found = windows(bytes(body), spans, Random(seed).randrange)
    assert all(part and b"#" not in part for part in found)
    assert len(found) <= max(WINDOWS, LARGE // PIECE_BYTES)
    assert sum(map(len, found)) <= LARGE
    if not spans:
        assert sum(map(len, found)) == min(size, LARGE), "all of a small one"
    assert sampled(found, kept, len) == (kept, kept)


def test_windows_lie_where_nobody_knows_in_all_of_the_body() -> None:
    body = bytes(range(256)) * (8 * LARGE // 256)
    runs = [windows(body, [], Random(seed).randrange) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    numbers = b"".join(b"%08d" % number for number in range(LARGE))
    starts = [
        int(part[8 - at :][:8]) if (at := _offset(part)) else int(part[:8])
        for part in windows(numbers, [], Random(1).randrange)
    ]
    stretch = LARGE // WINDOWS
    assert [start // stretch for start in starts] == pytest.approx(list(range(WINDOWS)), abs=1)


def _offset(part: bytes) -> int:
    """How far the window begins behind the beginning of a number."""
    return next(at for at in range(8) if int(part[8 - at + 8 :][:8]) == int(part[8 - at :][:8]) + 1)


def test_blanks_count_as_some_text() -> None:
    assert sampled([b" " * 80], 800, lambda text: 1)[0] == 100
    assert sampled(["好".encode()[:2]], 2, len) == (2, 2), "nothing can be read"


@pytest.mark.parametrize("text", ['好 a\n\t"\\/', "😀", "é12", "\\u", "\x01"])
def test_json_is_read_as_what_it_stands_for(text: str) -> None:
    for ascii_only in (True, False):
        part = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
        assert unescaped(part) == (text, len(part))


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (b"597d\\u597d\\u597d", "好好"),
        (b"u597d\\u597d", "好"),
        (b"\\u597d\\u59", "好"),
        (b"\\u597d\\", "好"),
        (b"\\u597d\\ud83d", "好"),
        (b"\\ude00\\u597d", "好"),
        (b"00\\u597d\\ud83d\\ude0", "好"),
        ("好".encode()[1:] + b"a" + "好".encode()[:2], "a"),
    ],
)
def test_half_a_sign_at_an_end_is_left_out(part: bytes, text: str) -> None:
    assert unescaped(part)[0] == text


def test_what_is_cut_off_is_not_looked_at_as_if_it_held_nothing() -> None:
    for text in ("好" * 300_000, json.dumps("好" * 150_000), json.dumps("😀" * 80_000)):
        body = text.encode()
        tokens, characters = sampled(windows(body, [], Random(5).randrange), len(body), len)
        wanted = len(json.loads(text)) if text[0] == '"' else len(text)
        assert characters == pytest.approx(wanted, rel=0.002)
        assert tokens >= wanted * 0.998
