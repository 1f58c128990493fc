"""Counts the tokens of any text in calls of bounded size, and extrapolates beyond a bound.

The count function is passed in. A tokenizer first cuts a text into pieces (words, numbers, runs of
signs, white space) that it encodes apart, so cutting between two pieces does not change a count.
The seams here lie between pieces for both vocabularies of `vocabulary.py`:

- before a space or a tab that follows a visible character, as white space only begins pieces;
- behind a letter or digit, before punctuation other than an apostrophe;
- behind a line end, before a letter or digit;
- between letters and digits, and after each three digits from the start of their run.

Where thousands of characters have no seam (all spaces, one emoji after the other) the cut may cost
or save a token or two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

Count = Callable[[str], int]

# Beyond about a million spaces in one call tiktoken's regular expression engine gives up with a
# panic; a call of this size takes 1 to 5 ms.
CALL_CHARS_MAX: Final = 16_384
# Some 100,000 tokens: more than that is extrapolated, so that no one keeps the counting thread for
# seconds.
EXACT_CHARS_MAX: Final = 400_000
# Text of one stream that waits to become a block, over all its choices, and the texts it may be of:
# with n = 128 choices there is no room for 16 k each.
PENDING_CHARS_MAX: Final = 4 * CALL_CHARS_MAX
PENDING_TEXTS_MAX: Final = 256

# How far back a seam is looked for: without one this takes most of a millisecond, of the loop's
# time where a stream is cut.
_SEAM_CHARS_MAX: Final = 4_096
_DIGITS: Final = "0123456789"
_SEAM: Final = (
    r"(?:(?<=\S)(?=[ \t])"
    r"|(?<=[^\W_])(?=[,.;:!?()\[\]{}<>=\"“”…、。，；：！？（）「」《》])"
    r"|(?<=[\r\n])(?=[^\W_])"
    r"|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z]))"
)
_UP_TO_LAST_SEAM = re.compile(r"(?s:.+)" + _SEAM)


def count_text(text: str, count: Count) -> int:
    """Tokens of one text; exact up to EXACT_CHARS_MAX, beyond it extrapolated."""
    return count_texts((text,), count)


def count_texts(texts: Iterable[str], count: Count) -> int:
    """Tokens of several texts, each counted for itself.

    One bound holds for all of them: many long texts take no longer than one.
    """
    seen = counted = tokens = 0
    for text in texts:
        start = 0
        while start < len(text) and counted < EXACT_CHARS_MAX:
            end = cut(text, start)
            tokens += count(text[start:end])
            counted += end - start
            start = end
        seen += len(text)
    return extrapolated(tokens, counted, seen)


def extrapolated(tokens: int, counted: int, seen: int) -> int:
    """Tokens of `seen` characters, given those of `counted` among them, rounded up."""
    return tokens if counted == seen else -(-tokens * seen // counted)


def cut(text: str, start: int) -> int:
    """Where the part for one call ends: at the last seam within CALL_CHARS_MAX, or at the end."""
    end = start + CALL_CHARS_MAX
    if end >= len(text):
        return len(text)
    return last_seam(text, start, end) or end


def last_seam(text: str, start: int, end: int) -> int | None:
    """The last place between two pieces, after `start` and at most at `end`.

    `end` must be within the text, and `start` such a place itself.
    """
    # The sign at `end` is only looked at: a seam is seen from both sides, so none is found behind
    # that sign.
    match = _UP_TO_LAST_SEAM.match(text, max(start, end - _SEAM_CHARS_MAX), end + 1)
    if match is not None:
        return match.end()
    window = text[start:end]
    before = window.rstrip(_DIGITS)
    # A run of digits is taken in threes from its start, which is the window's start if the window
    # holds nothing else.
    if len(window) - len(before) >= 3 and not (before and before[-1].isnumeric()):
        return end - (len(window) - len(before)) % 3
    return None


class TextBlocks:
    """Counts text that arrives in pieces, as blocks that can be counted and dropped.

    A stream's texts are told apart by a key, since each is encoded for itself: (choice, "content"),
    (choice, "arguments") … Blocks may be counted later and in any order. What is beyond
    EXACT_CHARS_MAX is dropped uncounted and extrapolated, so at most that much is ever held by
    blocks that wait to be counted.
    """

    __slots__ = (
        "_counted_chars",
        "_handed_chars",
        "_pending",
        "_pending_chars",
        "_seen_chars",
        "_tokens",
    )

    def __init__(self) -> None:
        self._pending: dict[object, _Pending] = {}
        self._pending_chars = 0
        self._seen_chars = 0
        self._handed_chars = 0
        self._counted_chars = 0
        self._tokens = 0

    def add(self, key: object, piece: str) -> list[str]:
        """Takes the next piece of a text. Returns the blocks that are ready: nearly always none."""
        self._seen_chars += len(piece)
        if not piece or self._handed_chars >= EXACT_CHARS_MAX:
            return []
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending()
        pending.add(piece)
        self._pending_chars += len(piece)
        if (
            pending.chars <= CALL_CHARS_MAX
            and self._pending_chars <= PENDING_CHARS_MAX
            and len(self._pending) <= PENDING_TEXTS_MAX
        ):
            return []
        return self._full(key, pending) + self._crowded()

    def finish(self) -> list[str]:
        """The ends of all texts, as the last blocks."""
        blocks = [pending.text() for pending in self._pending.values()]
        self._pending.clear()
        return self._handed(blocks)

    def counted(self, block: str, tokens: int) -> None:
        """A block that was handed out has been counted. One that could not be is just not told of,
        and is extrapolated like what was never handed out."""
        self._counted_chars += len(block)
        self._tokens += tokens

    @property
    def exact(self) -> bool:
        """Whether all text so far is counted, none of it extrapolated."""
        return self._counted_chars == self._seen_chars

    @property
    def tokens(self) -> int | None:
        """Tokens of all text so far, extrapolated to what is not counted.

        None while nothing is counted.
        """
        if self._counted_chars == 0 and self._seen_chars > 0:
            return None
        return extrapolated(self._tokens, self._counted_chars, self._seen_chars)

    @property
    def characters(self) -> int:
        """Of all text so far."""
        return self._seen_chars

    @property
    def pending_chars(self) -> int:
        """What is held, in characters: at most PENDING_CHARS_MAX after each `add`."""
        return self._pending_chars

    def _full(self, key: object, pending: _Pending) -> list[str]:
        """The blocks of one text that has more than a call's worth; its rest stays pending."""
        blocks = []
        text = pending.text()
        start = 0
        while len(text) - start > CALL_CHARS_MAX:
            end = cut(text, start)
            blocks.append(text[start:end])
            start = end
        self._pending[key] = _Pending(text[start:])
        return self._handed(blocks)

    def _crowded(self) -> list[str]:
        """Blocks that make room: the longest texts up to their last seam, or all there is if there
        are too many texts."""
        blocks = self.finish() if len(self._pending) > PENDING_TEXTS_MAX else []
        while self._pending_chars > PENDING_CHARS_MAX:
            key = max(self._pending, key=lambda key: self._pending[key].chars)
            text = self._pending.pop(key).text()
            end = last_seam(text, 0, len(text) - 1)
            if end is not None:
                self._pending[key] = _Pending(text[end:])
            blocks += self._handed([text[:end]])
        return blocks

    def _handed(self, blocks: list[str]) -> list[str]:
        """These blocks as they are handed out: those up to EXACT_CHARS_MAX."""
        handed = []
        for block in blocks:
            self._pending_chars -= len(block)
            if self._handed_chars < EXACT_CHARS_MAX:
                self._handed_chars += len(block)
                handed.append(block)
        if self._handed_chars >= EXACT_CHARS_MAX:
            self._pending.clear()
            self._pending_chars = 0
        return handed


class _Pending:
    """The text that waits under one key. Pieces are joined now and then: a thousand strings of one
    sign each take fifty times the room of the text."""

    __slots__ = ("_pieces", "chars")

    def __init__(self, text: str = "") -> None:
        self._pieces = [text]
        self.chars = len(text)

    def add(self, piece: str) -> None:
        self.chars += len(piece)
        self._pieces.append(piece)
        if len(self._pieces) >= 256:
            self.text()

    def text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]
