"""Text for people, with every character that hides, moves or turns other text written out."""

from __future__ import annotations

import unicodedata
from typing import Final

# Controls, formats such as right-to-left marks, lone surrogates, private use, ends of lines.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def visible(text: str) -> str:
    """The text with each such character as `\\x1b` or `\\u202e`; a plain text is returned as is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) if _hides(char) else char for char in text)


def _hides(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN


def _shown(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
