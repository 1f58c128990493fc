"""Who may ask the admin plane what.

A page in an administrator's browser must not reach it, whatever it sends and whatever name it gives
this machine.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from proxy.config.settings import AdminSettings, AdminToken
from proxy.core.errors import ProxyError
from proxy.core.http.hostnames import bare, is_address

Role = Literal["admin", "viewer"]
READING = ("GET", "HEAD")


class Asker(msgspec.Struct, frozen=True):
    """Who asks: the token's name, or this machine's user at the control socket."""

    name: str
    role: Role


def check_role(asker: Asker, method: str) -> None:
    """Raises ProxyError 403 for a method that changes something, and who may only look."""
    if method not in READING and asker.role != "admin":
        raise _refused(
            403,
            "role_not_allowed",
            f"{asker.name!r} may only look: this needs a token with `role: admin`.",
        )


def usable(tokens: Mapping[str, AdminToken]) -> dict[str, AdminToken]:
    """The tokens that are not empty, by name."""
    return {name: token for name, token in tokens.items() if token.token}


def known_by(tokens: Mapping[str, AdminToken], secret: bytes) -> Asker | None:
    """Who has this secret; None: no usable token is it."""
    found: Asker | None = None
    for name, token in usable(tokens).items():  # compare all, so that the time tells nothing
        if hmac.compare_digest(token.token.encode(), secret):
            found = Asker(name, token.role)
    return found


def digest_of(token: AdminToken) -> bytes:
    """The SHA-256 of a token."""
    return hashlib.sha256(token.token.encode()).digest()


class Guard:
    """The rules of one listener.

    `settings` gives those in effect now. None is for the control socket, whose file admits only its
    owner. `host` is the listener's own name: a request may name it, one of `admin.hosts`, an
    address or localhost. So a page that had its own name point here (DNS rebinding) is refused.
    """

    def __init__(self, settings: Callable[[], AdminSettings] | None, host: str = "") -> None:
        self._settings = settings
        self._host = host.lower()

    @property
    def local(self) -> bool:
        """Whether it is the control socket's."""
        return self._settings is None

    def check(self, method: str, headers: Mapping[str, str]) -> Asker:
        """Accept the request, or raise ProxyError 401, 403 or 415.

        `headers` ignore the case of names.
        """
        if "Origin" in headers:
            raise _refused(
                403,
                "origin_refused",
                "A web page may not use the admin API: ask without an Origin header.",
            )
        asker = (
            Asker("socket", "admin")
            if self._settings is None
            else self._known(self._settings(), headers)
        )
        if method in READING:
            return asker
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise _refused(
                415,
                "unsupported_media_type",
                "Send `Content-Type: application/json`, also without a body: a web form cannot.",
            )
        if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise _refused(
                415,
                "unsupported_encoding",
                "The admin API reads no compressed bodies: send it without Content-Encoding.",
            )
        check_role(asker, method)
        return asker

    def check_host(self, host: str) -> None:
        """Raises ProxyError 403 for a name that is not this listener's."""
        hosts = () if self._settings is None else self._settings().hosts
        name = bare(host)
        own = ("localhost", self._host, *(each.lower() for each in hosts))
        if not name or not (name in own or is_address(name)):
            raise _refused(
                403,
                "host_refused",
                "This is not how the admin listener is called: use its address, localhost, the "
                "name in `admin.listen`, or one of `admin.hosts`.",
            )

    def _known(self, settings: AdminSettings, headers: Mapping[str, str]) -> Asker:
        """The token's name and role, on a listener that any process of any user can reach."""
        self.check_host(headers.get("Host", ""))
        if not usable(settings.tokens):
            raise _refused(
                403,
                "admin_disabled",
                "No token is configured: set one in `admin.tokens`, or use the command line on "
                "the proxy's machine.",
            )
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        secret = given.strip().encode("utf-8", "surrogateescape")
        found = known_by(settings.tokens, secret)
        if found is None or scheme.lower() != "bearer":
            raise _refused(
                401,
                "invalid_admin_token",
                "Send `Authorization: Bearer` with a token of `admin.tokens`.",
                (("WWW-Authenticate", "Bearer"),),
            )
        return found


def _refused(
    status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> ProxyError:
    return ProxyError(status, "invalid_request_error", code, message, headers=headers)
