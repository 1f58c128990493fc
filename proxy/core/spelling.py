"""What somebody may have meant who wrote a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], alike: float = 0) -> str | None:
    """The known word most like `word`; None if there is none, or none that is so much `alike`.

    Small and capital letters are the same.
    """
    lower: dict[str, str] = {}
    for one in known:
        lower.setdefault(one.casefold(), one)
    close = difflib.get_close_matches(word.casefold(), list(lower), 1, alike)
    return lower[close[0]] if close else None
