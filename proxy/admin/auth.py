"""Who may ask the admin plane what.

A page in an administrator's browser must not reach it, whatever it sends and whatever name it gives
this machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from proxy.config.settings import AdminToken
from proxy.core.errors import ProxyError
from proxy.core.http.hostnames import bare, is_address

Role = Literal["admin", "viewer"]
READING = ("GET", "HEAD")


class Asker(msgspec.Struct, frozen=True):
    """Who asks: the token's name, or this machine's user at the control socket."""

    name: str
    role: Role


class Guard:
    """The rules of one listener.

    `tokens` gives the tokens in effect now, by name. None is for the control socket, whose file
    admits only its owner. `host` is the listener's own name: a request may name it, an address or
    localhost. So a page that had its own name point here (DNS rebinding) is refused.
    """

    def __init__(
        self, tokens: Callable[[], Mapping[str, AdminToken]] | None, host: str = ""
    ) -> None:
        self._tokens = tokens
        self._host = host.lower()

    @property
    def local(self) -> bool:
        """Whether it is the control socket's."""
        return self._tokens is None

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
            if self._tokens is None
            else self._known(self._tokens(), headers)
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
        if asker.role != "admin":
            raise _refused(
                403,
                "role_not_allowed",
                f"The token {asker.name!r} may only look: this needs one with `role: admin`.",
            )
        return asker

    def _known(self, tokens: Mapping[str, AdminToken], headers: Mapping[str, str]) -> Asker:
        """The token's name and role, on a listener that any process of any user can reach."""
        if not self._is_ours(headers.get("Host", "")):
            raise _refused(
                403,
                "host_refused",
                "This is not how the admin listener is called: use its address, localhost, or the "
                "name in `admin.listen`.",
            )
        usable = {name: token for name, token in tokens.items() if token.token}
        if not usable:
            raise _refused(
                403,
                "admin_disabled",
                "No token is configured: set one in `admin.tokens`, or use the command line on "
                "the proxy's machine.",
            )
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        found: Asker | None = None
        secret = given.strip().encode("utf-8", "surrogateescape")
        for name, token in usable.items():  # compare all, so that the time tells nothing
            if hmac.compare_digest(token.token.encode(), secret) and scheme.lower() == "bearer":
                found = Asker(name, token.role)
        if found is None:
            raise _refused(
                401,
                "invalid_admin_token",
                "Send `Authorization: Bearer` with a token of `admin.tokens`.",
                (("WWW-Authenticate", "Bearer"),),
            )
        return found

    def _is_ours(self, host: str) -> bool:
        name = bare(host)
        return bool(name) and (name in ("localhost", self._host) or is_address(name))


def _refused(
    status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> ProxyError:
    return ProxyError(status, "invalid_request_error", code, message, headers=headers)
