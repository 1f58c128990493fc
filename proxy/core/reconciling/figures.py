"""Numbers as people's and programs' files write them, read exactly.

A number is digits and a power of ten, so that no fraction is lost and no float is on the way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import msgspec

from proxy.core.money import NANO_DIGITS

_CHARS_MAX: Final = 200  # of a number; the longest seen has 6,000 places, and is zero
_PLACES_MAX: Final = 60
_NUMBER: Final = re.compile(
    r"(?P<sign>[-+]?)(?P<digits>[0-9.,]*[0-9][0-9.,]*)(?:e(?P<power>[-+]?[0-9]+))?"
)
# Signs and codes of currencies around a number; a unit word stands behind it.
_CODES: Final = (
    "usd cny eur gbp jpy inr krw brl cad aud chf sek nok dkk pln hkd sgd twd nzd mxn aed rmb"
).split()
_SIGNS: Final[Mapping[str, str]] = {"€": "EUR", "£": "GBP", "₹": "INR", "元": "CNY"}
_SIGN: Final = f"(?:{'|'.join(_CODES)}|(?:us|cn|ca|a|c|nz|hk|s|r)?[$¥€£₹]|kr)"
_AROUND: Final = re.compile(rf"^{_SIGN}|(?:\s*{_SIGN}|元|tokens?)$")
_CODE: Final = re.compile(rf"\b(?:{'|'.join(_CODES)})\b|[€£₹元]", re.IGNORECASE)
_GROUPS: Final = re.compile(r"[1-9][0-9]{0,2}(?:[.,][0-9]{3})+")
# Whole digits in groups of three, or in India's of two before the last three.
_WHOLE: Final = re.compile(
    r"[1-9][0-9]{0,2}(?:,[0-9]{3})*|[1-9][0-9]{0,2}(?:\.[0-9]{3})*|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}|"
    r"[0-9]*"
)
# What stands between groups of digits beside the comma and the point.
_BETWEEN: Final = re.compile(r"(?<=[0-9])[\s'’_](?=[0-9]{3}(?![0-9]))")
_PLAIN: Final = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,18}))?(?<!\.[0-9]{3})")
_MINUS: Final = str.maketrans({"−": "-", "–": "-", "﹣": "-"})


class Figure(msgspec.Struct, frozen=True, gc=False):
    """An exact decimal: `number` divided by ten to the power of `places`, which is at least 0."""

    number: int
    places: int

    def nano(self, divisor: int = 1) -> int:
        """The amount in nano-units where the figure counts `divisor`-ths of a unit.

        It is rounded once, halves away from zero.
        """
        top: int = abs(self.number) * 10**NANO_DIGITS
        bottom: int = divisor * 10**self.places
        rounded = (2 * top + bottom) // (2 * bottom)
        return -rounded if self.number < 0 else rounded

    def whole(self) -> int:
        """The whole number that it is. Raises ValueError for a fraction."""
        parts: int = 10**self.places
        number, rest = divmod(self.number, parts)
        if rest:
            raise ValueError("is no whole number")
        return number


def figure(text: str, *, comma: bool = False) -> Figure:
    """The number in a cell.

    It may have separators of thousands, an exponent, a sign of its currency, brackets or a minus
    behind it for a negative one. `comma`: a lone comma is the decimal mark, as in files whose
    columns a semicolon separates.

    Raises ValueError with the end of a sentence.
    """
    if (plain := _PLAIN.fullmatch(text)) is not None:  # most cells are so
        digits, decimals = plain.groups("")
        return Figure(int(digits + decimals), len(decimals))
    said, minus = bare_number(text)
    match = _NUMBER.fullmatch(said)
    if match is None:
        raise ValueError("is no number")
    minus += match["sign"] == "-"
    if minus > 1:
        raise ValueError("is no number")
    whole, fraction = _parted(match["digits"], comma)
    number, places = int(whole + fraction), len(fraction)
    if number == 0:
        return Figure(0, 0)
    power = int(match["power"] or 0)
    if abs(power) > _PLACES_MAX or places - power > _PLACES_MAX or len(whole) > _PLACES_MAX:
        raise ValueError("is beyond what a bill can say")
    places -= power
    if places < 0:
        number, places = number * 10**-places, 0
    return Figure(-number if minus else number, places)


def converted(nano: int, rate: Fraction) -> int:
    """An amount at a rate, rounded once, halves away from zero."""
    top, bottom = abs(nano) * rate.numerator, rate.denominator
    found: int = (2 * top + bottom) // (2 * bottom)
    return -found if nano < 0 else found


def sign_of(text: str) -> str | None:
    """The currency that a cell names beside its number; None if it names none, or `$` or `¥`.

    These two are the signs of several currencies.
    """
    match = _CODE.search(text)
    if match is None:
        return None
    said = match[0].upper()
    return _SIGNS.get(said, "CNY" if said == "RMB" else said)


def bare_number(text: str) -> tuple[str, int]:
    """(a number's digits and marks without what stands around them, how many minus signs it has).

    Raises ValueError with the end of a sentence.
    """
    said = unicodedata.normalize("NFKC", text).translate(_MINUS).strip().casefold()
    if len(said) > _CHARS_MAX:
        raise ValueError("is too long for a number")
    if not text.isascii() and any(map(_is_raised, text)):
        raise ValueError("is no number with a footnote's mark behind it")
    said = said.removeprefix("=").strip("\"'` ")
    minus = int(said.startswith("(") and said.endswith(")"))
    said = (said[1:-1] if minus else said).strip()
    for sign, without in ((said.endswith("-"), said[:-1]), (said.startswith("-"), said[1:])):
        minus, said = minus + sign, (without if sign else said).strip()
    return _BETWEEN.sub("", _AROUND.sub("", said).strip()), minus


def _is_raised(char: str) -> bool:
    """Whether it would become a digit of the number that it stands beside: `5²` is not 52."""
    return unicodedata.decomposition(char).startswith(("<super>", "<sub>"))


def _parted(digits: str, comma: bool) -> tuple[str, str]:
    """(whole, fraction) of digits with points and commas among them."""
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        mark = max(".", ",", key=digits.rfind)
    elif commas == 1:
        mark = "," if comma or not _GROUPS.fullmatch(digits) else ""
    elif points == 1:
        mark = "" if comma and _GROUPS.fullmatch(digits) else "."
    else:
        mark = ""
    whole, _, fraction = digits.rpartition(mark) if mark else (digits, "", "")
    if _WHOLE.fullmatch(whole) is None or not (fraction.isdigit() or fraction == ""):
        raise ValueError("has separators in places where no number has them")
    return whole.replace(",", "").replace(".", ""), fraction
