"""What the first page, the lists and the ledger's page say is what the book and the limits say."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from proxy.admin.pages.state_views import changes
from proxy.admin.tenant_views import Deed
from tests.admin.pages.office import office, signed_in
from tests.dataplane.endpoints.test_team_usage import ADMIN, KEYS, VIEWER
from tests.support.waiting import until


async def test_the_first_page_says_who_spent_most_what_is_near_and_what_was_refused(
    tmp_path: Path,
) -> None:
    limits = {
        "research": {"limits": ["10 requests/month"]},
        "lab": {"limits": ["77 requests/month"]},
    }
    async with office(tmp_path, teams=limits) as admin, signed_in(admin) as one:
        for _ in range(5):
            assert await admin.call(KEYS["bob"]) == (200, "")
        assert (await admin.call(KEYS["dave"], "m-2"))[0] == 403
        await admin.proxy.records(len(KEYS) + 5)
        reader = admin.proxy.server.services.reader
        await until(lambda: reader.refusals(None, None))
        _, text, _ = await one.get("/ui")
        assert text.count(">0.143 USD</a>") == 4, "today and the month, cost and charge"
        teams = re.findall(r'<a href="/ui/teams/(\w+)"><bdi>', text)
        assert teams[:2] == ["research", "lab"], "the most first"
        assert ">10 requests/month</bdi>" in text and "80 %" in text
        assert "model_not_allowed" in text and "0 % of the requests" in text and "Ready" in text
        assert "77 requests/month" not in text, "it is not near"


async def test_what_has_no_price_is_told(tmp_path: Path) -> None:
    async with office(tmp_path, prices=[]) as admin, signed_in(admin) as one:
        _, text, _ = await one.get("/ui")
        assert f"{len(KEYS)} requests, which are in no amount" in text
        assert "not known" in text and "too early" in text


async def test_the_audit_goes_back_page_by_page_and_says_what_changed(
    tmp_path: Path, monkeypatch: object
) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        for n in range(105):
            await admin.make(f"k-{n}")
        await admin.ask("PATCH", "/admin/v1/keys/k-1", {"says": {"models": ["x"]}})
        _, text, _ = await one.get("/ui/audit")
        assert "models: [&#34;x&#34;]" in text or 'models: ["x"]' in text
        newest = re.findall(r'href="/ui/keys/k-(\d+)"', text)
        older = re.findall(r'href="(/ui/audit\?before=\d+)"', text)
        _, text, _ = await one.get(older[0])
        rest = re.findall(r'href="/ui/keys/k-(\d+)"', text)
        assert sorted(map(int, newest + rest)) == sorted([*range(105), 1])
        assert "before=" not in text
        _, text, _ = await one.post("/ui/ledger", {"token": one.form, "check": "audit"})
        assert "Every entry of the audit is as it was written" in text


async def test_the_ledgers_page_says_where_it_ends_and_whether_it_is_whole(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        rows = admin.proxy.rows()
        head = bytes(rows[-1]["hash"]).hex()  # type: ignore[call-overload]
        _, text, _ = await one.get("/ui/ledger")
        assert head in text and "Processes that share it" not in text
        status, text, _ = await one.post("/ui/ledger", {"token": one.form, "check": "newest"})
        assert status == 200 and "The end of the book is as it was written" in text
        assert (await one.post("/ui/ledger", {"token": one.form, "check": "all"}))[0] == 400
        # A link starts no work, and neither does a form of another site.
        assert (await one.get("/ui/ledger?check=newest"))[0] == 400
        assert (await one.post("/ui/ledger", {"token": "x", "check": "newest"}))[0] == 403


async def test_the_config_is_shown_with_its_defaults_and_without_secrets(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        _, text, _ = await one.get("/ui/config")
        found = re.search(r"<pre[^>]*>(.*)</pre>", text, re.DOTALL)
        assert found is not None
        told = yaml.safe_load(found[1].replace("&#39;", "'").replace("&#34;", '"'))
        assert told["admin"]["tokens"]["ops"] == {"token": "***", "role": "admin"}
        assert told["upstreams"]["mock"]["api_key"] == "***" and told["pages"]["admin"] is True
        assert "keys" not in told and "6 <a" in text
        for secret in (ADMIN, VIEWER, *KEYS.values(), "sk-upstream"):
            assert secret not in text


async def test_a_limit_has_its_credits(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        path = "/ui/credit?limit=key:bob/requests/day"
        _, text, _ = await one.get(path)
        form = {"token": one.form, "limit": "key:bob/requests/day", "amount": "5", "reason": "fair"}
        assert "None was given" in text
        status, _, headers = await one.post("/ui/credit", form)
        assert status == 303
        _, text, _ = await one.get(headers["Location"])
        assert "booked and in effect" in text and "55 + 5 credit" in text and "fair" in text


def test_what_a_deed_changed() -> None:
    deed = Deed(1, 0, "ann", "socket", "key.edit", "key", "a", {"x": 1, "y": "b"}, {"y": "c"}, None)
    assert changes(deed) == [("x", "1", ""), ("y", "b", "c")]
