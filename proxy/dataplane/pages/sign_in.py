"""Who looks at a page: a cookie that stands for a secret, and a bound on wrong ones.

Nothing is kept of a sign-in. The cookie names the key, or the token of an administrator, and proves
that its secret was known. It is looked at with each request, so it ends with that secret. What this
process keeps are the cookies that were signed out, until their hour is over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Final

from proxy.core.errors import ProxyError
from proxy.core.http import browser
from proxy.core.http.headers import RawHeaders
from proxy.tenants.ring import KeyRing, Tenant

COOKIE: Final = "tollkeeper_ui"
FORM_COOKIE: Final = "tollkeeper_ui_form"
PATH: Final = "/ui"  # browsers send these cookies with no other path
LASTS_S: Final = 3600
_NONCE_BYTES: Final = 16
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_PARTS: Final = 3

FAILURES_MAX: Final = 10  # wrong secrets from one address within
FAILURES_S: Final = 60
ENDED_MAX: Final = 10_000  # cookies that were signed out; beyond, the oldest are forgotten
ADDRESSES_MAX: Final = 10_000  # that have a count of their own; all further ones share one


class SignIn:
    """Makes and reads cookies and the tokens of forms. `key` signs both."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._ended: dict[bytes, int] = {}  # the proof of each, and when its hour is over

    def cookie(self, name: str, secret: bytes, now_ms: int) -> str:
        """The cookie of the holder of this name, who proved it by this secret."""
        digest, holder = hashlib.sha256(secret).digest(), name.encode()
        until_s = now_ms // 1000 + LASTS_S
        proof = self._proof(digest, holder, until_s)
        # The same holder in the same second has the same cookie: a new sign-in is good again.
        self._ended.pop(proof, None)
        return f"{until_s}.{_text(holder)}.{_text(proof)}"

    def end(self, cookie: str, now_ms: int) -> None:
        """A cookie that somebody signs out is good here no more, nor is any copy of it."""
        parts = cookie.split(".")
        proof = _bytes(parts[-1])
        if len(parts) != _PARTS or not proof:
            return
        now_s = now_ms // 1000
        self._ended = {one: until_s for one, until_s in self._ended.items() if until_s > now_s}
        if len(self._ended) >= ENDED_MAX:
            self._ended.pop(next(iter(self._ended)))
        self._ended[proof] = now_s + LASTS_S

    def holder(
        self, cookie: str, digests_of: Callable[[str], Iterable[bytes]], now_ms: int
    ) -> tuple[str, bytes] | None:
        """The name that the cookie was made for, and which of its secrets by SHA-256.

        `digests_of` gives the secrets of a name. None for a cookie that is over, or not ours.
        """
        parts = cookie.split(".")
        if len(parts) != _PARTS or not (parts[0].isascii() and parts[0].isdecimal()):
            return None
        holder, proof = _bytes(parts[1]), _bytes(parts[2])
        if holder is None or proof is None or len(parts[0]) > 12:
            return None
        until_s, name = int(parts[0]), holder.decode("utf-8", "replace")
        if not now_ms < until_s * 1000 <= now_ms + LASTS_S * 1000 or proof in self._ended:
            return None
        for digest in digests_of(name):
            if hmac.compare_digest(proof, self._proof(digest, holder, until_s)):
                return name, digest
        return None

    def tenant(self, cookie: str, keys: KeyRing, now_ms: int) -> Tenant | None:
        """Whom the cookie stands for now; None for one that is over, or not ours.

        Raises KeyRefused where its key, or the secret that it was made with, has ended.
        """
        found = self.holder(cookie, keys.digests_of, now_ms)
        return None if found is None else keys.known(found[1], now_ms)

    def nonce(self, cookie: str | None = None) -> str:
        """What the form of a browser that is not signed in is tied to: its cookie, or a new one.

        A second tab keeps the first one's form good. What we did not make is not sent back.
        """
        if cookie is not None and _NONCE.fullmatch(cookie):
            return cookie
        return secrets.token_urlsafe(_NONCE_BYTES)

    def token(self, cookie: str) -> str:
        """The token of a form of the browser that has this cookie."""
        return _text(hmac.digest(self._key, b"form:" + cookie.encode(), "sha256"))

    def check_token(self, cookie: str | None, given: str | None) -> None:
        """Raises ProxyError 403 unless the form was made for this browser."""
        if cookie and given and hmac.compare_digest(self.token(cookie).encode(), given.encode()):
            return
        message = (
            "This form is not one that was made for your browser, or it is too old; nothing was"
            " done. Open the page again. If it happens each time, let the browser take cookies from"
            " this site."
        )
        raise ProxyError(403, "invalid_request_error", "form_not_current", message)

    def _proof(self, digest: bytes, name: bytes, until_s: int) -> bytes:
        said = b"sign-in:" + digest + until_s.to_bytes(8) + name
        return hmac.digest(self._key, said, "sha256")


class WrongKeys:
    """How many wrong keys, tokens or failed sign-ins came from each address in this minute.

    Right ones do not count. Browsers behind one server in front of us share its address.
    """

    def __init__(self, what: str = "wrong keys") -> None:
        self._what = what
        self._minute = 0
        self._counts: dict[str, int] = {}

    def check(self, address: str | None, now_ms: int) -> None:
        """Raises ProxyError 429 where there were too many."""
        self._turn(now_ms)
        if self._counts.get(self._place(address), 0) < FAILURES_MAX:
            return
        wait_s = FAILURES_S - now_ms // 1000 % FAILURES_S
        message = (
            f"Too many {self._what} came from your address. Try again in {wait_s} seconds. Who is"
            " signed in stays so."
        )
        raise ProxyError(
            429,
            "requests",
            "too_many_sign_ins",
            message,
            headers=(("retry-after", str(wait_s)),),
        )

    def count(self, address: str | None, now_ms: int) -> None:
        """Counts a wrong key."""
        self._turn(now_ms)
        place = self._place(address)
        self._counts[place] = self._counts.get(place, 0) + 1

    def take_back(self, address: str | None, now_ms: int) -> None:
        """Takes one back that was counted before it was known to be right."""
        self._turn(now_ms)
        place = self._place(address)
        self._counts[place] = max(0, self._counts.get(place, 0) - 1)

    def _turn(self, now_ms: int) -> None:
        minute = now_ms // 1000 // FAILURES_S
        if minute != self._minute:
            self._minute, self._counts = minute, {}

    def _place(self, address: str | None) -> str:
        place = _network(address)
        return place if place in self._counts or len(self._counts) < ADDRESSES_MAX else ""


def set_cookie(
    headers: RawHeaders, name: str, value: str, lasts_s: int, *, site: str = "Strict"
) -> tuple[bytes, bytes]:
    """The field that sets a cookie, or takes it away with 0 seconds.

    `headers` are the request's: they say whether the browser came by https. `site`: Lax is sent,
    too, where a link of another site leads here.
    """
    secure = "; Secure" if browser.by_https(headers) else ""
    said = f"{name}={value}; Path={PATH}; Max-Age={lasts_s}; HttpOnly; SameSite={site}{secure}"
    return b"Set-Cookie", said.encode("latin-1", "replace")


def _network(address: str | None) -> str:
    """An address as it is counted: one subscriber has a whole /64 of IPv6."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    if mapped is not None:
        return str(mapped)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
