"""The query of a request target: a client may not say what the upstream's config says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from urllib.parse import unquote_plus

_SEPARATORS = re.compile("([&;])")  # some servers take the second for one too
# `name[]` and `name[x]` are `name` to some, and so is what stands before a NUL.
_END_OF_NAME = re.compile(r"[\[\0]")


def names_in(target: str) -> Iterator[str]:
    """The names of a target's parameters in lower case, as the most lenient server reads them."""
    for parameter in _SEPARATORS.split(target.partition("?")[2])[::2]:
        yield _name(parameter)


def _name(parameter: str) -> str:
    name = unquote_plus(parameter.partition("=")[0]).lstrip("?")
    return _END_OF_NAME.split(name)[0].strip().casefold()


def without(query: str, names: Collection[str]) -> str:
    """The query without the parameters of these names (given in lower case).

    Whatever their case and encoding. A server that gets a name twice may take either one. A second
    question mark at the beginning is no part of a name to some.
    """
    if not query or not names:
        return query
    kept: list[str] = []
    parts = _SEPARATORS.split(query)
    for separator, parameter in zip(["", *parts[1::2]], parts[::2], strict=True):
        if _name(parameter) not in names:
            kept += (separator, parameter)
    return "".join(kept[1:]) if kept else ""
