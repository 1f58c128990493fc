"""Where a Valkey or Redis server is, and how to sign in: `valkey://user:password@host:6379/0`."""

from __future__ import annotations

import re
import ssl
from urllib.parse import unquote

import msgspec

PORT = 6379
_TLS = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
_PLACE = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/(?P<database>[0-9]{1,4})?)?"
)
_EXPECTED = (
    "expected valkey://[user]:[password]@host[:port][/database], or valkeys:// for TLS;"
    " redis:// and rediss:// mean the same"
)


class Address(msgspec.Struct, frozen=True):
    """One server. `user` None: the default user; `password` None: nobody signs in."""

    host: str
    port: int
    database: int
    tls: bool
    user: str | None
    password: str | None

    def __str__(self) -> str:
        """The address without the password, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'valkeys' if self.tls else 'valkey'}://{host}:{self.port}/{self.database}"

    __repr__ = __str__

    def at(self, host: str, port: int) -> Address:
        """The same at another node."""
        return msgspec.structs.replace(self, host=host, port=port)

    def security(self) -> ssl.SSLContext | None:
        """What TLS checks: the certificate and the host's name; None: no TLS."""
        return ssl.create_default_context() if self.tls else None


def address(url: str) -> Address:
    """The address that a URL names. Raises ValueError, which never quotes the URL.

    The password ends at the last `@`, so that one with `@`, `/`, `#` or `?` needs no escapes. A `%`
    and two hexadecimal digits are an escape; a `%` that is meant is written `%25`.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _TLS:
        raise ValueError(_EXPECTED)
    signing, at, place = rest.rpartition("@")
    found = _PLACE.fullmatch(place)
    if found is None or not 0 < int(found["port"] or PORT) <= 65_535:
        raise ValueError(_EXPECTED)
    user, colon, password = signing.partition(":")
    if at and not colon:
        raise ValueError(f"{_EXPECTED}; a password stands behind a colon")
    return Address(
        host=found["host"].strip("[]"),
        port=int(found["port"] or PORT),
        database=int(found["database"] or 0),
        tls=_TLS[scheme],
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
    )
