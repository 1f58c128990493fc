"""Answers the pages of administrators: who asks, which page, and what an order came to."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from proxy.admin.auth import Guard, known_by
from proxy.admin.endpoint import AdminEndpoint
from proxy.admin.pages import oidc
from proxy.admin.pages.book_views import BookViews
from proxy.admin.pages.forms import FIELDS_MAX, order_of
from proxy.admin.pages.inside import InsideApi
from proxy.admin.pages.look import PageLook, ShownPage
from proxy.admin.pages.oidc import OidcSignIn
from proxy.admin.pages.price_views import PriceViews
from proxy.admin.pages.state_views import StateViews
from proxy.admin.pages.tenant_pages import TenantPages
from proxy.admin.pages.visitors import COOKIE, FORM_COOKIE, PageVisitor, Visitors
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http import browser
from proxy.core.http.headers import RawHeaders
from proxy.dataplane.pages.rendering import Rendering
from proxy.dataplane.pages.sign_in import LASTS_S, PATH, SignIn, WrongKeys, set_cookie
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot

FILES: Final = Path(__file__).parent / "files"
TEMPLATES: Final = (
    "admin_sign_in error overview admin_use admin_records admin_record admin_refusals teams keys"
    " tenant new admin_limits credit prices audit ledger config made arrived"
).split()
SIGN_IN: Final = f"{PATH}/sign-in"
SIGN_OUT: Final = f"{PATH}/sign-out"
OIDC_BEGIN: Final = f"{SIGN_IN}/oidc"
OIDC_END: Final = f"{PATH}/oidc"
BODY_S: Final = 10.0  # how long a form may take to come
_READING: Final = ("GET", "HEAD")
_LOG: Final = logging.getLogger("tollkeeper.admin")
_Fields = Sequence[tuple[bytes, bytes]]


class BrowserPages:
    """Answers requests below `/ui`. `routes` are the admin API's, `key` is the ledger's."""

    def __init__(
        self,
        services: Services,
        snapshot: Callable[[], Snapshot],
        routes: Sequence[AdminEndpoint],
        key: bytes,
    ) -> None:
        self._services = services
        self._snapshot = snapshot
        self._rendering = Rendering(FILES, TEMPLATES)
        self._sign_in = SignIn(hmac.digest(key, b"admin pages: sign-in", "sha256"))
        self._wrong = WrongKeys()
        # Apart from wrong tokens: a provider that is away leaves the way by a token open.
        self._failed = WrongKeys("failed sign-ins")
        self._visitors = Visitors(self._sign_in, lambda: snapshot().settings.admin)
        self._oidc = OidcSignIn(hmac.digest(key, b"admin pages: oidc", "sha256"))
        self._api = InsideApi(routes)
        book = BookViews(services)
        self._state = state = StateViews(services, self._api, book)
        tenants = TenantPages(services, self._api, book)
        prices = PriceViews(services, book)
        self._views: Mapping[str, Callable[[PageLook], Awaitable[ShownPage]]] = {
            "": state.overview,
            "use": book.use,
            "records": book.records,
            "refusals": state.refusals,
            "teams": tenants.teams,
            "keys": tenants.keys,
            "new": tenants.new,
            "limits": state.limits,
            "credit": state.credit,
            "prices": prices.prices,
            "audit": state.audit,
            "ledger": state.ledger,
            "config": state.config,
        }

    async def answer(self, request: web.Request, guard: Guard) -> web.StreamResponse:
        """The page, or the page that tells an error."""
        try:
            guard.check_host(request.headers.get("Host", ""))
            return await self._answer(request)
        except ProxyError as error:
            told = error
        except web.HTTPRequestEntityTooLarge:
            message = "This form is larger than any of ours. Open the page again."
            told = ProxyError(413, "invalid_request_error", "body_too_large", message)
        except Exception:  # a defect of ours: it goes into the log, and not to the browser
            _LOG.exception("%s %s failed", request.method, request.path)
            message = "The proxy failed at this; its log says why."
            told = ProxyError(500, "api_error", "internal_error", message)
        support = self._snapshot().settings.support
        body = self._rendering.page("error", error=told, support=support)
        said = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told.headers]
        return _response(told.status, body, said)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == self._rendering.style_path:
            _allow(request, *_READING)
            return _style(self._rendering.style)
        visitor = self._visitors.of(request.raw_headers, request.remote, self._services.now_ms())
        if path == SIGN_IN:
            _allow(request, "POST")
            return await self._signed_in(request)
        if path in (OIDC_BEGIN, OIDC_END) and self._snapshot().settings.admin.oidc.issuer:
            _allow(request, "GET")
            return await self._at_provider(request)
        if path == SIGN_OUT:
            _allow(request, "POST")
            return await self._signed_out(request, visitor)
        if visitor is None:
            if path == PATH and request.method in _READING:
                return self._form(request)
            return _go(PATH)
        name, _, rest = path.removeprefix(PATH).removeprefix("/").partition("/")
        view = self._views.get(name)
        if view is None:
            message = "There is no such page. The pages begin at /ui."
            raise ProxyError(404, "invalid_request_error", "unknown_page", message)
        look = PageLook(
            visitor=visitor,
            snapshot=self._snapshot(),
            now_ms=self._services.now_ms(),
            address=request.remote,
            query=list(request.query.items()),
            rest=rest,
        )
        if request.method == "POST":
            return await self._ordered(request, look, name)
        _allow(request, *_READING, "POST")
        return await self._shown(request, look, name, await view(look))

    async def _shown(
        self, request: web.Request, look: PageLook, name: str, page: ShownPage
    ) -> web.Response:
        visitor = look.visitor
        common = {
            "at": name,
            "visitor": visitor,
            "zone": str(look.snapshot.zone),
            "token": self._sign_in.token(visitor.seed),
            "once": secrets.token_urlsafe(16),
        }
        # A long page is a hundredth of a second of work.
        body = await asyncio.to_thread(
            lambda: self._rendering.page(page.template, **{"common": common, **page.values})
        )
        return _response(200, body, self._kept(request.raw_headers, visitor))

    async def _ordered(self, request: web.Request, look: PageLook, name: str) -> web.Response:
        """Carries out what a form asks for, and shows what came of it."""
        browser.check_own_form(request.raw_headers)
        form = await self._read(request)
        self._sign_in.check_token(look.visitor.seed, form.get("token"))
        if name == "ledger" and not look.rest:
            page = await self._state.checked(look, form.get("check", ""))
            return await self._shown(request, look, name, page)
        order = order_of(name, look.rest, form, self._services.directory)
        done = await self._api.ask(
            look.visitor,
            order.method,
            order.path,
            places=order.places,
            query=order.query,
            body=order.body,
            address=look.address,
            once=form.get("once"),
        )
        if not order.shows_secrets:
            return _go(order.then(done), self._kept(request.raw_headers, look.visitor))
        return await self._shown(request, look, name, ShownPage("made", {"keys": done.keys}))

    async def _signed_in(self, request: web.Request) -> web.Response:
        headers, now_ms = request.raw_headers, self._services.now_ms()
        browser.check_own_form(headers)
        form = await self._read(request)
        self._wrong.check(request.remote, now_ms)  # no wait between here and the count
        self._sign_in.check_token(browser.cookies(headers).get(FORM_COOKIE), form.get("token"))
        secret = form.get("key", "").strip().encode()
        asker = known_by(self._snapshot().settings.admin.tokens, secret)
        if asker is None:
            self._wrong.count(request.remote, now_ms)
            _LOG.warning("a sign-in to the pages from %s had no token of ours", request.remote)
            message = "This is no token of `admin.tokens`. Sign in with another one."
            raise ProxyError(401, "invalid_request_error", "invalid_admin_token", message)
        _LOG.info("%s signed in to the pages from %s", asker.name, request.remote)
        cookie = self._sign_in.cookie(asker.name, secret, now_ms)
        kept = set_cookie(headers, COOKIE, cookie, LASTS_S)
        return _go(PATH, [kept, set_cookie(headers, FORM_COOKIE, "", 0)])

    async def _at_provider(self, request: web.Request) -> web.Response:
        """Begins or ends a sign-in at the provider; each may ask it something.

        One that fails counts, and so does one that is on its way: many at once are bounded too.
        """
        step = self._leaves if request.path == OIDC_BEGIN else self._returned
        address, now_ms = request.remote, self._services.now_ms()
        self._failed.check(address, now_ms)
        self._failed.count(address, now_ms)
        response = await step(request)
        self._failed.take_back(address, now_ms)
        return response

    async def _leaves(self, request: web.Request) -> web.Response:
        """Sends the browser to the provider, with a cookie that ties its answer to this browser."""
        settings = self._snapshot().settings.admin.oidc
        place, cookie = await self._oidc.begin(settings, self._services.now_ms())
        # Lax: the answer is a link of the provider's site.
        return _go(place, [_state(request, cookie, oidc.LASTS_S)])

    async def _returned(self, request: web.Request) -> web.Response:
        """Signs in whom the provider names. The page goes on by itself.

        It is a page of ours, so that the browser sends the strict cookie with the next one.
        """
        headers, now_ms = request.raw_headers, self._services.now_ms()
        cookie = browser.cookies(headers).get(oidc.STATE_COOKIE)
        settings = self._snapshot().settings.admin.oidc
        query = dict(request.query.items())
        if len(query) < len(request.query):
            raise invalid_request("The provider's answer names something twice. Sign in again.")
        who = await self._oidc.end(settings, query, cookie, now_ms)
        _LOG.info("%s signed in to the pages from %s by oidc", who, request.remote)
        fields = [
            set_cookie(headers, COOKIE, self._visitors.cookie_of(who, now_ms), LASTS_S),
            set_cookie(headers, FORM_COOKIE, "", 0),
            _state(request, "", 0),
        ]
        return _response(200, self._rendering.page("arrived", who=who), fields)

    async def _signed_out(self, request: web.Request, visitor: PageVisitor | None) -> web.Response:
        headers = request.raw_headers
        browser.check_own_form(headers)
        form = await self._read(request)
        if visitor is not None:
            self._sign_in.check_token(visitor.seed, form.get("token"))
            if (cookie := browser.cookies(headers).get(COOKIE)) is not None:
                self._sign_in.end(cookie, self._services.now_ms())
        return _go(PATH, [set_cookie(headers, COOKIE, "", 0)])

    async def _read(self, request: web.Request) -> dict[str, str]:
        browser.check_form(request.raw_headers)
        try:
            async with asyncio.timeout(BODY_S):
                body = await request.read()
        except TimeoutError as error:
            message = f"The form was not complete within {BODY_S:g} s. Send it again."
            raise ProxyError(408, "invalid_request_error", "request_timeout", message) from error
        return browser.read_form(body, FIELDS_MAX)

    def _form(self, request: web.Request) -> web.Response:
        """The form to sign in."""
        headers = request.raw_headers
        cookies = browser.cookies(headers)
        nonce, over = self._sign_in.nonce(cookies.get(FORM_COOKIE)), COOKIE in cookies
        body = self._rendering.page(
            "admin_sign_in",
            token=self._sign_in.token(nonce),
            said=None,
            over=over,
            from_elsewhere=browser.from_elsewhere(headers),
            support="",
            oidc=urlsplit(self._snapshot().settings.admin.oidc.issuer).hostname,
        )
        fields = [set_cookie(headers, FORM_COOKIE, nonce, LASTS_S)]
        if over:
            fields.append(set_cookie(headers, COOKIE, "", 0))
        return _response(200, body, fields)

    def _kept(self, headers: RawHeaders, visitor: PageVisitor) -> _Fields:
        """The cookie that ties forms to a browser which has no sign-in of ours."""
        if visitor.nonce is None:
            return ()
        return (set_cookie(headers, FORM_COOKIE, visitor.nonce, LASTS_S),)


def _response(status: int, body: bytes, fields: _Fields = ()) -> web.Response:
    kind = (b"Content-Type", b"text/html; charset=utf-8")
    return web.Response(
        status=status, body=body, headers=_headers([*browser.PRIVATE, kind, *fields])
    )


def _state(request: web.Request, value: str, lasts_s: int) -> tuple[bytes, bytes]:
    return set_cookie(request.raw_headers, oidc.STATE_COOKIE, value, lasts_s, site="Lax")


def _style(style: bytes) -> web.Response:
    """The stylesheet, whose name changes with its content."""
    kept = (b"Cache-Control", b"public, max-age=86400, immutable")
    kind = (b"Content-Type", b"text/css; charset=utf-8")
    return web.Response(body=style, headers=_headers([*browser.SAFE, kept, kind]))


def _go(path: str, fields: _Fields = ()) -> web.Response:
    """Sends the browser to a page of ours, by its path whatever is in front, or to a provider's."""
    place = (b"Location", path.encode())
    return web.Response(status=303, headers=_headers([*browser.PRIVATE, place, *fields]))


def _headers(fields: _Fields) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode("latin-1")) for name, value in fields]


def _allow(request: web.Request, *methods: str) -> None:
    if request.method not in methods:
        message = f"This page takes {' and '.join(methods)} alone."
        raise ProxyError(
            405,
            "invalid_request_error",
            "method_not_allowed",
            message,
            headers=(("allow", ", ".join(methods)),),
        )
