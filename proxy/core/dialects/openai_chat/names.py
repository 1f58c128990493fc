"""Member names as the most lenient reader of an upstream may read them."""

from __future__ import annotations

import unicodedata


def squeezed(name: str) -> str:
    """Letters and digits alone, without case: two names that come to the same may be one name for somebody.

    Go matches names without case; readers in C stop at a NUL; Google's accept `maxTokens` for `max_tokens`; some trim blanks.
    """
    plain = name.partition("\0")[0]
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain)
    plain = plain.replace("_", "").casefold()
    return plain if plain.isalnum() else "".join(filter(str.isalnum, plain))
