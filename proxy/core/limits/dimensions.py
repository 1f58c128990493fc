"""What a limit may count apart: each end user, each value of a tag, each value of a header field.

Such as "5 USD/day per end_user": each value has a count of its own. Values are taken as a record
holds them, so that counts can be rebuilt from the book, and no value is ever normalised: two
spellings are two values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

END_USER = "end_user"
MISSING = ""  # stands for the requests that name no value: they share a count
OTHERS = "\n"  # stands for all values beyond a store's bound; no caller can name it
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a header field's name (RFC 9110)
_FORM = re.compile(rf"end_user|tag:[^\s,=]{{1,64}}|header:{_TOKEN}")
# Fields that hold secrets, or what this proxy writes itself.
_NOT_COUNTED = frozenset(
    ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key")
)


def dimension(text: str) -> str:
    """The dimension that a text names, a header's name in small letters.

    Raises ValueError with a sentence that says what is expected.
    """
    if not _FORM.fullmatch(text):
        raise ValueError("expected end_user, tag:NAME or header:NAME behind per")
    if not text.startswith("header:"):
        return text
    name = text.removeprefix("header:").lower()
    if name in _NOT_COUNTED:
        raise ValueError(
            f"expected a header without a secret, since its values are booked: not {name}"
        )
    return f"header:{name}"


def tag_of(dimension: str) -> str:
    """The tag of a record that holds the dimension's value; a header's has its whole name."""
    return dimension.removeprefix("tag:")


def header_of(dimension: str | None) -> str | None:
    """The header field whose values it counts, if it does."""
    if dimension is None or not dimension.startswith("header:"):
        return None
    return dimension.removeprefix("header:")


def value_of(dimension: str, end_user: str | None, tags: Mapping[str, str]) -> str:
    """The value that a request counts for, as its record holds it."""
    value = end_user if dimension == END_USER else tags.get(tag_of(dimension))
    return MISSING if value is None else value
