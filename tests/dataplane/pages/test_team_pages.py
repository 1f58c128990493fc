"""Every page against every key, and every way in that is none."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from proxy.dataplane.pages.sign_in import COOKIE, FAILURES_MAX, FORM_COOKIE
from tests.admin.test_tenants import KEYS_PATH, MadeKeys, desk
from tests.dataplane.endpoints.test_team_usage import BLOCKS, KEYS, LEADS, TEAMS
from tests.dataplane.pages.visitor import PAGES, site, visitor
from tests.support.waiting import guard

SCRIPT = "<script>alert(1)</script>"
FORM = "application/x-www-form-urlencoded"


async def test_every_page_shows_every_key_its_own_and_no_more(tmp_path: Path) -> None:
    async with site(tmp_path) as admin:
        rows = admin.proxy.rows()
        records = {str(row["key_id"]): str(row["id"]) for row in rows}
        paths = [*PAGES, *(f"/ui/records/{id}" for id in records.values())]
        for key in ("alice", "bob", "carol", "dave", "loner"):
            team = next((name for name, keys in TEAMS.items() if key in keys), None)
            may = TEAMS[LEADS[key]] if key in LEADS else {key}
            async with visitor(admin) as one:
                assert (await one.sign_in(KEYS[key]))[0] == 303
                for path in paths:
                    status, text, headers = await one.get(path)
                    where = (key, path, text)
                    owner = next((name for name, id in records.items() if path.endswith(id)), key)
                    assert status == (200 if owner in may else 404), where
                    assert headers["Cache-Control"] == "no-store", where
                    assert "script" not in headers["Content-Security-Policy"], where
                    words = set(re.findall(r"[\w-]+", text))
                    assert not words & (set(KEYS) - may), where
                    assert not words & (set(TEAMS) - {team}), where
                    for name, id in records.items():
                        assert id not in text or name in may, where
                    for secret in (*KEYS.values(), "cost", "Cost", "secret_label", "sk-upstream"):
                        assert secret not in text, where
        assert admin.proxy.rows() == rows, "looking is not metered"


async def test_nobody_sees_a_page_without_a_sign_in(tmp_path: Path) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        id = str(admin.proxy.rows()[0]["id"])
        for path in (*PAGES, f"/ui/records/{id}", "/ui/other", "/ui/"):
            for cookie in (None, "x", "9999999999.YWxpY2U.YWJj"):
                said = {} if cookie is None else {"Cookie": f"tollkeeper_ui={cookie}"}
                status, text, headers = await one.get(path, headers=said)
                if path == "/ui":
                    assert status == 200 and "Your API key" in text
                else:
                    assert (status, headers["Location"], text) == (303, "/ui", "")
                assert "alice" not in text and headers["Cache-Control"] == "no-store"
            # A key in a header or the URL opens no page: what a browser keeps is the cookie alone.
            said = {"Authorization": f"Bearer {KEYS['alice']}"}
            status, text, _ = await one.get(f"{path}?key={KEYS['alice']}", headers=said)
            assert "lead of" not in text


async def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http(tmp_path: Path) -> None:
    async with site(tmp_path) as admin:
        for said, secure in (
            ({}, False),
            ({"X-Forwarded-Proto": "https"}, True),
            ({"Origin": f"https://{admin.proxy.address}"}, True),
        ):
            async with visitor(admin) as one:
                status, _, headers = await one.sign_in(f"  {KEYS['bob']}\n", headers=said)
                assert (status, headers["Location"]) == (303, "/ui")
                cookie = headers["Set-Cookie"]  # the first one
                assert cookie.startswith("tollkeeper_ui=")
                for attribute in ("Path=/ui", "Max-Age=3600", "HttpOnly", "SameSite=Strict"):
                    assert f"; {attribute}" in cookie
                assert cookie.endswith("; Secure") is secure
                assert KEYS["bob"] not in cookie


async def test_a_sign_in_ends_with_its_key(tmp_path: Path) -> None:
    async with site(tmp_path) as admin:
        first = await admin.make("eve", team="lab")
        async with visitor(admin) as one, visitor(admin) as other:
            assert (await one.sign_in(first))[0] == 303
            assert "eve" in (await one.get("/ui"))[1]
            made = await admin.ask("POST", f"{KEYS_PATH}/eve/rotate", {"grace": "0s"}, MadeKeys)
            status, text, headers = await one.get("/ui/use")
            assert status == 200 and "got a new secret" in text and "Max-Age=0" in str(headers)
            assert (await other.sign_in(made.keys[0].secret))[0] == 303
            cookie = {"Cookie": f"tollkeeper_ui={other.cookie}"}
            for verb, told in (("suspend", "is suspended"), ("resume", "of team")):
                await admin.ask("POST", f"{KEYS_PATH}/eve/{verb}", {})
                assert told in (await other.get("/ui", headers=cookie))[1]
            await admin.ask("DELETE", f"{KEYS_PATH}/eve", {"reason": "left"})
            assert "was revoked" in (await other.get("/ui", headers=cookie))[1]
            for key in (first, made.keys[0].secret):
                status, text, _ = await one.sign_in(key)
                assert status == 401 and "was revoked" in text


async def test_signing_out_takes_the_cookie_and_a_foreign_form_does_nothing(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["alice"])
        await one.get("/ui")
        token = {"token": one.form}
        for fields, said in (
            ({}, {}),
            ({"token": "x"}, {}),
            (token, {"Origin": "http://evil.example"}),
            (token, {"Sec-Fetch-Site": "cross-site", "Origin": "null"}),
        ):
            status, text, _ = await one.post("/ui/sign-out", fields, headers=said)
            assert status == 403 and "nothing was" in text
        assert "lead of" in (await one.get("/ui"))[1]
        copied = {"Cookie": f"{COOKIE}={one.cookie}"}
        assert (await one.post("/ui/sign-out", token, headers={"Origin": "null"}))[0] == 303
        assert one.cookie is None and "Your API key" in (await one.get("/ui"))[1]
        async with visitor(admin) as other:
            assert "Your API key" in (await other.get("/ui", headers=copied))[1]
        await one.sign_in(KEYS["alice"])
        assert "lead of" in (await one.get("/ui"))[1]


async def test_what_no_form_of_ours_sends_is_refused_with_a_page(tmp_path: Path) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        await one.get("/ui")
        good = {"key": KEYS["bob"], "token": one.form}
        cases: list[tuple[int, object, dict[str, str]]] = [
            (403, {"key": KEYS["bob"]}, {}),
            (403, {**good, "token": "x" * 43}, {}),
            (403, good, {"Origin": "http://evil.example"}),
            (403, good, {"Sec-Fetch-Site": "same-site"}),
            (415, "{}", {"Content-Type": "application/json"}),
            (415, b"\x1f\x8b", {"Content-Type": FORM, "Content-Encoding": "gzip"}),
            (400, "key=a&key=b", {"Content-Type": FORM}),
            (400, "key=%FF", {"Content-Type": FORM}),
            (413, "key=" + "a" * 5000, {"Content-Type": FORM}),
            (401, {**good, "key": ""}, {}),
            (401, {**good, "key": "é\u202e" + SCRIPT}, {}),
        ]
        for status, body, said in cases:
            got, text, headers = await one.post("/ui/sign-in", body, headers=said)  # type: ignore[arg-type]
            assert got == status, (status, body, text)
            assert headers["Content-Type"].startswith("text/html") and "<script" not in text
            assert KEYS["bob"] not in text and one.cookie is None
        for method, path, allowed in (
            ("POST", "/ui", "GET, HEAD"),
            ("GET", "/ui/sign-in", "POST"),
            ("DELETE", "/ui/records", "GET, HEAD"),
        ):
            async with one.session.request(method, f"{one.url}{path}") as response:
                assert (response.status, response.headers["Allow"]) == (405, allowed)
        async with visitor(admin) as other:  # it has no cookie of the form
            assert (await other.post("/ui/sign-in", good))[0] == 403
        # In pieces, as HTTP/1.1 allows.
        pieces = f"key={KEYS['bob']}&token={one.form}".encode()

        async def chunks():  # type: ignore[no-untyped-def]
            for at in range(0, len(pieces), 7):
                yield pieces[at : at + 7]

        said = {"Content-Type": FORM}
        assert (await one.post("/ui/sign-in", chunks(), headers=said))[0] == 303  # type: ignore[arg-type]


async def test_wrong_keys_are_bounded_and_counted_and_a_sign_in_goes_on(tmp_path: Path) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one, visitor(admin) as guessing:
        await one.sign_in(KEYS["alice"])
        answers = [await guessing.sign_in(f"vk-no-such-{n:020}") for n in range(2 * FAILURES_MAX)]
        # A minute may have begun meanwhile.
        assert {status for status, _, _ in answers} == {401, 429}
        for status, text, headers in answers:
            if status == 429:
                assert 0 < int(headers["Retry-After"]) <= 60 and "Too many wrong keys" in text
        assert "lead of" in (await one.get("/ui"))[1]
        async with one.session.get(admin.proxy.metrics_url) as response:
            page = await response.text()
        assert 'code="too_many_sign_ins"' in page and 'code="invalid_api_key"' in page


async def test_a_page_of_a_listed_origin_may_not_read_these(tmp_path: Path) -> None:
    origin = "http://localhost:3000"
    async with site(tmp_path, cors={"origins": [origin]}) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["alice"])
        for path in PAGES:
            _, _, headers = await one.get(path, headers={"Origin": origin})
            assert not [name for name in headers if name.lower().startswith("access-control")]


async def test_where_they_are_off_nothing_is_there(tmp_path: Path) -> None:
    async with desk(tmp_path, **BLOCKS) as admin, visitor(admin) as one:
        for path in (*PAGES, "/ui/sign-in"):
            status, text, headers = await one.get(path)
            assert status == 404 and "unknown_path" in text and "Set-Cookie" not in headers


@pytest.mark.parametrize("costs", [False, True])
async def test_costs_are_shown_where_the_operator_says_so(tmp_path: Path, costs: bool) -> None:
    async with site(tmp_path, costs=costs) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["alice"])
        id = next(str(row["id"]) for row in admin.proxy.rows() if row["key_id"] == "alice")
        for path in ("/ui", "/ui/use", "/ui/records", f"/ui/records/{id}", "/ui/export.csv"):
            text = (await one.get(path))[1]
            assert ("cost" in text.lower()) is costs, (path, text)
            assert "0.013" in text


async def test_names_that_callers_make_up_stay_text(tmp_path: Path) -> None:
    async with site(
        tmp_path,
        attribution={"end_user": ["header:x-end-user"]},
        privacy={"end_user": "plain"},
        keys={**BLOCKS["keys"], "eve": {"team": "lab", "secret": "vk-ev-0Aa1Bb2Cc3Dd4Ee5Ff6Gg"}},
    ) as admin:
        for key in ("carol",):
            async with aiohttp.ClientSession() as session:
                body = {"model": SCRIPT, "messages": [{"role": "user", "content": "x"}]}
                said = {"Authorization": f"Bearer {KEYS[key]}", "x-end-user": "<b>=1+1</b>"}
                url = f"{admin.proxy.base_url}/chat/completions"
                async with session.post(url, json=body, headers=said) as response:
                    assert response.status == 200, await response.text()
        rows = await admin.proxy.records(len(KEYS) + 1)
        assert rows[-1]["model_requested"] == SCRIPT and rows[-1]["end_user"] == "<b>=1+1</b>"
        async with visitor(admin) as one:
            await one.sign_in(KEYS["carol"])
            shown = "&lt;script&gt;alert(1)&lt;/script&gt;"
            for path in ("/ui/use", "/ui/records", f"/ui/records/{rows[-1]['id']}"):
                text = (await one.get(path))[1]
                assert shown in text and "<script" not in text and "<b>" not in text, path
            _, text, headers = await one.get("/ui/export.csv")
            assert headers["Content-Type"] == "text/csv; charset=utf-8"
            assert re.fullmatch(
                r'attachment; filename="usage-\d{4}-\d\d.csv"', headers["Content-Disposition"]
            )


async def test_a_form_that_says_it_is_huge_is_refused_before_it_comes(tmp_path: Path) -> None:
    async with site(tmp_path) as admin:
        host, _, port = admin.proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /ui/sign-in HTTP/1.1\r\nHost: h\r\nContent-Type: {FORM}\r\n"
        writer.write(f"{head}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode())
        async with guard():
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        await writer.wait_closed()


async def test_wrong_keys_at_once_count_as_one_after_another(tmp_path: Path) -> None:
    """Forms that are held back before their last byte have all been begun before the first count."""
    async with site(tmp_path) as admin, visitor(admin) as one:
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
