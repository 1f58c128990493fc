"""Whatever is asked of the pages, the answer is a page or a refusal, and never a fault of ours."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from proxy.admin.pages.visitors import FORM_COOKIE
from tests.admin.pages.office import FOR_ADMINS, PAGES, admin_browser, office, signed_in
from tests.admin.test_tenants import Desk
from tests.support.waiting import guard

PATHS = (
    b"/ui/",
    b"//ui",
    b"/ui//keys",
    b"/ui/keys/",
    b"/ui/keys//alice",
    b"/ui/./keys",
    b"/ui/../admin/v1/keys",
    b"/ui/%2e%2e/admin/v1/keys",
    b"/ui/keys/alice%2fsuspend",
    b"/ui/keys/..%2f..%2fconfig",
    b"/ui/keys/%00",
    b"/ui/keys/%ff%fe",
    b"/ui/keys/%",
    b"/ui/keys/" + b"a" * 4000,
    b"/ui/records/%3Cscript%3E",
    b"/ui/records?month=2026-11%00",
    b"/ui/records?key=%ff",
    b"/ui/records?key=%ed%a0%80",
    b"/ui/records?from=99999999999999&to=1",
    b"/ui/records?from=-1",
    b"/ui/records?from=0001-01-01&to=9999-12-31",
    b"/ui/records?before=9223372036854775807",
    b"/ui/records?before=1e9",
    b"/ui/records?team=" + b"a" * 3000,
    b"/ui/records?without=" + b"team," * 500,
    b"/ui/records?form=1&form=1&key=&key=",
    b"/ui/records?key=%27%3B%20DROP%20TABLE%20records%3B--",
    b"/ui/use?month=9999-12",
    b"/ui/use?month=2000-01",
    b"/ui/use?by=team,key",
    b"/ui/use?by=__class__",
    b"/ui/audit?before=0",
    b"/ui/audit?before=9999999999",
    b"/ui/audit?before=99999999999999999999",
    b"/ui/prices?after=99999999999",
    b"/ui/prices/..%2f",
    b"/ui/prices?search={{7*7}}",
    b"/ui/limits?after=AAAA",
    b"/ui/limits?after=%00&near=1e400",
    b"/ui/limits?team=research&key=alice",
    b"/ui/credit",
    b"/ui/credit?limit=%ff",
    b"/ui/ledger?check=../../etc/passwd",
    b"/ui/config/reload",
    b"/ui/new/key?team={{config}}",
    b"/ui/style-000000000000.css",
    b"/ui?%00=%00",
    b"/ui?" + b"a=1&" * 900,
)
HEADS = (
    b"Cookie: " + b"tollkeeper_admin=x; " * 300,
    b"Cookie: tollkeeper_admin=\xff\xfe",
    b"Cookie: tollkeeper_admin=9999999999999999999999.YQ.YQ",
    b"X-HTTP-Method-Override: DELETE",
    b"X-Original-URL: /admin/v1/keys",
    b"X-Forwarded-Host: attacker.example",
    b"Content-Length: 5",
    b"Accept: application/json",
    b"Range: bytes=0-1",
    b"If-None-Match: *",
)


async def raw(admin: Desk, method: bytes, path: bytes, *heads: bytes, body: bytes = b"") -> int:
    """The status of an answer to these bytes; 0: the connection ended without one."""
    host, _, port = admin.proxy.server.addresses.admin.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [b"%s %s HTTP/1.1" % (method, path), b"Host: 127.0.0.1", *heads]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    async with guard():
        first = await reader.readline()
    writer.close()
    return int(first.split()[1]) if first else 0


async def test_strange_addresses_and_heads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        cookie = f"Cookie: tollkeeper_admin={one.cookie}".encode()
        for known in ((cookie,), ()):
            for path in PATHS:
                for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT"):
                    status = await raw(admin, method, path, *known)
                    assert status in (200, 303, 400, 401, 403, 404, 405, 414), (
                        method,
                        path,
                        status,
                    )
                    if path in (b"/ui/../admin/v1/keys", b"/ui/%2e%2e/admin/v1/keys"):
                        assert status != 200, path
            for head in HEADS:
                status = await raw(admin, b"GET", b"/ui/keys", *known, head, body=b"hello")
                assert status in (200, 303, 400, 431), (head, status)
        assert not [one for one in caplog.records if one.levelname == "ERROR"], caplog.text
        assert (await one.get("/ui/keys/alice"))[1].count(">active<") == 1


async def test_strange_forms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        await one.get("/ui")
        reader = admin.proxy.server.services.reader
        cookie = f"Cookie: tollkeeper_admin={one.cookie}".encode()
        kind = b"Content-Type: application/x-www-form-urlencoded"
        token = f"token={one.form}".encode()
        for path in (b"/ui/keys", b"/ui/keys/alice/suspend", b"/ui/credit", b"/ui/sign-in"):
            for body in (
                b"",
                b"&&&&",
                b"=",
                b"%ff%fe=%00",
                token + b"&" + token,
                token + b"&name=a&name=b",
                token + b"&name=%00&says=%7B%7D",
                token + b"&once=" + b"x" * 400,
                token + b"&limit=%00&amount=NaN&reason=%0a",
                token + b"&limit=team:research/requests/month&amount=1e9&reason=r",
                b"&".join(b"f%d=1" % n for n in range(100)),
                b'{"token":"x"}',
                "токен=1".encode(),
            ):
                length = b"Content-Length: %d" % len(body)
                if path == b"/ui/keys/alice/suspend" and body.startswith(token + b"&once"):
                    continue  # a good form: this order needs no word that is good once
                if path == b"/ui/keys/alice/suspend" and body.startswith(token + b"&limit"):
                    continue
                if path == b"/ui/keys/alice/suspend" and body.startswith(token + b"&name=%00"):
                    continue
                status = await raw(admin, b"POST", path, cookie, kind, length, body=body)
                assert status in (400, 401, 403, 404, 422, 429), (path, body, status)
            for heads in (
                (kind, b"Content-Length: -1"),
                (kind, b"Transfer-Encoding: chunked", b"Content-Length: 3"),
                (kind, b"Content-Encoding: gzip", b"Content-Length: 3"),
                (kind + b"; charset=utf-7", b"Content-Length: 3"),
                (b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: 3"),
                (kind, kind, b"Content-Length: 3"),
            ):
                status = await raw(admin, b"POST", path, cookie, *heads, body=b"a=1")
                assert status in (400, 403, 415), (path, heads, status)
        assert reader.audit_head() == 0 and reader.credits(None, None, 9) == []
        assert not [one for one in caplog.records if one.levelname == "ERROR"], caplog.text


async def test_two_browsers_on_one_form_and_a_form_of_before_a_reload(tmp_path: Path) -> None:
    """A token of a form is its browser's: another sign-in of the same person has others."""
    async with office(tmp_path) as admin, signed_in(admin) as one, admin_browser(admin) as other:
        await one.get("/ui")
        form = {"token": one.form}
        await asyncio.sleep(0)
        await other.get("/ui")
        assert (await other.post("/ui/sign-in", {"key": "x", "token": one.form}))[0] == 403
        await admin.ask("POST", "/admin/v1/reload", {}, dict)
        assert (await one.post("/ui/keys/alice/suspend", form))[0] == 303


async def test_wrong_tokens_at_once_count_as_one_after_another(tmp_path: Path) -> None:
    """Forms that are held back before their last byte have all been begun before the first count."""
    async with office(tmp_path) as admin, admin_browser(admin) as one:
        await one.get("/ui")
        form = {cookie.key: cookie.value for cookie in one.session.cookie_jar}[FORM_COOKIE]
        body = f"key=wrong&token={one.form}".encode()
        head = (
            "POST /ui/sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Cookie: {FORM_COOKIE}={form}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        ).encode()
        host, _, port = one.url.removeprefix("http://").rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
        for _, writer in held:
            writer.write(head + body[:-1])
        await one.get("/ui")
        statuses = []
        for reader, writer in held:
            writer.write(body[-1:])
            async with guard():
                statuses.append(int((await reader.readline()).split()[1]))
            writer.close()
        # At most twice ten are looked at, where a minute ends in between.
        assert set(statuses) == {401, 429} and statuses.count(429) >= 10, statuses


async def test_the_second_of_two_changes_of_one_page_is_refused(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        await one.get("/ui")
        form = {"token": one.form}
        assert (await one.post("/ui/keys", {**form, "name": "new"}))[0] == 200
        _, text, _ = await one.get("/ui/keys/new")
        found = re.search(r'name="seen" value="([^"]+)"', text)
        assert found is not None
        form |= {"seen": found[1]}
        assert (await one.post("/ui/keys/new/edit", {**form, "labels": "a=1"}))[0] == 303
        status, text, _ = await one.post("/ui/keys/new/edit", {**form, "labels": "b=2"})
        assert status == 409 and "was changed since your page was made" in text
        assert "a=1" in (await one.get("/ui/keys/new"))[1]


async def test_an_origin_that_is_no_address_is_foreign(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        await one.get("/ui")
        for origin in ("http://[::1", "http://[", "http://a]", "http://[x]", "//", "http://"):
            said = {"Origin": origin}
            answer = await one.post("/ui/keys/alice/suspend", {"token": one.form}, headers=said)
            assert answer[0] == 403 and "from another site" in answer[1], origin


async def test_a_viewer_changes_nothing_by_any_method_at_any_page(tmp_path: Path) -> None:
    tokens = {"look": {"token": "q8Zt3LmX0vRk7Yw2Nc5Hd9Pb4Ge6Jf1S", "role": "viewer"}}
    names = ("keys/alice", "teams/research")
    verbs = ("suspend", "resume", "rotate", "revoke", "edit")
    orders = [f"/ui/{name}/{verb}" for name in names for verb in verbs]
    paths = [*PAGES, *FOR_ADMINS, "/ui/keys", "/ui/teams", "/ui/config/reload", *orders]
    form = {"name": "alice", "amount": "5", "reason": "r", "labels": "a=1"}
    form["limit"] = "team:research/requests/month"
    async with (
        office(tmp_path, admin={"tokens": tokens}) as admin,
        signed_in(admin, tokens["look"]["token"]) as one,
    ):
        await one.get("/ui")
        for path in paths:
            sent = {**form, "token": one.form, "sure": path.split("/")[3] if path in orders else ""}
            for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
                url = f"{one.url}{path}"
                async with one.session.request(
                    method, url, data=sent, allow_redirects=False
                ) as got:
                    assert got.status in (400, 403, 404, 405), (method, path, got.status)
        assert admin.proxy.server.services.reader.audit_head() == 0
