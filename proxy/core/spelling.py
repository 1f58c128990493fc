"""What somebody may have meant who wrote a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], alike: float = 0) -> str | None:
    """The known word most like `word`; None if there is none, or none that is so much `alike`."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, alike)), None)
