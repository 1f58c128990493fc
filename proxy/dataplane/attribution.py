"""Whom a request is for beyond its key: the end user and tags that a caller names, and how an end
user is stored so that it can be erased.

What clients send here is only ever recorded: a name too long or not printable is dropped, never a
reason to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from proxy.config.settings import AttributionSettings
from proxy.core.http.headers import first

NAME_CHARS_MAX = 128


class Naming(Protocol):
    """What a request's body says about its end user: the OpenAI fields of that name."""

    @property
    def user(self) -> str | None: ...
    @property
    def safety_identifier(self) -> str | None: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


def attribute(
    settings: AttributionSettings,
    raw_headers: Sequence[tuple[bytes, bytes]],
    call: Naming | None,
) -> tuple[str | None, dict[str, str]]:
    """(end user as it came, tags kept). `call` is None for a request without a body."""
    return _end_user(settings, raw_headers, call), _tags(settings, raw_headers, call)


def _end_user(
    settings: AttributionSettings, raw_headers: Sequence[tuple[bytes, bytes]], call: Naming | None
) -> str | None:
    for source in settings.end_user:
        place, _, name = source.partition(":")
        found: str | None = None
        if place == "header":
            found = _header(raw_headers, name)
        elif call is None:
            continue
        elif name == "user":
            found = call.user
        elif name == "safety_identifier":
            found = call.safety_identifier
        else:
            found = call.metadata.get(name.removeprefix("metadata."))
        if found is not None and usable(found):
            return found
    return None


def _tags(
    settings: AttributionSettings, raw_headers: Sequence[tuple[bytes, bytes]], call: Naming | None
) -> dict[str, str]:
    tags: dict[str, str] = {}
    for source in settings.tags.from_:
        place, _, header = source.partition(":")
        given: Mapping[str, str] = {}
        if place == "header":
            text = _header(raw_headers, header)
            if text is not None:
                pairs = (pair.partition("=") for pair in text.split(","))
                given = {name.strip(): value.strip() for name, _, value in pairs}
        elif call is not None:
            given = call.metadata
        for name in settings.tags.keep:  # bounds what is read to the names that config knows
            value = given.get(name)
            if value is not None and usable(value):
                tags.setdefault(name, value)
    return tags


def _header(raw_headers: Sequence[tuple[bytes, bytes]], name: str) -> str | None:
    value = first(raw_headers, name.lower().encode())
    try:
        return None if value is None else value.decode().strip(" \t")
    except UnicodeDecodeError:
        return None


def usable(name: str) -> bool:
    """Whether a name from a client may become a row or a label: 1 to 128 printable characters."""
    return 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()
