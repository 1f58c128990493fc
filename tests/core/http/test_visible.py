"""What hides in a text is written out; all else stays."""

import pytest

from proxy.core.http.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpt-4o", "gpt-4o"),
        ("通义千问 é 🙂", "通义千问 é 🙂"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("ab\u202ecd", "ab\\u202ecd"),
        ("\u200b\u2066x\u2069", "\\u200b\\u2066x\\u2069"),
        ("a\nb\u2028c", "a\\nb\\u2028c"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\ufeff", "\\ufeff"),
    ],
)
def test_no_character_hides_moves_or_turns_others(text: str, shown: str) -> None:
    assert visible(text) == shown
    shown.encode()
