"""Answers the pages at `/ui`: who asks, which page, and the fields that keep it private."""

from __future__ import annotations

import asyncio
import hmac
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from proxy.core.cursors import Cursors
from proxy.core.errors import ProxyError, too_large
from proxy.core.http import browser
from proxy.core.http.parameters import read_parameters
from proxy.dataplane.connection import Headers, Request
from proxy.dataplane.endpoints.usage import OwnUsage
from proxy.dataplane.pages.months import MonthAsked
from proxy.dataplane.pages.rendering import FILES, Rendering
from proxy.dataplane.pages.sign_in import (
    COOKIE,
    FORM_COOKIE,
    LASTS_S,
    PATH,
    SignIn,
    WrongKeys,
    set_cookie,
)
from proxy.dataplane.pages.views import BeforeAsked, Viewer, Views
from proxy.dataplane.request_body import read_body
from proxy.dataplane.routes import allow
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.tenants.ring import KeyRefused

HOME: Final = PATH
SIGN_IN: Final = "/ui/sign-in"
SIGN_OUT: Final = "/ui/sign-out"
USE: Final = "/ui/use"
RECORDS: Final = "/ui/records"
REFUSALS: Final = "/ui/refusals"
EXPORT: Final = "/ui/export.csv"
TEMPLATES: Final = ("sign_in", "limits", "use", "records", "record", "refusals", "error")
BODY_S: Final = 10.0  # how long a form may take to come
_HTML: Final = (b"Content-Type", b"text/html; charset=utf-8")
_Asked = TypeVar("_Asked", bound=msgspec.Struct)


class TeamPages:
    """Answers requests for these paths. `key` is the ledger's, from which those here are made."""

    def __init__(self, services: Services, own_usage: OwnUsage, key: bytes) -> None:
        self._services = services
        self._rendering = Rendering(FILES, TEMPLATES)
        self._sign_in = SignIn(hmac.digest(key, b"pages: sign-in", "sha256"))
        self._wrong = WrongKeys()
        cursors = Cursors(hmac.digest(key, b"pages: cursors", "sha256"))
        self._views = Views(services, own_usage, cursors)

    async def answer(self, request: Request, snapshot: Snapshot) -> None:
        """Writes the page, or raises ProxyError for `refuse`."""
        path, _, query = request.target.partition("?")
        if path == self._rendering.style_path:
            allow(request, "GET", "HEAD")
            kept = (b"Cache-Control", b"public, max-age=86400, immutable")
            kind = (b"Content-Type", b"text/css; charset=utf-8")
            fields = [*browser.SAFE, kept, kind]
            request.connection.answer(request, 200, fields, self._rendering.style)
        elif path == SIGN_IN:
            allow(request, "POST")
            await self._signed_in(request)
        elif path == SIGN_OUT:
            allow(request, "POST")
            await self._signed_out(request)
        else:
            allow(request, "GET", "HEAD")
            await self._page(request, snapshot, path, query)

    def refuse(self, request: Request, error: ProxyError, snapshot: Snapshot) -> None:
        """The page that tells an error, if the answer has not begun."""
        connection = request.connection
        if connection.head_written:
            connection.cut()
            return
        if error.close or not request.arrived:
            connection.close_after()
        support = snapshot.settings.support
        body = self._rendering.page("error", error=error, support=support)
        fields = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers
        ]
        connection.answer(request, error.status, [*browser.PRIVATE, _HTML, *fields], body)

    async def _page(self, request: Request, snapshot: Snapshot, path: str, query: str) -> None:
        cookie = browser.cookies(request.headers).get(COOKIE)
        try:
            now_ms = self._services.now_ms()
            keys = self._services.keys
            tenant = None if cookie is None else self._sign_in.tenant(cookie, keys, now_ms)
        except KeyRefused as ended:
            self._form(request, snapshot, said=ended.message, over=True)
            return
        if tenant is None or cookie is None:
            if path == HOME:
                self._form(request, snapshot, over=cookie is not None)
            else:
                self._go(request, HOME)
            return
        viewer = Viewer(tenant, snapshot)
        if path == EXPORT:
            month, content = await self._views.export(viewer, _asked(MonthAsked, query))
            attached = f'attachment; filename="usage-{month}.csv"'.encode()
            fields = [
                *browser.PRIVATE,
                (b"Content-Type", b"text/csv; charset=utf-8"),
                (b"Content-Disposition", attached),
            ]
            request.connection.answer(request, 200, fields, content)
            return
        name, shown = await self._shown(viewer, path, query)
        common = {
            "at": path,
            "tenant": tenant,
            "costs": snapshot.settings.pages.costs,
            "zone": str(snapshot.zone),
            "support": snapshot.settings.support,
            "token": self._sign_in.token(cookie),
        }
        # A long page is a hundredth of a second of work.
        body = await asyncio.to_thread(
            lambda: self._rendering.page(name, **{"common": common, **shown})
        )
        request.connection.answer(request, 200, [*browser.PRIVATE, _HTML], body)

    async def _shown(self, viewer: Viewer, path: str, query: str) -> tuple[str, dict[str, object]]:
        """The template of a page and what it shows."""
        views = self._views
        if path == USE:
            return "use", await views.use(viewer, _asked(MonthAsked, query))
        if path == RECORDS:
            return "records", await views.records(viewer, _asked(BeforeAsked, query))
        if path == REFUSALS:
            return "refusals", await views.refusals(viewer, _asked(MonthAsked, query))
        if path.startswith(f"{RECORDS}/"):
            return "record", await views.record(viewer, path.removeprefix(f"{RECORDS}/"))
        if path == HOME:
            return "limits", await views.limits(viewer)
        message = "There is no such page. The pages begin at /ui."
        raise ProxyError(404, "invalid_request_error", "unknown_page", message)

    async def _signed_in(self, request: Request) -> None:
        headers, now_ms = request.headers, self._services.now_ms()
        browser.check_own_form(headers)
        address = request.connection.peer
        form = await self._read(request)
        self._wrong.check(address, now_ms)  # no wait between here and the count
        nonce = browser.cookies(headers).get(FORM_COOKIE)
        self._sign_in.check_token(nonce, form.get("token"))
        credential = form.get("key", "").strip().encode()
        try:
            tenant = self._services.keys.authenticate(
                ((b"authorization", b"Bearer " + credential),), now_ms, False
            )
        except ProxyError:
            self._wrong.count(address, now_ms)
            raise
        cookie = self._sign_in.cookie(tenant.key_id, credential, now_ms)
        self._go(
            request,
            HOME,
            set_cookie(headers, COOKIE, cookie, LASTS_S),
            set_cookie(headers, FORM_COOKIE, "", 0),
        )

    async def _signed_out(self, request: Request) -> None:
        browser.check_own_form(request.headers)
        form = await self._read(request)
        cookie = browser.cookies(request.headers).get(COOKIE)
        if cookie is not None:
            self._sign_in.check_token(cookie, form.get("token"))
            self._sign_in.end(cookie, self._services.now_ms())
        self._go(request, HOME, set_cookie(request.headers, COOKIE, "", 0))

    async def _read(self, request: Request) -> dict[str, str]:
        browser.check_form(request.headers)
        if (request.content_length or 0) > browser.FORM_BYTES_MAX:
            raise too_large(browser.FORM_BYTES_MAX)
        request.confirm_continue()
        body = await read_body(
            request.body,
            bytes_max=browser.FORM_BYTES_MAX,
            idle_s=BODY_S,
            rate_min_bytes_s=browser.FORM_BYTES_MAX,
            arrived=lambda _: None,
        )
        request.was_read()
        return browser.read_form(body)

    def _form(
        self, request: Request, snapshot: Snapshot, *, said: str | None = None, over: bool = False
    ) -> None:
        """The form to sign in. `said`: why a sign-in ended. `over`: its cookie goes."""
        headers = request.headers
        nonce = self._sign_in.nonce(browser.cookies(headers).get(FORM_COOKIE))
        body = self._rendering.page(
            "sign_in",
            token=self._sign_in.token(nonce),
            said=said,
            over=over,
            from_elsewhere=browser.from_elsewhere(headers),
            support=snapshot.settings.support,
        )
        fields = [*browser.PRIVATE, _HTML, set_cookie(headers, FORM_COOKIE, nonce, LASTS_S)]
        if over:
            fields.append(set_cookie(headers, COOKIE, "", 0))
        request.connection.answer(request, 200, fields, body)

    def _go(self, request: Request, path: str, *cookies: tuple[bytes, bytes]) -> None:
        """Sends the browser to another page. The place is a path, whatever is in front of us."""
        fields: Headers = [*browser.PRIVATE, (b"Location", path.encode()), *cookies]
        request.connection.answer(request, 303, fields, b"")


def _asked(shape: type[_Asked], query: str) -> _Asked:
    return read_parameters(shape, parse_qsl(query, keep_blank_values=True))
