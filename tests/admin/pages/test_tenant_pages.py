"""Lists of keys and teams are searched and have pages; what the config says has no buttons."""

from __future__ import annotations

import html
import re
from pathlib import Path

from proxy.admin.pages.tenant_pages import PAGE
from proxy.admin.tenants import KEYS_PATH, TEAMS_PATH
from proxy.core.managed import TenantKind
from proxy.tenants.directory import said
from tests.admin.pages.office import office, once_of, signed_in
from tests.dataplane.endpoints.test_team_usage import KEYS


async def test_keys_are_searched_and_pages_join(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        body = {"name": "Ci", "count": 120, "says": {"team": "lab"}}
        await admin.ask("POST", KEYS_PATH, body, dict)
        found: list[str] = []
        path = "/ui/keys?search=cI-"
        while path:
            _, text, _ = await one.get(path)
            names = re.findall(r'<a href="/ui/keys/([^"]+)">', text)
            assert len(names) <= PAGE
            found += names
            more = re.search(r'<a href="([^"]+)">More</a>', text)
            path = more[1].replace("&amp;", "&") if more is not None else ""
        assert found == sorted(f"Ci-{n}" for n in range(1, 121))
        _, text, _ = await one.get("/ui/keys?form=1&search=&team=research&state=")
        assert re.findall(r'<a href="/ui/keys/([^"]+)">', text) == ["alice", "bob", "shut"]
        assert "There is no such key" in (await one.get("/ui/keys?search=%3Cscript"))[1]
        await admin.ask("POST", TEAMS_PATH, {"name": "labor"}, dict)
        _, text, _ = await one.get("/ui/teams?search=LAB")
        assert re.findall(r'<a href="/ui/teams/([^"]+)">', text) == ["lab", "labor"]
        assert "0.026 USD" in text, "what it used this month"


async def test_what_the_config_says_can_only_be_suspended(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        await admin.make("made", team="lab", limits=["5 requests/day"])
        verbs = {}
        for page in ("keys/alice", "keys/made", "teams/lab"):
            _, text, _ = await one.get(f"/ui/{page}")
            verbs[page] = re.findall(rf'action="/ui/{page}/(\w+)"', text)
            assert ("changed there" in text) is (page != "keys/made")
        assert verbs == {
            "keys/alice": ["suspend"],
            "keys/made": ["suspend", "rotate", "edit", "revoke"],
            "teams/lab": ["suspend"],
        }


async def test_suspend_resume_edit_and_revoke_one_key(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        secret = await admin.make("made", team="lab", models=["m-*"])
        for verb, fields, told, answered in (
            ("suspend", {"cut": "yes"}, "It is suspended", (401, "key_suspended")),
            ("resume", {}, "It is resumed", (200, "")),
            ("edit", {"models": "x-*", "team": "lab"}, "in effect", (403, "model_not_allowed")),
            ("revoke", {"sure": "made"}, "revoked for good", (401, "key_revoked")),
        ):
            _, text, _ = await one.get("/ui/keys/made")
            form = fields | {"token": one.form, "once": once_of(text)}
            status, _, headers = await one.post(f"/ui/keys/made/{verb}", form)
            assert status == 303, verb
            _, text, _ = await one.get(headers["Location"])
            assert told in text and await admin.call(secret) == answered, verb
        assert "<button>Suspend" not in text and "<button" in text, "an end for good"
        _, text, _ = await one.get("/ui/keys?state=revoked")
        assert ">made</a>" in text


async def test_a_form_that_is_sent_as_it_came_changes_nothing_and_one_field_only_itself(
    tmp_path: Path,
) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        says = {
            "team": "lab",
            "role": "lead",
            "models": ["m-*", "x"],
            "labels": {"who": "me & <you>", "a": "b"},
            "limits": ["5 requests/day", {"limit": "9 USD/month", "enforce": "strict"}],
            "limits_add": ["7 requests/week"],
        }
        await admin.make("made", **says)
        _, text, _ = await one.get("/ui/keys/made")
        form = fields_of(text, "/ui/keys/made/edit")
        status, text, _ = await one.post("/ui/keys/made/edit", form)
        assert status == 400 and "names nothing to change" in text
        _, text, _ = await one.get("/ui/keys/made")
        form = fields_of(text, "/ui/keys/made/edit") | {"limits_add": "8 requests/week"}
        assert (await one.post("/ui/keys/made/edit", form))[0] == 303
        row = admin.proxy.server.services.directory.rows[TenantKind.KEY, "made"]
        assert said(row) == says | {"limits_add": ["8 requests/week"]}


def fields_of(text: str, action: str) -> dict[str, str]:
    """The fields of a form as a browser would send them back."""
    form = text.split(f'action="{action}"')[1].split("</form>")[0]
    found = dict(re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"', form))
    found |= dict(re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>([^<]*)</textarea>', form))
    found |= {"role": re.findall(r"<option selected>([^<]+)<", form)[0]}
    return {name: html.unescape(value).replace("\n", "\r\n") for name, value in found.items()}


async def test_a_new_team_and_a_page_of_one(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        _, text, _ = await one.get("/ui/new/team")
        form = {"name": "sales", "limits": "500 USD/month", "labels": "cost_center=4711"}
        form |= {"token": one.form, "once": once_of(text)}
        status, _, headers = await one.post("/ui/teams", form)
        assert (status, headers["Location"]) == (303, "/ui/teams/sales?done=create")
        _, text, _ = await one.get(headers["Location"])
        assert "It is made" in text and "500 USD/month" in text and "4711" in text
        assert "/ui/new/key?team=sales" in text
        _, text, _ = await one.get("/ui/new/key?team=sales")
        assert 'name="team" value="sales"' in text
        assert KEYS["alice"] not in text
