"""What strings stand for."""

from __future__ import annotations

import pytest

from proxy.core.dialects.json_text import plain


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (rb"plain", 5),
        (rb"\u00e9\u4f60\ud83d\ude00", 2 + 3 + 4),
        (rb"\"\\\/\b\f\n\r\t", 8),
        (rb"\ud83d", 3),
        (rb"\ude00\ud83d", 6),
        (rb"\u0000\u007f\u0080\u07ff\u0800\uffff", 1 + 1 + 2 + 2 + 3 + 3),
        ("好\\n".encode(), 4),
        (b"\xff\\n", 4),
        (rb"\x", 2),
    ],
)
def test_a_string_counts_the_bytes_it_stands_for(inside: bytes, expected: int) -> None:
    assert len(plain(inside)) == expected
