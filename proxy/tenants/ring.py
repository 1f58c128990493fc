"""API keys: which tenant a credential stands for.

It works with digests only: no credential is kept, compared as text, or put into a message.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from proxy.config.instants import instant_ms
from proxy.config.settings import KeySettings
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.headers import RawHeaders, index
from proxy.core.managed import FORWARDED, KeySecret, Managed, State, TenantKind
from proxy.core.model_names import matches
from proxy.tenants.directory import Directory, said
from proxy.tenants.key import PREFIX, check

_HEADERS = (b"authorization", b"x-api-key", b"api-key")
# Why a key that is known is not let through: the error's code, and what the message says of it.
_ENDS = {
    State.SUSPENDED: ("key_suspended", "is suspended. Its operator can let it go on"),
    State.REVOKED: ("key_revoked", "was revoked. Use another key"),
    "expired": ("key_expired", "expired on {}. Use a newer key"),
    "replaced": ("key_revoked", "has another secret now. Use that one"),
    "rotated": ("key_revoked", "got a new secret, and this one ended on {}. Use the new one"),
}
_CHALLENGE = (("www-authenticate", "Bearer"),)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a request.

    `forwarded`: known by the digest of its credential alone, and so served only by `auth: forward`
    upstreams.
    """

    key_id: str
    team: str | None = None
    labels: dict[str, str] = {}
    models: tuple[str, ...] = ()  # globs of the key; empty is all that its team may call
    team_models: tuple[str, ...] = ()  # of its team; empty is all
    expires_at_ms: int | None = None
    rotated: bool = False  # `expires_at_ms` is when the secret stops that a newer one replaced
    closed: tuple[str, str] | None = None  # why it is not let through: the error's code, and words
    lead: bool = False  # it may read what its whole team uses
    forwarded: bool = False
    # the credential was minted by us (`sk-tk-…`): it must never be told to a vendor
    ours: bool = False

    @property
    def restricted(self) -> bool:
        """Whether there are models that the key may not call."""
        return bool(self.models or self.team_models)

    @property
    def may_call(self) -> str:
        """The models that the key may call, in words; all of them where it is not restricted."""
        own, teams = ", ".join(self.models), ", ".join(self.team_models)
        return f"{own} (as far as its team may: {teams})" if own and teams else own or teams

    def allows(self, model: str) -> bool:
        """Whether the key may call this model: its team may, and it itself."""
        return all(
            not globs or any(matches(glob, model) for glob in globs)
            for globs in (self.models, self.team_models)
        )


class KeyRing:
    """The known keys, looked up by the SHA-256 of what a client sends. Immutable."""

    def __init__(self, directory: Directory) -> None:
        self._support = directory.settings.support
        self._tenants: dict[bytes, Tenant] = {}
        self._digests: dict[str, tuple[bytes, ...]] = {}  # of each key
        for name in directory.config.keys:
            self._put(directory, name)
        for kind, name in directory.rows:
            if kind is TenantKind.KEY and name not in self._digests:
                self._put(directory, name)

    def changed(self, directory: Directory, names: Iterable[str]) -> KeyRing:
        """Another ring, in which these keys are as the directory has them now."""
        new = copy.copy(self)
        new._put_again(directory, names)
        return new

    def _put_again(self, directory: Directory, names: Iterable[str]) -> None:
        # The ring that this one is a copy of stays as it was.
        self._tenants, self._digests = self._tenants.copy(), self._digests.copy()
        for name in names:
            for digest in self._digests.pop(name, ()):
                self._tenants.pop(digest, None)
            self._put(directory, name)

    def _put(self, directory: Directory, name: str) -> None:
        found = _tenants_of(directory, name)
        self._tenants |= found
        self._digests[name] = tuple(found)

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
        tenant = self.known(digest, now_ms)
        if tenant is not None:
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
            return Tenant(key_id=f"{FORWARDED}{digest.hex()[:16]}", forwarded=True)
        raise KeyUnknown(self._support)

    def known(self, digest: bytes, now_ms: int) -> Tenant | None:
        """The tenant of the secret with this SHA-256; None for a secret that no key has.

        Raises KeyRefused where the key, or this secret of it, is not let through any more.
        """
        tenant = self._tenants.get(digest)
        if tenant is not None and (
            tenant.closed is not None
            or (tenant.expires_at_ms is not None and now_ms >= tenant.expires_at_ms)
        ):
            raise self._refused(tenant)
        return tenant

    def digests_of(self, name: str) -> Sequence[bytes]:
        """The SHA-256 of each secret that this key has or had; empty for an unknown key."""
        return self._digests.get(name, ())

    def refusal_of(self, name: str, now_ms: int | None = None) -> ProxyError | None:
        """What a key is told that is not let through any more, whatever its secret; None: it is.

        With a time, a key that has expired by then is not let through either.
        """
        digests = self._digests.get(name)
        if digests:
            tenant = self._tenants[digests[0]]
            ends_ms = tenant.expires_at_ms
            ended = now_ms is not None and ends_ms is not None and ends_ms <= now_ms
            return None if tenant.closed is None and not ended else self._refused(tenant)
        if name.startswith(FORWARDED):
            return None  # it is known by its own credential alone
        message = f"The API key {name!r} is not in use any more. Use another key."
        return _refusal(self._support, "key_revoked", message)

    def was_closed(self, name: str) -> ProxyError:
        """What a request is told whose key was closed while it ran, and is let through again."""
        message = (
            f"The API key {name!r} was suspended while this ran, and its operator had what ran"
            " ended. The key is let through again: send the request once more."
        )
        return _refusal(self._support, _ENDS[State.SUSPENDED][0], message)

    def _refused(self, tenant: Tenant) -> KeyRefused:
        """Why a key that is known is not let through."""
        if tenant.closed is not None:
            code, what = tenant.closed
        else:
            assert tenant.expires_at_ms is not None, "else it is let through"
            day = datetime.datetime.fromtimestamp(tenant.expires_at_ms / 1000, datetime.UTC)
            code, what = _ENDS["rotated" if tenant.rotated else "expired"]
            what = what.format(day.strftime("%Y-%m-%d %H:%M UTC"))
        return KeyRefused(
            tenant, code, f"The API key {tenant.key_id!r} {what}.{_ask(self._support)}"
        )

    def expiries_ms(self) -> dict[str, int]:
        """When each key that expires does so, by its id; not when a replaced secret of it ends."""
        return {
            tenant.key_id: tenant.expires_at_ms
            for tenant in self._tenants.values()
            if tenant.expires_at_ms is not None and not tenant.rotated
        }


class KeyRefused(ProxyError):
    """401 for a key that is known: `tenant` says whose it is, for the count of refusals."""

    def __init__(self, tenant: Tenant, code: str, message: str) -> None:
        super().__init__(401, "invalid_request_error", code, message, headers=_CHALLENGE)
        self.tenant = tenant


def _tenants_of(directory: Directory, name: str) -> dict[bytes, Tenant]:
    """What each secret of a key stands for; the present one is the first."""
    settings, row = directory.settings, directory.rows.get((TenantKind.KEY, name))
    # The config may give a secret of the database to another key.
    kept = (
        [] if row is None else [one for one in row.secrets if directory.digests[one.sha256] == name]
    )
    key = settings.keys.get(name)
    if directory.in_config(TenantKind.KEY, name):
        assert key is not None, "the settings have all that the config names"
        digest = (
            hashlib.sha256(key.secret.encode()).hexdigest() if key.secret else key.secret_sha256
        )
        # an empty secret disables the key; it must not match an empty credential
        secrets = [KeySecret(digest, 0)] if digest else []
    else:
        secrets = kept
    team_name = _team_of(key, row)
    team = None if team_name is None else settings.teams.get(team_name)
    tenant = Tenant(
        key_id=name,
        team=team_name,
        labels=({} if team is None else team.labels) | ({} if key is None else key.labels),
        lead=key is not None and key.role == "lead" and team_name is not None,
        models=() if key is None else key.models,
        team_models=() if team is None else team.models,
        expires_at_ms=None
        if key is None or key.expires is None
        else instant_ms(key.expires, settings.timezone),
        closed=_why_closed(directory, name, team_name),
    )
    found = {}
    for secret in secrets:
        ends_ms, replace = tenant.expires_at_ms, secret.until_ms
        rotated = replace is not None and (ends_ms is None or replace < ends_ms)
        found[bytes.fromhex(secret.sha256)] = (
            msgspec.structs.replace(tenant, expires_at_ms=replace, rotated=True)
            if rotated
            else tenant
        )
    for secret in kept:  # those of a key that the config names too: known, and never let through
        if secret not in secrets:
            found.setdefault(
                bytes.fromhex(secret.sha256),
                msgspec.structs.replace(tenant, closed=_ENDS["replaced"], expires_at_ms=None),
            )
    return found


def _team_of(key: KeySettings | None, row: Managed | None) -> str | None:
    if key is not None:
        return key.team
    team = None if row is None else said(row).get("team")  # of a key that is revoked
    return team if isinstance(team, str) else None


def _why_closed(directory: Directory, name: str, team: str | None) -> tuple[str, str] | None:
    """Why a key is not let through, whenever it is used; None: it is."""
    state = directory.state(TenantKind.KEY, name)
    if state is not State.ACTIVE:
        return _ENDS[state]
    if team is not None and (of_team := directory.state(TenantKind.TEAM, team)) is not State.ACTIVE:
        code, what = _ENDS[of_team]
        return code, f"belongs to the team {team!r}, which {what}"
    if (TenantKind.KEY, name) in directory.faults and not directory.in_config(TenantKind.KEY, name):
        return (
            "key_suspended",
            "does not fit the proxy's present config, which its operator has to mend",
        )
    return None


class KeyUnknown(ProxyError):
    """401 for a credential that no key has, or that counts only at an `auth: forward` upstream."""

    def __init__(self, support: str) -> None:
        message = (
            "The API key is not known here."
            " Check that it is a key of this proxy, not of the vendor behind it."
        )
        super().__init__(
            401,
            "invalid_request_error",
            "invalid_api_key",
            message + _ask(support),
            headers=_CHALLENGE,
        )


def _refusal(support: str, code: str, message: str) -> ProxyError:
    return ProxyError(
        401, "invalid_request_error", code, message + _ask(support), headers=_CHALLENGE
    )


def _ask(support: str) -> str:
    return f" Ask {support}." if support else ""


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
