"""A provider signs people in; what a bad provider or another site says signs nobody in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from proxy.admin.pages.oidc import LASTS_S, STATE_COOKIE, OidcSignIn
from proxy.config.settings import OidcSettings
from proxy.core.errors import ProxyError
from proxy.dataplane.pages.sign_in import FAILURES_MAX
from tests.admin.pages.office import admin_browser, office, rewrite_admin
from tests.admin.pages.provider import CLIENT, SECRET, SmallProvider, provider
from tests.admin.test_tenants import Desk
from tests.dataplane.pages.visitor import Visitor
from tests.support.waiting import until

REDIRECT = "http://127.0.0.1/ui/oidc"


def oidc_of(one: SmallProvider, **more: object) -> dict[str, Any]:
    return {
        "issuer": one.url,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect": REDIRECT,
        "admins": ["ann@example.com"],
        **more,
    }


@contextlib.asynccontextmanager
async def lobby(
    tmp_path: Path, **more: object
) -> AsyncIterator[tuple[Desk, SmallProvider, Visitor]]:
    async with (
        provider() as one,
        office(tmp_path, admin={"tokens": {}, "oidc": oidc_of(one, **more)}) as admin,
        admin_browser(admin) as browser,
    ):
        yield admin, one, browser


async def sent_back(browser: Visitor) -> str:
    """The address that the provider sends the browser to, as a path here."""
    status, _, headers = await browser.get("/ui/sign-in/oidc")
    assert status == 303, headers
    async with browser.session.get(headers["Location"], allow_redirects=False) as response:
        place = response.headers["Location"]
    assert place.startswith(f"{REDIRECT}?")
    return place.removeprefix("http://127.0.0.1")


async def test_the_provider_names_who_looks_and_changes(tmp_path: Path) -> None:
    async with lobby(tmp_path) as (admin, one, browser):
        _, text, _ = await browser.get("/ui")
        assert '<a href="/ui/sign-in/oidc">sign in at 127.0.0.1</a>' in text
        place = await sent_back(browser)
        status, text, headers = await browser.get(place)
        assert status == 200 and "signed in as <bdi>ann@example.com</bdi>" in text, text
        assert "SameSite=Strict" in headers.getall("Set-Cookie")[0]  # type: ignore[attr-defined]
        await browser.get("/ui")
        form = {"token": browser.form, "reason": "leaked"}
        assert (await browser.post("/ui/keys/alice/suspend", form))[0] == 303
        _, text, _ = await browser.get("/ui/audit")
        assert "<bdi>ann@example.com</bdi>" in text and "page 127.0.0.1 oidc" in text
        [asked] = one.asked
        assert asked["code_challenge_method"] == "S256" and len(asked["nonce"]) > 40
        async with admin_browser(admin) as other:
            one.email = "bob@example.com"
            await other.get(await sent_back(other))
            assert "may only look" in (await other.get("/ui"))[1]
        # The same answer again, and in another browser.
        assert (await browser.get(place))[0] == 403
        async with admin_browser(admin) as other:
            assert (await other.get(place))[0] == 403
        await rewrite_admin(admin, {}, oidc=oidc_of(one, client_id="another"))
        assert "Your admin token" in (await browser.get("/ui"))[1]


async def test_failed_sign_ins_of_an_address_are_bounded_and_leave_the_token_s_way_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.dataplane.pages.sign_in.FAILURES_S", 10**9)  # no minute ends
    async with lobby(tmp_path) as (_, one, browser):
        for _ in range(FAILURES_MAX + 5):  # those that succeed do not count
            await sent_back(browser)
        asked = len(one.asked)
        statuses = [
            (await browser.get("/ui/oidc?code=x&state=x"))[0] for _ in range(FAILURES_MAX + 1)
        ]
        assert statuses == [403] * FAILURES_MAX + [429]
        status, text, _ = await browser.get("/ui/sign-in/oidc")
        assert status == 429 and "Too many failed sign-ins came from your address" in text
        assert len(one.asked) == asked
        await browser.get("/ui")
        assert (await browser.sign_in("tk-admin-wrong"))[0] == 401


async def test_sign_ins_on_their_way_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that is slow is not asked by everybody at once."""
    monkeypatch.setattr("proxy.dataplane.pages.sign_in.FAILURES_S", 10**9)
    async with lobby(tmp_path) as (_, one, browser):
        one.held = asyncio.Event()
        begun = [
            asyncio.create_task(browser.get("/ui/sign-in/oidc")) for _ in range(3 * FAILURES_MAX)
        ]
        await until(lambda: sum(one.done() for one in begun) == 2 * FAILURES_MAX)
        one.held.set()
        statuses = [status for status, _, _ in await asyncio.gather(*begun)]
        assert statuses.count(429) == 2 * FAILURES_MAX


NOW = 1_793_500_000


@pytest.mark.parametrize(
    "said",
    [
        {"claims": {"iss": "http://attacker.example"}},
        {"claims": {"iss": None}},
        {"claims": {"aud": "another"}},
        {"claims": {"aud": None}},
        {"claims": {"aud": "another", "azp": CLIENT}},
        {"claims": {"aud": ["another"], "azp": CLIENT, "nonce": "of-another-sign-in"}},
        {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
        {"claims": {"nonce": "of-another-sign-in"}},
        {"claims": {"nonce": None}},
        {"claims": {"exp": NOW - 3600}},
        {"claims": {"exp": None}},
        {"claims": {"iat": NOW + 36_000, "nbf": NOW + 36_000}},
        {"claims": {"sub": None}},
        {"claims": {"email": None}},
        {"claims": {"email": ""}},
        {"claims": {"email": "ann\u202e"}},
        {"claims": {"email": ["ann@example.com"]}},
        {"claims": {"email_verified": False}},
        {"algorithm": "HS256"},
        {"algorithm": "none"},
        {"token_status": 500},
    ],
    ids=str,
)
async def test_a_word_that_is_not_good_signs_nobody_in(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    async with provider() as one:
        for name, value in said.items():
            setattr(one, name, value)
        one.now_s = NOW
        settings = OidcSettings(**oidc_of(one))
        sign_in = OidcSignIn(b"k" * 32)
        place, cookie = await sign_in.begin(settings, NOW * 1000)
        asked = dict(parse_qsl(urlsplit(place).query))
        one.codes["c"] = asked
        with pytest.raises(ProxyError) as refused:
            await sign_in.end(settings, {"code": "c", "state": asked["state"]}, cookie, NOW * 1000)
        down = "token_status" in said
        assert refused.value.code == ("oidc_unavailable" if down else "oidc_refused"), said


async def test_new_keys_of_a_provider_and_keys_of_an_unknown_kind() -> None:
    """A provider changes its keys: the first sign-in is refused, and the next one is good."""
    async with provider() as one, provider() as other:
        one.now_s = NOW
        one.strange_keys = [{"kty": "OKP", "crv": "Ed999", "x": "AA", "kid": "q"}, {"kty": "RSA"}]
        one.strange_keys.append({"kty": "unknown", "x": "A" * 700_000})  # comes in several parts
        settings, sign_in = OidcSettings(**oidc_of(one)), OidcSignIn(b"k" * 32)
        outcomes = []
        for turn in range(3):
            place, cookie = await sign_in.begin(settings, NOW * 1000)
            one.codes["c"] = asked = dict(parse_qsl(urlsplit(place).query))
            if turn == 1:
                one.key = one.published = other.key
            query = {"code": "c", "state": asked["state"]}
            try:
                outcomes.append(await sign_in.end(settings, query, cookie, NOW * 1000))
            except ProxyError as refused:
                outcomes.append(refused.code)
        assert outcomes == ["ann@example.com", "oidc_refused", "ann@example.com"]


@pytest.mark.parametrize("wrong", ["key", "issuer", "jwks"])
async def test_a_provider_that_is_another_is_not_asked(wrong: str) -> None:
    async with provider() as one, provider() as other:
        one.now_s = NOW
        settings = OidcSettings(**oidc_of(one))
        if wrong == "issuer":
            one.discovery = {"issuer": other.url}
        if wrong == "jwks":
            one.discovery = {"jwks_uri": f"{one.url}/no-such"}
        if wrong == "key":
            one.published = other.key
        sign_in = OidcSignIn(b"k" * 32)
        with pytest.raises(ProxyError) as refused:
            place, cookie = await sign_in.begin(settings, NOW * 1000)
            one.codes["c"] = asked = dict(parse_qsl(urlsplit(place).query))
            await sign_in.end(settings, {"code": "c", "state": asked["state"]}, cookie, NOW * 1000)
        assert refused.value.code == ("oidc_refused" if wrong == "key" else "oidc_unavailable")


async def test_an_answer_that_was_not_asked_for_here_is_nobodys() -> None:
    async with provider() as one:
        one.now_s = NOW
        settings, sign_in = OidcSettings(**oidc_of(one)), OidcSignIn(b"k" * 32)
        place, cookie = await sign_in.begin(settings, NOW * 1000)
        asked = dict(parse_qsl(urlsplit(place).query))
        good = {"code": "c", "state": asked["state"]}
        one.codes["c"] = asked
        late = (NOW + LASTS_S) * 1000
        _, others = await OidcSignIn(b"x" * 32).begin(settings, NOW * 1000)
        for query, kept, now_ms in (
            (good, None, NOW * 1000),
            (good, "", NOW * 1000),
            (good, ".", NOW * 1000),
            (good, "é.é", NOW * 1000),
            (good, cookie[:-1] + ("0" if cookie[-1] != "0" else "1"), NOW * 1000),
            (good, others, NOW * 1000),
            (good, cookie, late),
            ({**good, "state": "x"}, cookie, NOW * 1000),
            ({"code": "c"}, cookie, NOW * 1000),
            ({"state": asked["state"], "error": "access_denied"}, cookie, NOW * 1000),
            ({**good, "iss": "http://attacker.example"}, cookie, NOW * 1000),
        ):
            with pytest.raises(ProxyError) as refused:
                await sign_in.end(settings, query, kept, now_ms)
            assert refused.value.code == "oidc_refused", query
        assert await sign_in.end(settings, good, cookie, NOW * 1000) == "ann@example.com"
        with pytest.raises(ProxyError, match="502"):
            await sign_in.end(settings, good, cookie, NOW * 1000)  # a code is good once


async def test_where_there_is_no_provider_there_is_no_such_page(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, admin_browser(admin) as one:
        for path in ("/ui/sign-in/oidc", "/ui/oidc?code=c&state=s"):
            status, _, headers = await one.get(path)
            assert (status, headers["Location"]) == (303, "/ui")
        assert STATE_COOKIE not in str((await one.get("/ui"))[2])
