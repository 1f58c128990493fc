"""Who looks at a page of administrators: by a sign-in with a token, or by a server in front.

That server signs people in by itself and names them in `admin.trusted_header`. A header proves
nothing, so it is taken only from the addresses in `admin.trusted_from`, which are those of the
connection and of no header. From elsewhere it is refused, and not ignored: it is an attack, or the
address of that server is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from proxy.admin.auth import Asker, Role, digest_of, usable
from proxy.config.networks import is_within
from proxy.config.settings import AdminSettings, OidcSettings
from proxy.core.errors import ProxyError
from proxy.core.http import browser
from proxy.core.http.headers import RawHeaders
from proxy.core.http.visible import visible
from proxy.dataplane.pages.sign_in import SignIn

COOKIE: Final = "tollkeeper_admin"  # browsers send a cookie to every port of a host
FORM_COOKIE: Final = "tollkeeper_admin_form"
NAME_CHARS_MAX: Final = 128
_OIDC: Final = "oidc "  # before the names of those that a provider signed in
# Other servers take `_` and `.` in a header's name for `-`, so one in front may let these pass.
_LIKE_A_DASH: Final = re.compile(rb"[_.]")


class PageVisitor(msgspec.Struct, frozen=True):
    """Who looks at a page.

    seed · what the tokens of this browser's forms are made from
    nonce · the cookie that the browser has to keep for them; None: it is signed in by a cookie
    by · how it is known but for a token: the header of a server in front, or `oidc`
    """

    asker: Asker
    seed: str
    nonce: str | None = None
    by: str = ""

    @property
    def may_change(self) -> bool:
        """Whether it is shown what changes something; the admin API decides all the same."""
        return self.asker.role == "admin"

    def origin(self, address: str | None) -> str:
        """From where it gives an order, as the audit says it."""
        return " ".join(filter(None, ("page", address or "unknown", self.by)))


class Visitors:
    """Knows a browser by its request. `settings` gives those in effect now."""

    def __init__(self, sign_in: SignIn, settings: Callable[[], AdminSettings]) -> None:
        self._sign_in = sign_in
        self._settings = settings

    def of(self, headers: RawHeaders, address: str | None, now_ms: int) -> PageVisitor | None:
        """Who asks; None for a browser that has to sign in. `address`: the connection's other end.

        Raises ProxyError 403 for a trusted header that is not to be trusted.
        """
        settings = self._settings()
        cookies = browser.cookies(headers)
        name = _named(headers, settings, address)
        if name is not None:
            nonce = self._sign_in.nonce(cookies.get(FORM_COOKIE))
            asker = Asker(name, _role(name, settings.trusted_admins))
            return PageVisitor(asker, f"{nonce} {name}", nonce, settings.trusted_header or "")
        cookie = cookies.get(COOKIE)
        if cookie is None:
            return None
        tokens = usable(settings.tokens)

        def digests_of(holder: str) -> list[bytes]:
            if holder.startswith(_OIDC):
                return [sha256(oidc_secret(settings.oidc)).digest()] if settings.oidc.issuer else []
            token = tokens.get(holder)
            return [] if token is None else [digest_of(token)]

        found = self._sign_in.holder(cookie, digests_of, now_ms)
        if found is None:
            return None
        holder = found[0]
        if holder.startswith(_OIDC):
            who = holder.removeprefix(_OIDC)
            return PageVisitor(Asker(who, _role(who, settings.oidc.admins)), cookie, by="oidc")
        return PageVisitor(Asker(holder, tokens[holder].role), cookie)

    def cookie_of(self, who: str, now_ms: int) -> str:
        """The cookie of somebody whom the provider has signed in.

        It ends when the provider's settings change. A token's name has no blank.
        """
        secret = oidc_secret(self._settings().oidc)
        return self._sign_in.cookie(f"{_OIDC}{who}", secret, now_ms)


def oidc_secret(settings: OidcSettings) -> bytes:
    """What the cookies of those that the provider signed in stand for."""
    return "\n".join((settings.issuer, settings.client_id, settings.client_secret)).encode()


def _role(who: str, admins: Sequence[str]) -> Role:
    return "admin" if who in admins else "viewer"


def _named(headers: RawHeaders, settings: AdminSettings, address: str | None) -> str | None:
    """Whom the server in front names; None: it names nobody, or there is no such server."""
    if settings.trusted_header is None:
        return None
    wanted = settings.trusted_header.lower().encode()
    found, alike = [], False
    for name, value in headers:
        lower = name.lower()
        if lower == wanted:
            found.append(value)
        elif _LIKE_A_DASH.sub(b"-", lower) == _LIKE_A_DASH.sub(b"-", wanted):
            alike = True
    if not found and not alike:
        return None
    shown = settings.trusted_header
    if not is_within(address, settings.trusted_from):
        raise _refused(
            f"The header {shown} says who you are, and it came from {address}, which is not in"
            " `admin.trusted_from`. Open the page through the server that signs you in; if this is"
            " that server, its address has to be added there."
        )
    if alike or len(found) > 1:
        raise _refused(
            f"The header {shown} came more than once, or with `_` or `.` in its name. The server in"
            " front has to remove what browsers send under this name, in each of its spellings."
        )
    try:
        who = found[0].decode().strip()
    except UnicodeDecodeError as error:
        raise _refused(f"The header {shown} is not in UTF-8.") from error
    if not who or len(who) > NAME_CHARS_MAX or visible(who) != who:
        raise _refused(
            f"The header {shown} has to name somebody in 1 to {NAME_CHARS_MAX} visible characters."
        )
    return who


def _refused(message: str) -> ProxyError:
    return ProxyError(403, "invalid_request_error", "trusted_header_refused", message)
