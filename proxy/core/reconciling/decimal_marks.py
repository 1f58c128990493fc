"""Which sign is the decimal mark in a file, told from the numbers that leave no choice.

`1.234` is one and a bit or a thousand and more, by the country of the program that wrote it. A file
has one habit, and `0.5` or `1.234,56` beside it tell which.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.core.reconciling.figures import bare_number

# Three digits behind a single sign, and no 0 alone before it: either mark would do.
_EITHER: Final = re.compile(r"[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}")


class DecimalMark:
    """The decimal mark of one file. `known`: it is told, and is not to be found.

    `usual` is what such files mostly have: a point, or a comma where semicolons separate columns.
    """

    def __init__(self, usual: str = ".", known: str | None = None) -> None:
        self._usual = usual if known is None else known
        self._known = known is not None
        self._proved: set[str] = set()
        # How numbers were read that have two meanings, and the first of them with its line.
        self._read: set[str] = set()
        self._first: tuple[str, int] | None = None
        # The first with the sign that is not the usual mark.
        self._doubtful: tuple[str, int] | None = None

    def look(self, text: str) -> None:
        """Notes what a number proves, before it is read."""
        if not self._known and ("," in text or "." in text):
            self._proved |= _proof(text)

    def comma(self, text: str, number: int) -> bool:
        """Whether a comma is the decimal mark of the number in a cell on line `number`.

        Raises ValueError with the end of a sentence where the file has it both ways.
        """
        if self._known or ("," not in text and "." not in text):
            return self._usual == ","
        # Nearly every number of nearly every file, and none that has two meanings.
        if self._proved == {"."} and "," not in text and text[-4:-3] != ".":
            return False
        proof = _proof(text)
        mark = self._usual
        if proof:
            self._proved |= proof
        else:
            if len(self._proved) == 1:
                [mark] = self._proved
            self._read.add(mark)
            self._first = self._first or (text, number)
            if self._usual not in text:
                self._doubtful = self._doubtful or (text, number)
        against = self._read - self._proved or len(self._proved) > 1
        if self._first is not None and self._proved and against:
            raise ValueError(_told(*self._first))
        return mark == ","

    def check(self) -> None:
        """Raise ValueError where a number had two meanings, and no other one tells which."""
        if self._doubtful is not None and not self._proved:
            raise ValueError(_told(*self._doubtful))


def _proof(text: str) -> set[str]:
    """The decimal mark that a number proves; empty if it proves none."""
    try:
        digits, _ = bare_number(text)
    except ValueError:
        return set()
    digits, _, power = digits.partition("e")
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        return {max(".", ",", key=digits.rfind)}
    if points + commas == 1 and (power or _EITHER.fullmatch(digits) is None):
        return {"." if points else ","}
    if points > 1 or commas > 1:
        return {"," if points else "."}
    return set()


def _told(text: str, number: int) -> str:
    return (
        f"has two meanings: thousands, or a fraction ({text[:60]!r} on line {number}). Say which "
        """with `decimal: "."` or `decimal: ","` in a --mapping"""
    )
