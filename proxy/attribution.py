"""Whom a request is for beyond its key: the end user and tags that a caller names, and how an end user is stored so that it can be erased.

What clients send here is only ever recorded: a name too long or not printable is dropped, never a reason to refuse.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from proxy.settings import AttributionSettings

NAME_CHARS_MAX = 128
END_USERS_MAX = 1_000_000  # about 200 MB; a caller that invents a user for each request stops growing memory here
HASH_CHARS = 32            # 128 bits: no two users of one deployment collide
SALT_BYTES = 16


class Naming(Protocol):
    """What a request's body says about its end user: the OpenAI fields of that name."""

    @property
    def user(self) -> str | None: ...
    @property
    def safety_identifier(self) -> str | None: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


def attribute(
    settings: AttributionSettings, raw_headers: Sequence[tuple[bytes, bytes]], call: Naming | None,
) -> tuple[str | None, dict[str, str]]:
    """(end user as it came, tags kept). `call` is None for a request without a body."""
    return _end_user(settings, raw_headers, call), _tags(settings, raw_headers, call)


def _end_user(settings: AttributionSettings, raw_headers: Sequence[tuple[bytes, bytes]], call: Naming | None) -> str | None:
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


def _tags(settings: AttributionSettings, raw_headers: Sequence[tuple[bytes, bytes]], call: Naming | None) -> dict[str, str]:
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
    wanted = name.lower().encode()
    for header, value in raw_headers:
        if len(header) == len(wanted) and header.lower() == wanted:
            try:
                return value.decode().strip(" \t")
            except UnicodeDecodeError:
                return None
    return None


def usable(name: str) -> bool:
    """Whether a name from a client may become a row or a label: 1 to 128 printable characters."""
    return 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()


class EndUsers:
    """Turns an end user into what the ledger stores: nothing, the name, or a hash that can be erased.

    lookup = HMAC(lookup_key, user) finds the user's random salt, and HMAC(salt, user) is stored. Deleting a salt makes the user's records
    anonymous, although the records themselves cannot change. A new salt is made in memory and handed out once by `new_salts`, so that the
    recorder can store it before the first record that needs it.
    """

    def __init__(
        self,
        mode: Literal["off", "hash", "plain"],
        lookup_key: bytes,
        salts: dict[str, bytes],
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        users_max: int = END_USERS_MAX,
    ) -> None:
        assert lookup_key or mode != "hash", "a hash needs the deployment's key"
        self.mode = mode  # a reload may change it: for the requests from then on
        self._lookup_key = lookup_key
        self._salts = dict(salts)
        self._new: list[tuple[str, bytes]] = []
        self._random_bytes = random_bytes
        self._users_max = users_max
        self.dropped = 0  # end users not recorded because there were too many

    def hash(self, end_user: str | None) -> str | None:
        """What to store for an end user; None if nothing."""
        if end_user is None or self.mode == "off":
            return None
        if self.mode == "plain":
            return end_user
        name = end_user.encode()
        lookup = hmac.digest(self._lookup_key, name, "sha256").hex()[:HASH_CHARS]
        salt = self._salts.get(lookup)
        if salt is None:
            if len(self._salts) >= self._users_max:
                self.dropped += 1
                return None
            salt = self._random_bytes(SALT_BYTES)
            self._salts[lookup] = salt
            self._new.append((lookup, salt))
        return hmac.digest(salt, name, "sha256").hex()[:HASH_CHARS]

    def new_salts(self) -> list[tuple[str, bytes]]:
        """The (lookup, salt) pairs made since the last call: the caller stores them."""
        new, self._new = self._new, []
        return new
