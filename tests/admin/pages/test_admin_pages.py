"""Every page and every form for every role, and every way in that is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.admin.pages.admin_pages import TEMPLATES
from proxy.admin.pages.visitors import COOKIE
from proxy.dataplane.pages.sign_in import FAILURES_MAX
from tests.admin.pages.office import (
    FOR_ADMINS,
    PAGES,
    admin_browser,
    office,
    once_of,
    rewrite_admin,
    signed_in,
)
from tests.admin.test_tenants import desk
from tests.dataplane.endpoints.test_team_usage import ADMIN, BLOCKS, KEYS, VIEWER
from tests.support.postgres import postgres
from tests.support.waiting import until

# Each form that there is: where it goes, and what it says.
FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/ui/keys", {"name": "new-1", "team": "lab"}),
    ("/ui/teams", {"name": "new-team"}),
    *(
        (f"/ui/{kind}s/{name}/{verb}", fields)
        for kind, name in (("key", "alice"), ("key", "made"), ("team", "lab"))
        for verb, fields in (
            ("suspend", {"cut": "yes"}),
            ("resume", {}),
            ("rotate", {"grace": "0s"}),
            ("edit", {"models": "x-*"}),
            ("revoke", {"sure": name}),
        )
    ),
    (
        "/ui/credit",
        {"limit": "team:research/requests/month", "amount": "5", "reason": "fair"},
    ),
    ("/ui/config/reload", {}),
)
SECRETS = (*KEYS.values(), ADMIN, VIEWER, "sk-upstream")


async def test_every_page_shows_no_secret_and_a_viewer_no_form(tmp_path: Path) -> None:
    async with office(tmp_path) as admin:
        made = await admin.make("made", team="lab")
        id = str(admin.proxy.rows()[0]["id"])
        before = admin.proxy.rows()
        for token in (ADMIN, VIEWER):
            async with signed_in(admin, token) as one:
                for path in (*PAGES, *FOR_ADMINS, "/ui/keys/made", f"/ui/records/{id}"):
                    status, text, headers = await one.get(path)
                    allowed = token == ADMIN or path not in FOR_ADMINS
                    assert status == (200 if allowed else 403), (path, text)
                    assert headers["Cache-Control"] == "no-store", path
                    assert "script" not in headers["Content-Security-Policy"], path
                    assert not [secret for secret in (*SECRETS, made) if secret in text], path
                    if token == VIEWER:
                        forms = re.findall(r'<form method="post" action="([^"]+)"', text)
                        changing = [form for form in forms if form != "/ui/ledger"]  # verifies it
                        assert changing == (["/ui/sign-out"] if allowed else []), path
        assert admin.proxy.rows() == before, "looking is not metered"


async def test_no_form_of_a_viewer_a_stranger_or_another_site_changes_anything(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as admin:
        await admin.make("made", team="lab")
        reader = admin.proxy.server.services.reader
        audit, credits = reader.audit_head(), reader.credits(None, None, 9)
        async with signed_in(admin, VIEWER) as one, admin_browser(admin) as nobody:
            await one.get("/ui")
            await nobody.get("/ui")
            for path, fields in FORMS:
                told = fields | {"token": one.form, "once": "x"}
                status, text, _ = await one.post(path, told)
                # A team has no secret to rotate, whoever asks.
                assert status == (405 if path.endswith("lab/rotate") else 403), (path, text)
                assert status == 405 or "may only look" in text
                status, _, headers = await nobody.post(path, fields | {"token": nobody.form})
                assert (status, headers["Location"]) == (303, "/ui"), path
        async with signed_in(admin) as one:
            await one.get("/ui")
            token = {"token": one.form}
            for path, fields in FORMS:
                for more, said in (
                    ({}, {}),
                    ({"token": "x"}, {}),
                    (token, {"Origin": "http://evil.example"}),
                    (token, {"Origin": f"https://{admin.proxy.server.addresses.admin}1"}),
                    (token, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}),
                    (token, {"Sec-Fetch-Site": "same-site"}),
                    (token, {"Host": "attacker.example"}),
                ):
                    status, text, _ = await one.post(path, fields | more, headers=said)
                    assert status == 403 and "Not done" in text, (path, said, text)
                said = {"Content-Type": "text/plain"}
                assert (await one.post(path, fields | token, headers=said))[0] == 415
            async with one.session.post(f"{one.url}/ui/keys/alice/suspend", json={}) as response:
                assert response.status == 415
        assert (reader.audit_head(), reader.credits(None, None, 9)) == (audit, credits)


async def test_each_form_of_an_admin_does_it_and_the_audit_says_who(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        secret = await admin.make("made", team="lab")
        await one.get("/ui")
        token = {"token": one.form}
        for path, fields in FORMS:
            status, text, _ = await one.post(path, {**fields, **token, "reason": "why-4711"})
            # What the config says is changed there: only its state is kept here.
            in_file = "alice/" in path or "teams/lab/" in path
            by_file = in_file and path.rpartition("/")[2] in ("rotate", "edit", "revoke")
            gone = path == "/ui/teams/lab/rotate"
            wanted = 405 if gone else 409 if by_file else 200 if "rotate" in path else 303
            assert status == (200 if path == "/ui/keys" else wanted), (path, text)
            assert not by_file or gone or "stands in config.yaml" in text
        assert (await admin.call(secret))[0] == 401
        _, text, _ = await one.get("/ui/audit")
        for deed in ("create", "suspend", "resume", "rotate", "edit", "revoke"):
            assert re.search(rf"<td><bdi>ops</bdi></td><td>(key|team)\.{deed} ", text), deed
        assert "page 127.0.0.1" in text and "why-4711" in text
        _, text, _ = await one.get("/ui/credit?limit=team:research/requests/month")
        assert "<bdi>ops</bdi>" in text and "<bdi>why-4711</bdi>" in text


async def test_a_secret_is_shown_once_and_the_same_form_makes_no_second_key(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        _, text, _ = await one.get("/ui/new/key?team=lab")
        fields = {"name": "ci", "team": "lab", "limits": "5 requests/day", "labels": "who = me"}
        form = fields | {"token": one.form, "once": once_of(text)}
        answers = [await one.post("/ui/keys", form) for _ in range(2)]
        secrets = {re.findall(r"sk-tk-\w+", text)[0] for _, text, _ in answers}
        assert [status for status, _, _ in answers] == [200, 200] and len(secrets) == 1
        [secret] = secrets
        assert (await admin.call(secret))[0] == 200
        _, text, _ = await one.get("/ui/keys/ci")
        assert "5 requests/day" in text and "label who" in text and secret not in text
        _, text, _ = await one.get("/ui/keys/ci")
        rotated = {"token": one.form, "once": once_of(text), "grace": "1h"}
        again = [await one.post("/ui/keys/ci/rotate", rotated) for _ in range(2)]
        made = {re.findall(r"sk-tk-\w+", text)[0] for _, text, _ in again}
        assert len(made) == 1 and not made & secrets
        assert {(await admin.call(each))[0] for each in (*made, *secrets)} == {200}
        credit = {"limit": "team:research/requests/month", "amount": "5", "reason": "fair"}
        await one.get("/ui")
        for _ in range(2):
            form = credit | {"token": one.form, "once": "the-same"}
            assert (await one.post("/ui/credit", form))[0] == 303
        assert len(admin.proxy.server.services.reader.credits(None, None, 9)) == 1


async def test_nobody_sees_a_page_without_a_sign_in(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, admin_browser(admin) as one:
        for path in (*PAGES, *FOR_ADMINS, "/ui/other", "/ui/keys/alice/suspend"):
            for cookie in (None, "x", "9999999999.b3Bz.YWJj"):
                said = {} if cookie is None else {"Cookie": f"tollkeeper_admin={cookie}"}
                status, text, headers = await one.get(path, headers=said)
                if path == "/ui":
                    assert status == 200 and "Your admin token" in text
                else:
                    assert (status, headers["Location"], text) == (303, "/ui", "")
            # What opens the API opens no page.
            said = {"Authorization": f"Bearer {ADMIN}"}
            assert "may only look" not in (await one.get(path, headers=said))[1]
            assert (await one.get(path, headers={"Host": "attacker.example"}))[0] == 403
        # And a cookie of a page opens no API.
        assert (await one.sign_in(ADMIN))[0] == 303
        async with one.session.get(f"{one.url}/admin/v1/keys") as response:
            assert response.status == 401
        async with admin_browser(admin) as other:
            for key in KEYS.values():
                assert (await other.sign_in(key))[0] == 401


async def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http(tmp_path: Path) -> None:
    async with office(tmp_path) as admin:
        at = admin.proxy.server.addresses.admin
        for said, secure in (({}, False), ({"Origin": f"https://{at}"}, True)):
            async with admin_browser(admin) as one:
                status, _, headers = await one.sign_in(f" {ADMIN}\n", headers=said)
                cookie = headers["Set-Cookie"]  # the first one
                assert status == 303 and cookie.startswith("tollkeeper_admin=")
                for attribute in ("Path=/ui", "Max-Age=3600", "HttpOnly", "SameSite=Strict"):
                    assert f"; {attribute}" in cookie
                assert cookie.endswith("; Secure") is secure and ADMIN not in cookie


async def test_a_sign_in_ends_with_its_token_and_has_its_role(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        ops = {"token": ADMIN, "role": "admin"}
        for tokens, told in (
            ({"ops": ops}, "New key"),
            ({"ops": {**ops, "role": "viewer"}}, "may only look"),
            ({"other": ops}, "Your admin token"),
            ({"ops": {**ops, "token": VIEWER}}, "Your admin token"),
            ({"ops": {**ops, "token": ""}, "b": {"token": VIEWER}}, "Your admin token"),
        ):
            await rewrite_admin(admin, tokens)
            said = {"Cookie": f"tollkeeper_admin={one.cookie}"}
            status, text, _ = await one.get("/ui/keys", headers=said)
            if status == 303:
                text = (await one.get("/ui", headers=said))[1]
            assert told in text, tokens


async def test_signing_out_takes_the_cookie(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        await one.get("/ui")
        assert (await one.post("/ui/sign-out", {"token": "x"}))[0] == 403
        assert "Overview" in (await one.get("/ui"))[1]
        copied = {"Cookie": f"{COOKIE}={one.cookie}"}
        async with admin_browser(admin) as other:
            assert "Overview" in (await other.get("/ui", headers=copied))[1]
        assert (await one.post("/ui/sign-out", {"token": one.form}))[0] == 303
        assert "Your admin token" in (await one.get("/ui"))[1]
        async with admin_browser(admin) as other:
            assert "Your admin token" in (await other.get("/ui", headers=copied))[1]
        assert (await one.sign_in(ADMIN))[0] == 303 and "Overview" in (await one.get("/ui"))[1]


async def test_wrong_tokens_are_bounded(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one, admin_browser(admin) as guess:
        answers = [await guess.sign_in(f"adm-no-such-{n:020}") for n in range(2 * FAILURES_MAX)]
        # A minute may have begun meanwhile.
        assert {status for status, _, _ in answers} == {401, 429}
        assert "Overview" in (await one.get("/ui"))[1]


async def test_what_no_form_of_ours_sends_is_refused_with_a_page(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        await one.get("/ui")
        token = {"token": one.form}
        for path, fields, wanted in (
            ("/ui/keys", token | {"name": "x" * 70_000}, 413),
            ("/ui/keys", token | {"name": "a b"}, 400),
            ("/ui/keys", token | {"name": "n", "count": "-1"}, 400),
            ("/ui/keys", token | {"name": "n", "labels": "no sign"}, 400),
            ("/ui/keys", token | {"name": "n", "limits": "{"}, 400),
            ("/ui/keys", token | {"name": "n", "limits": "many requests"}, 400),
            ("/ui/keys", token | {"name": "n", "team": "no-such"}, 400),
            ("/ui/keys/no-such/suspend", token, 404),
            ("/ui/keys/made/revoke", token | {"sure": "other"}, 400),
            ("/ui/keys/alice/other", token, 405),
            ("/ui/audit", token, 405),
            ("/ui/credit", token | {"limit": "no-such", "amount": "1", "reason": "r"}, 404),
            ("/ui/credit", token | {"amount": "1"}, 404),
        ):
            status, text, headers = await one.post(path, fields)
            assert (status, "This was not done" in text) == (wanted, True), (path, fields, text)
            assert headers["Content-Type"] == "text/html; charset=utf-8"
        for method, path in (("PUT", "/ui"), ("DELETE", "/ui/keys/alice"), ("GET", "/ui/sign-in")):
            async with one.session.request(method, f"{one.url}{path}") as response:
                assert response.status == 405 and response.headers["Allow"], path
        for path in ("/ui/other", "/ui/keys/no-such", "/ui/records/x", "/ui/new/x", "/uix"):
            assert (await one.get(path))[0] in (404, 401), path
        for path in (
            "/ui?x=1",
            "/ui/use?by=label",
            "/ui/use?month=2026-13",
            "/ui/records?day=2026-11",
            "/ui/records?month=2026-11&day=2026-11-01",
            "/ui/records?without=team&team=a",
            "/ui/records?from=2026-11-02&to=2026-11-01",
            "/ui/records?before=0",
            "/ui/keys?state=other",
            "/ui/limits?near=x",
            "/ui/prices?row=-1",
        ):
            status, text, _ = await one.get(path)
            assert (status, "This was not done" in text) == (400, True), (path, text)


async def test_where_they_are_off_nothing_is_there(tmp_path: Path) -> None:
    async with desk(tmp_path, **BLOCKS) as admin, admin_browser(admin) as one:
        for path in (*PAGES, "/ui/sign-in"):
            status, text, headers = await one.get(path)
            assert status == 401 and "invalid_admin_token" in text and "Set-Cookie" not in headers


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_is_one_of_a_page(name: str) -> None:
    files = Path("proxy/admin/pages/files"), Path("proxy/dataplane/pages/files")
    assert any((directory / f"{name}.html").exists() for directory in files)


@pytest.mark.whole  # a server of its own
async def test_every_page_opens_over_a_shared_ledger_and_tells_who_shares_it(
    tmp_path: Path,
) -> None:
    blocks = {**BLOCKS, "pages": {"admin": True}, "instance": "one"}
    blocks["ledger"] = {"url": postgres().database()}
    async with desk(tmp_path, **blocks) as admin:
        for name, secret in KEYS.items():
            assert await admin.call(secret) == (200, ""), name
        reader = admin.proxy.server.services.reader
        await until(lambda: reader.head() == len(KEYS))
        async with signed_in(admin) as one:
            for path in PAGES:
                status, text, _ = await one.get(path)
                assert status == 200, (path, text)
            _, text, _ = await one.get("/ui/ledger")
            assert "Processes that share it" in text and "<bdi>one</bdi></th><td>live" in text
            _, text, _ = await one.get("/ui/records?team=research")
            assert text.count('<a href="/ui/records/') == 3 and "0.039 USD" in text
            await one.get("/ui")
            form = {"token": one.form, "reason": "leaked"}
            assert (await one.post("/ui/keys/bob/suspend", form))[0] == 303
            assert "key.suspend" in (await one.get("/ui/audit"))[1]
            assert await admin.call(KEYS["bob"]) == (401, "key_suspended")
