"""API keys: which tenant a credential stands for.

It works with digests only: no credential is kept, compared as text, or put into a message.
"""

from __future__ import annotations

import datetime
import hashlib

import msgspec

from proxy.config.instants import instant_ms
from proxy.config.settings import Settings
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.headers import RawHeaders, index
from proxy.core.model_names import matches
from proxy.tenants.key import PREFIX, check

_HEADERS = (b"authorization", b"x-api-key", b"api-key")
_CHALLENGE = (("www-authenticate", "Bearer"),)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a request.

    `forwarded`: known by the digest of its credential alone, and so served only by `auth: forward`
    upstreams.
    """

    key_id: str
    team: str | None = None
    labels: dict[str, str] = {}
    models: tuple[str, ...] = ()  # globs; empty is all
    expires_at_ms: int | None = None
    forwarded: bool = False
    # the credential was minted by us (`sk-tk-…`): it must never be told to a vendor
    ours: bool = False

    def allows(self, model: str) -> bool:
        """Whether the key may call this model."""
        return not self.models or any(matches(glob, model) for glob in self.models)


class KeyRing:
    """The configured keys, looked up by the SHA-256 of what a client sends. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._support = settings.support
        self._tenants: dict[bytes, Tenant] = {}
        for key_id, key in settings.keys.items():
            digest = (
                hashlib.sha256(key.secret.encode()).digest()
                if key.secret
                else bytes.fromhex(key.secret_sha256)
            )
            if not digest:
                continue  # an empty secret disables the key; it must not match an empty credential
            team = settings.teams.get(key.team) if key.team is not None else None
            self._tenants[digest] = Tenant(
                key_id=key_id,
                team=key.team,
                labels={**(team.labels if team is not None else {}), **key.labels},
                models=key.models,
                expires_at_ms=None
                if key.expires is None
                else instant_ms(key.expires, settings.timezone),
            )

    def authenticate(self, headers: RawHeaders, now_ms: int, forward: bool) -> Tenant:
        """The tenant of a request. Raises 401, or 400 for more than one credential.

        `forward`: some upstream takes the caller's own credential, so an unknown credential is a
        tenant too (`fwd-…`). One that looks like a key of this proxy is not: it may be mistyped or
        revoked, and must not be told to the vendor.
        """
        credential = _credential(headers)
        if not credential:
            raise _refusal(
                self._support,
                "invalid_api_key",
                "No API key was sent."
                " Put the key you were given into the header `Authorization: Bearer <key>`.",
            )
        digest = hashlib.sha256(credential).digest()
        tenant = self._tenants.get(digest)
        if tenant is not None:
            if tenant.expires_at_ms is not None and now_ms >= tenant.expires_at_ms:
                day = datetime.datetime.fromtimestamp(
                    tenant.expires_at_ms / 1000, datetime.UTC
                ).strftime("%Y-%m-%d %H:%M UTC")
                raise _refusal(
                    self._support,
                    "key_expired",
                    f"The API key {tenant.key_id!r} expired on {day}. Use a newer key.",
                )
            return (
                msgspec.structs.replace(tenant, ours=True)
                if forward and credential.startswith(PREFIX.encode())
                else tenant
            )
        if credential.startswith(PREFIX.encode()):
            if not check(credential.decode("ascii", "replace")):
                raise _refusal(
                    self._support,
                    "invalid_api_key",
                    "The API key has a typo: its last six characters do not fit the rest."
                    " Copy it again, whole.",
                )
        elif forward:
            return Tenant(key_id=f"fwd-{digest.hex()[:16]}", forwarded=True)
        raise unknown_key(self._support)

    def expiries_ms(self) -> dict[str, int]:
        """When each key that expires does so, by its id."""
        return {
            tenant.key_id: tenant.expires_at_ms
            for tenant in self._tenants.values()
            if tenant.expires_at_ms is not None
        }


def unknown_key(support: str) -> ProxyError:
    """401 for a credential that no key has, or that counts only at an `auth: forward` upstream."""
    return _refusal(
        support,
        "invalid_api_key",
        "The API key is not known here."
        " Check that it is a key of this proxy, not of the vendor behind it.",
    )


def _refusal(support: str, code: str, message: str) -> ProxyError:
    ask = f" Ask {support}." if support else ""
    return ProxyError(401, "invalid_request_error", code, message + ask, headers=_CHALLENGE)


def _credential(headers: RawHeaders) -> bytes:
    """The one credential of a request, b"" if there is none; raises 400 for several."""
    found: dict[bytes, bytes] = {}
    named = index(headers)
    for name in _HEADERS:
        if name not in named:
            continue
        given = named[name]
        if len(given) > 1:
            header = name.decode()
            raise invalid_request(
                f"The header {header} was sent twice. Send one credential, once.", param=header
            )
        found[name] = given[0].strip(b" \t")
    authorization = found.get(b"authorization")
    if authorization:
        scheme, _, token = authorization.partition(b" ")
        # Another scheme is kept whole: it matches no key, and it disagrees with a key sent beside
        # it.
        found[b"authorization"] = (
            token.strip(b" \t") if scheme.lower() == b"bearer" else authorization
        )
    if len(found) == 1:
        return found.popitem()[1]
    credentials = {value for value in found.values() if value}
    if len(credentials) > 1:
        raise invalid_request(
            "Two headers carry different credentials."
            " Send one of Authorization, x-api-key and api-key.",
            param="authorization",
        )
    return credentials.pop() if credentials else b""
