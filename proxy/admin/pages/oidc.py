"""Sign-in at an OpenID Connect provider: the code flow with state, nonce and PKCE.

Authlib checks the provider's word. It is imported by its name: it comes with the extra `oidc`. What
belongs together is in one signed cookie of this browser: an answer without it, or with another
state, is nobody's. The issuer that the provider says it is has to be the config's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import secrets
from importlib import import_module
from time import monotonic
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import aiohttp
import msgspec

from proxy.config.settings import OidcSettings
from proxy.core.errors import ProxyError
from proxy.core.http.visible import visible

STATE_COOKIE: Final = "tollkeeper_admin_oidc"
LASTS_S: Final = 600  # from the form to the provider's answer
NAME_CHARS_MAX: Final = 128
_KNOWN_S: Final = 600.0  # how long the provider's addresses and keys are believed
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_BYTES_MAX: Final = 2**20
_LEEWAY_S: Final = 60
# Not `none`, and nothing with a shared secret: a client secret is no key of the provider.
_ALGORITHMS: Final = ("RS256", "ES256", "PS256")


class BegunSignIn(msgspec.Struct, frozen=True):
    """A sign-in on its way, as its cookie has it."""

    state: str
    nonce: str
    verifier: str
    until_s: int


class OidcProvider(msgspec.Struct, frozen=True):
    """What a provider says of itself, as far as it is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class CodeAnswer(msgspec.Struct, frozen=True):
    """The provider's answer to a code."""

    id_token: str


class PublishedKeys(msgspec.Struct, frozen=True):
    """The keys that a provider signs with, as it publishes them."""

    keys: list[dict[str, Any]]


class OidcSignIn:
    """Begins sign-ins and reads their answers. `key` signs the cookie."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: tuple[str, float, OidcProvider, Any] | None = None

    async def begin(self, settings: OidcSettings, now_ms: int) -> tuple[str, str]:
        """The provider's page to send the browser to, and the cookie. Raises ProxyError 502."""
        provider, _ = await self._provider(settings.issuer)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        begun = BegunSignIn(state, nonce, verifier, now_ms // 1000 + LASTS_S)
        challenge = import_module("authlib.oauth2.rfc7636").create_s256_code_challenge
        asked = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": settings.redirect,
            "scope": settings.scope,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge(begun.verifier),
            "code_challenge_method": "S256",
        }
        sign = "&" if "?" in provider.authorization_endpoint else "?"
        return f"{provider.authorization_endpoint}{sign}{urlencode(asked)}", self._written(begun)

    async def end(
        self, settings: OidcSettings, query: dict[str, str], cookie: str | None, now_ms: int
    ) -> str:
        """Who has signed in, by the answer in the address. Raises ProxyError 403 or 502."""
        begun = self._read(cookie, now_ms)
        if begun is None or not hmac.compare_digest(
            begun.state.encode(), query.get("state", "").encode()
        ):
            raise _refused("It was not begun in this browser, or too long ago. Sign in again.")
        if "code" not in query:
            told = visible(query.get("error", "no reason"))[:100]
            raise _refused(f"The provider did not sign you in ({told}). Sign in again.")
        if query.get("iss", settings.issuer) != settings.issuer:
            raise _refused("The answer is another provider's. Sign in again.")
        provider, keys = await self._provider(settings.issuer)
        token = await self._exchanged(settings, provider, query["code"], begun.verifier)
        try:
            claims = await asyncio.to_thread(_checked, settings, token, keys, begun.nonce, now_ms)
        except ProxyError:
            self._known = None  # the provider may sign with a new key: the next sign-in asks for it
            raise
        who = claims.get(settings.claim)
        if settings.claim == "email" and claims.get("email_verified", True) not in (True, "true"):
            raise _refused("The provider has not verified your mail address.")
        if not isinstance(who, str) or not 0 < len(who) <= NAME_CHARS_MAX or visible(who) != who:
            raise _refused(
                f"The provider says no {settings.claim} of yours. The operator can name another"
                " claim in `admin.oidc.claim`, or ask for it in `admin.oidc.scope`."
            )
        return who

    async def _exchanged(
        self, settings: OidcSettings, provider: OidcProvider, code: str, verifier: str
    ) -> str:
        """The ID token for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect,
            "code_verifier": verifier,
        }
        # RFC 6749, 2.3.1: both are written as in a form first.
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
        basic = base64.b64encode(pair.encode()).decode()
        answer = await _fetched(provider.token_endpoint, form, {"Authorization": f"Basic {basic}"})
        try:
            return msgspec.json.decode(answer, type=CodeAnswer).id_token
        except msgspec.MsgspecError as error:
            raise _unusable(f"its answer to the code is none: {error}") from error

    async def _provider(self, issuer: str) -> tuple[OidcProvider, Any]:
        """The provider's addresses and keys."""
        known = self._known
        if known is not None and known[0] == issuer and monotonic() - known[1] < _KNOWN_S:
            return known[2], known[3]
        told = await _fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            provider = msgspec.json.decode(told, type=OidcProvider)
        except msgspec.MsgspecError as error:
            raise _unusable(f"what it says of itself cannot be read: {error}") from error
        if provider.issuer != issuer:
            raise _unusable(f"it says that it is {visible(provider.issuer)[:200]!r}")
        try:
            told_keys = msgspec.json.decode(await _fetched(provider.jwks_uri), type=PublishedKeys)
        except msgspec.MsgspecError as error:
            raise _unusable(f"its keys cannot be read: {error}") from error
        keys = _read_keys(told_keys)
        self._known = (issuer, monotonic(), provider, keys)
        return provider, keys

    def _written(self, begun: BegunSignIn) -> str:
        said = base64.urlsafe_b64encode(msgspec.json.encode(begun)).decode().rstrip("=")
        return f"{said}.{self._proof(said)}"

    def _read(self, cookie: str | None, now_ms: int) -> BegunSignIn | None:
        said, _, proof = (cookie or "").partition(".")
        if not hmac.compare_digest(self._proof(said).encode(), proof.encode()):
            return None
        begun = msgspec.json.decode(
            base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)), type=BegunSignIn
        )
        return begun if now_ms // 1000 < begun.until_s else None

    def _proof(self, said: str) -> str:
        return hmac.new(self._key, said.encode("utf-8", "replace"), "sha256").hexdigest()


def _checked(
    settings: OidcSettings, token: str, keys: Any, nonce: str, now_ms: int
) -> dict[str, Any]:
    """The claims of an ID token that this provider made for us and for this sign-in."""
    jwt, errors = import_module("joserfc.jwt"), import_module("joserfc.errors")
    core, base = import_module("authlib.oidc.core"), import_module("authlib.common.errors")
    try:
        read = jwt.decode(token, keys, algorithms=list(_ALGORITHMS))
        options = {
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
            "sub": {"essential": True},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"client_id": settings.client_id}
        claims = core.CodeIDToken(read.claims, read.header, options, params)
        claims.validate(now_ms // 1000, _LEEWAY_S)
    except (errors.JoseError, base.AuthlibBaseError, ValueError, TypeError) as error:
        raise _refused(f"The provider's word is not good ({type(error).__name__}).") from error
    return dict(read.claims)


def _read_keys(published: PublishedKeys) -> Any:
    """The keys that can be read. Those of a kind unknown to us are left out (RFC 7517, 5)."""
    jwk, errors = import_module("joserfc.jwk"), import_module("joserfc.errors")
    found = []
    for one in published.keys:
        with contextlib.suppress(errors.JoseError, ValueError, KeyError, TypeError):
            found += jwk.KeySet.import_key_set({"keys": [one]}).keys
    if not found:
        raise _unusable("none of its keys can be read")
    return jwk.KeySet(found)


async def _fetched(
    url: str, form: dict[str, str] | None = None, more: dict[str, str] | None = None
) -> bytes:
    """A document of the provider. Raises ProxyError 502."""
    plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False) as session,
            session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                allow_redirects=False,
                headers={**plain, **(more or {})},
            ) as response,
        ):
            if response.status != 200:
                raise _unusable(f"{url} answered {response.status}")
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > _BYTES_MAX:
                    raise _unusable(f"{url} answered more than {_BYTES_MAX} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise _unusable(f"{url} cannot be asked: {type(error).__name__}") from error


def _refused(message: str) -> ProxyError:
    return ProxyError(403, "invalid_request_error", "oidc_refused", message)


def _unusable(why: str) -> ProxyError:
    message = f"The sign-in provider cannot be used: {why}. Try again, or sign in with a token."
    return ProxyError(502, "api_error", "oidc_unavailable", message)
