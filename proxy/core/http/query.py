"""The query of a request target: what a client may not say because the upstream's config says it."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote_plus

_SEPARATORS = re.compile("([&;])")  # some servers take the second for one too


def without(query: str, names: Collection[str]) -> str:
    """The query without the parameters of these names (given in lower case), whatever their case and however they are encoded.

    A server that gets a name twice may take either one. `name[]` and `name[x]` go too: to some the name ends at the bracket.
    """
    if not query or not names:
        return query
    kept: list[str] = []
    parts = _SEPARATORS.split(query)
    for separator, parameter in zip(["", *parts[1::2]], parts[::2], strict=True):
        name = unquote_plus(parameter.partition("=")[0]).partition("[")[0].strip().casefold()
        if name not in names:
            kept += (separator, parameter)
    return "".join(kept[1:]) if kept else ""
