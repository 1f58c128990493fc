"""What the ledger stores of an end user: nothing, the name, or a hash that can be erased."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Literal

# about 200 MB; a caller that invents a user for each request stops growing memory here
END_USERS_MAX = 1_000_000
HASH_CHARS = 32  # 128 bits: no two users of one deployment collide
SALT_BYTES = 16


class EndUsers:
    """Turns an end user into what the ledger stores.

    lookup = HMAC(lookup_key, user) finds the user's random salt, and HMAC(salt, user) is stored.
    Deleting a salt makes the user's records anonymous, although the records themselves cannot
    change. A new salt is made in memory and handed out once by `new_salts`, so that the recorder
    can store it before the first record that needs it. `salts` None: they cannot be read yet, and
    nobody is stored until they are.
    """

    def __init__(
        self,
        mode: Literal["off", "hash", "plain"],
        lookup_key: bytes,
        salts: dict[str, bytes] | None,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        users_max: int = END_USERS_MAX,
    ) -> None:
        assert lookup_key or mode != "hash", "a hash needs the deployment's key"
        self.use(mode)
        self._lookup_key = lookup_key
        self._known = salts is not None
        self._salts = dict(salts or {})
        self._new: list[tuple[str, bytes]] = []
        self._random_bytes = random_bytes
        self._users_max = users_max
        self.dropped = 0  # end users not recorded because there were too many

    def use(self, mode: Literal["off", "hash", "plain"]) -> None:
        """How the end users of requests are stored from now on."""
        self.mode = mode

    def know(self, salts: dict[str, bytes]) -> None:
        """Take the salts of a ledger that was away at the start."""
        self._salts = dict(salts)
        self._known = True

    def hash(self, end_user: str | None) -> str | None:
        """What to store for an end user; None if nothing."""
        if end_user is None or self.mode == "off":
            return None
        if self.mode == "plain":
            return end_user
        if not self._known:
            return None  # another salt would make another user of the same one
        name = end_user.encode()
        lookup = self.lookup(end_user)
        salt = self._salts.get(lookup)
        if salt is None:
            if len(self._salts) >= self._users_max:
                self.dropped += 1
                return None
            salt = self._random_bytes(SALT_BYTES)
            self._salts[lookup] = salt
            self._new.append((lookup, salt))
        return hmac.digest(salt, name, "sha256").hex()[:HASH_CHARS]

    def lookup(self, end_user: str) -> str:
        """Under what the ledger keeps the salt of this end user."""
        return lookup_of(self._lookup_key, end_user)

    def forget(self, end_user: str) -> bool:
        """Drop the salt of this end user: the next request makes another one.

        True if it was a new one, which `new_salts` has not handed out. One that it has may still be
        on its way into the ledger.
        """
        lookup = self.lookup(end_user)
        self._salts.pop(lookup, None)
        kept = [pair for pair in self._new if pair[0] != lookup]
        was_new = len(kept) < len(self._new)
        self._new = kept
        return was_new

    def salt(self, end_user: str) -> bytes | None:
        """The salt of this end user now; None: there is none."""
        return self._salts.get(self.lookup(end_user))

    def store_again(self, end_user: str) -> None:
        """Hand this end user's salt out once more, as the ledger may not have taken it."""
        lookup = self.lookup(end_user)
        if (salt := self._salts.get(lookup)) is not None:
            self._new.append((lookup, salt))

    def store_missing(self, salts: dict[str, bytes]) -> None:
        """Hand out again what is not among these, which are all that the ledger has."""
        on_their_way = {lookup for lookup, _ in self._new}
        self._new += [
            pair
            for pair in self._salts.items()
            if pair[0] not in salts and pair[0] not in on_their_way
        ]

    def new_salts(self) -> list[tuple[str, bytes]]:
        """The (lookup, salt) pairs made since the last call: the caller stores them."""
        new, self._new = self._new, []
        return new


def lookup_of(lookup_key: bytes, end_user: str) -> str:
    """Under what the ledger keeps the salt of this end user; `lookup_key` is the ledger's key."""
    return hmac.digest(lookup_key, end_user.encode(), "sha256").hex()[:HASH_CHARS]
