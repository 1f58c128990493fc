"""Whom a request is for beyond its key: the end user and the tags that a caller names.

What clients send here is never a reason to refuse by itself: a name too long or not printable is
dropped. The fields by whose values limits count are tags too (`header:x-session-id`), and of these
what is too long or not printable becomes a hash: it must not count as no value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from proxy.config.settings import AttributionSettings
from proxy.core.http.headers import RawHeaders, index
from proxy.core.limits.dimensions import header_of

NAME_CHARS_MAX = 128
HASH_CHARS = 32  # 128 bits: no two values have one
Named = Mapping[bytes, Sequence[bytes]]  # header fields by name in small letters


class Naming(Protocol):
    """What a request's body says about its end user: the OpenAI fields of that name."""

    @property
    def user(self) -> str | None: ...
    @property
    def safety_identifier(self) -> str | None: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


class Attribution:
    """Where the config looks for end users and tags, in its order."""

    def __init__(self, settings: AttributionSettings, counted: Iterable[str] = ()) -> None:
        """`counted` are the dimensions of limits, of which those of header fields are read."""
        self._counted = tuple(
            (name.encode(), dimension)
            for dimension in sorted(counted)
            if (name := header_of(dimension)) is not None
        )
        self._end_user = tuple(map(_source, settings.end_user))
        self._tags = tuple(map(_source, settings.tags.from_))
        self._keep = settings.tags.keep  # bounds what is read to the names that config knows

    def reads(self, name: bytes) -> bool:
        """Whether a header field of this name, in lower case, may say it."""
        return any(header == name for header, _ in (*self._end_user, *self._tags, *self._counted))

    def of(self, headers: RawHeaders, call: Naming | None) -> tuple[str | None, dict[str, str]]:
        """(end user as it came, tags kept). `call` is None for a request without a body, or one
        that names nobody."""
        named = index(headers)
        tags = self._tags_of(named, call) if self._keep else {}
        for header, dimension in self._counted:
            if header in named and (value := _counted_value(named[header][0])) is not None:
                tags[dimension] = value
        return self._end_user_of(named, call), tags

    def _end_user_of(self, named: Named, call: Naming | None) -> str | None:
        for header, member in self._end_user:
            found: str | None = None
            if header is not None:
                if header in named:
                    found = _text(named[header][0])
            elif call is None:
                continue
            elif member == "user":
                found = call.user
            elif member == "safety_identifier":
                found = call.safety_identifier
            else:
                found = call.metadata.get(member.removeprefix("metadata."))
            if found is not None and usable(found):
                return found
        return None

    def _tags_of(self, named: Named, call: Naming | None) -> dict[str, str]:
        tags: dict[str, str] = {}
        for header, _ in self._tags:
            given: Mapping[str, str] = {}
            if header is not None:
                text = _text(named[header][0]) if header in named else None
                if text is not None:
                    pairs = (pair.partition("=") for pair in text.split(","))
                    given = {name.strip(): value.strip() for name, _, value in pairs}
            elif call is not None:
                given = call.metadata
            for name in self._keep if given else ():
                value = given.get(name)
                if value is not None and usable(value):
                    tags.setdefault(name, value)
        return tags


def _source(text: str) -> tuple[bytes | None, str]:
    """The header field in lower case, or None and the member of the body."""
    place, _, name = text.partition(":")
    return name.lower().encode() if place == "header" else None, name


def _text(value: bytes) -> str | None:
    try:
        return value.decode().strip(" \t")
    except UnicodeDecodeError:
        return None


def names_nobody(call: Naming) -> bool:
    """Whether a body says nothing of its end user, nor tags."""
    return call.user is None and call.safety_identifier is None and not call.metadata


def _counted_value(value: bytes) -> str | None:
    """A field's value as it is booked and counted; None: there is none."""
    text = _text(value)
    if text == "":
        return None
    if text is not None and usable(text):
        return text
    return f"sha256:{hashlib.sha256(value).hexdigest()[:HASH_CHARS]}"


def usable(name: str) -> bool:
    """Whether a name from a client may become a row or a label: 1 to 128 printable characters."""
    return 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()
