"""From any number to its records, to one record, to its price row, in three clicks."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import urlencode

import aiohttp

from proxy.core.managed import Audit, TenantChange
from proxy.ledger import Batch, Refusal
from tests.admin.pages.office import office, signed_in
from tests.dataplane.endpoints.test_team_usage import BLOCKS, KEYS
from tests.ledger.samples import START_MS, make_record, numbered

SCRIPT = "<script>alert(1)</script>"


def links(text: str, pattern: str) -> list[str]:
    found = re.findall(rf'<a href="({pattern})"', text)
    return [html.unescape(one) for one in found]


async def test_three_clicks_from_a_number_to_its_price_row(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        for start in ("/ui", "/ui/use?by=model", "/ui/teams", "/ui/keys/alice"):
            _, text, _ = await one.get(start)
            _, text, _ = await one.get(links(text, r"/ui/records\?[^\"]+")[-1])  # the first
            assert "0.013 USD" in text
            _, text, _ = await one.get(links(text, r"/ui/records/[0-9a-f-]{36}")[0])  # the second
            assert "3 × 1000 USD / 1,000,000 = 0.003 USD" in text
            assert "= 0.013 USD" in text
            [row] = links(text, r"/ui/prices/[^\"]+")
            _, text, _ = await one.get(row)  # the third
            assert "<bdi>m-*</bdi>" in text and "in effect" in text and "<bdi>2000</bdi>" in text


async def test_every_number_of_a_page_leads_to_its_own_records(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        for _ in range(3):
            assert await admin.call(KEYS["bob"], "m-9") == (200, "")
        rows = await admin.proxy.records(len(KEYS) + 3)
        for by in ("team", "key", "model", "upstream", "day"):
            _, text, _ = await one.get(f"/ui/use?by={by}")
            whole, table = text.split('id="content"')[1].split("<caption>By ")
            [charge] = set(re.findall(r">([\d.]+) USD</a>", whole))
            assert charge == f"{sum(int(str(row['charge_nano'])) for row in rows) / 10**9:.3f}"
            for line in re.findall(r"<tr><th scope=.row.>.*?</tr>", table):
                addresses = set(links(line, r"/ui/records\?[^\"]+"))
                numbers = re.findall(r'">([\d,.]+)(?: USD)?</a>', line)
                [address] = addresses
                _, listed, _ = await one.get(address)
                head = listed.split("<caption>Requests")[0]
                assert re.findall(r'">([\d,.]+)(?: USD)?</a>', head)[-5:] == numbers[-5:], line
                body = listed.split("<caption>Requests")[1]
                assert len(links(body, r"/ui/records/[0-9a-f-]{36}")) == int(numbers[-5])


async def test_names_that_callers_make_up_stay_text(tmp_path: Path) -> None:
    more = {
        "attribution": {"end_user": ["header:x-end-user"]},
        "privacy": {"end_user": "plain"},
        "teams": {**BLOCKS["teams"], "lab": {"labels": {"<b>": "<i>"}}},
    }
    async with office(tmp_path, **more) as admin, signed_in(admin) as one:
        async with aiohttp.ClientSession() as session:
            body = {"model": SCRIPT, "messages": [{"role": "user", "content": "x"}]}
            said = {"Authorization": f"Bearer {KEYS['carol']}", "x-end-user": "<b>=1+1</b>"}
            url = f"{admin.proxy.base_url}/chat/completions"
            async with session.post(url, json=body, headers=said) as response:
                assert response.status == 200, await response.text()
        rows = await admin.proxy.records(len(KEYS) + 1)
        await admin.ask("POST", "/admin/v1/keys/bob/suspend", {"reason": "<script>'\"&"})
        shown = "&lt;script&gt;alert(1)&lt;/script&gt;"
        id = str(rows[-1]["id"])
        for path in ("/ui/use?by=model", "/ui/records", f"/ui/records/{id}"):
            text = (await one.get(path))[1]
            assert shown in text, path
        pages = ("/ui", "/ui/use?by=model", "/ui/records", f"/ui/records/{id}", "/ui/audit")
        for path in (*pages, "/ui/teams/lab", "/ui/keys/carol", "/ui/config", "/ui/refusals"):
            text = (await one.get(path))[1]
            assert not re.search(r"<script|<b>|<i>", text), path
        assert "&lt;script&gt;&#39;&#34;&amp;" in (await one.get("/ui/audit"))[1]
        _, text, _ = await one.get("/ui/use?by=model")
        [address] = [one for one in set(links(text, r"/ui/records\?[^\"]+")) if "script" in one]
        _, text, _ = await one.get(address)
        assert len(links(text, r"/ui/records/[0-9a-f-]{36}")) == 1 and shown in text


async def test_records_are_found_by_a_form(tmp_path: Path) -> None:
    async with office(tmp_path) as admin, signed_in(admin) as one:
        form = "form=1&month=&team=lab&key=&model=&upstream="
        _, text, _ = await one.get(f"/ui/records?{form}")
        assert len(links(text, r"/ui/records/[0-9a-f-]{36}")) == 2 and "0.026 USD" in text
        _, text, _ = await one.get("/ui/records?without=team")
        assert len(links(text, r"/ui/records/[0-9a-f-]{36}")) == 1
        _, text, _ = await one.get("/ui/records?team=")
        assert "There is no such request" in text
        now = admin.proxy.server.services.now_ms()
        # As a panel of Grafana writes its range.
        _, text, _ = await one.get(f"/ui/records?from={now - 3_600_000}&to={now}&key=alice")
        assert len(links(text, r"/ui/records/[0-9a-f-]{36}")) == 1


async def test_no_name_in_the_book_becomes_markup_or_hides_whoever_booked_it(
    tmp_path: Path,
) -> None:
    """Rows of another version, or of a database that somebody wrote to, are no better known."""
    evil = "<img src=x onerror=alert(1)>\"'\x1b[31m\u202e{{7*7}}"
    record = make_record(
        1,
        key_id=evil,
        team=evil,
        model_requested=evil,
        model_served=evil,
        upstream=evil,
        end_user=evil,
        labels={evil: evil},
        tags={evil: evil},
        endpoint=evil,
        finish_reason=evil,
        upstream_request_id=evil,
        service_tier=evil,
        currency="USD",
        cost_nano=1,
        charge_nano=2,
    )
    deed = Audit(
        at_ms=1, actor=evil, origin=evil, action=evil, kind=evil, name=evil, after="{}", reason=evil
    )
    refusal = Refusal(START_MS // 900_000 * 900_000, evil, evil, 3, evil, evil)
    async with office(tmp_path) as admin, signed_in(admin) as one:
        ledger = admin.proxy.server.services.ledger
        await ledger.book(Batch("other", numbered(record), refusals=[refusal]))
        await ledger.change(TenantChange((), (deed,)))
        month = "2026-11"
        pages = [f"/ui/use?month={month}&by={by}" for by in ("team", "key", "model", "upstream")]
        pages += [f"/ui/records?month={month}", f"/ui/records/{record.id}", "/ui/audit"]
        pages += [f"/ui/refusals?month={month}", "/ui/prices", "/ui/ledger", "/ui"]
        pages += [f"/ui/records?{urlencode({name: evil})}" for name in ("team", "key", "model")]
        seen = 0
        for path in pages:
            status, text, _ = await one.get(path)
            assert status == 200, (path, text)
            assert not re.search("<img|\x1b|\u202e|>49<", text), path
            for value in re.findall(r'="([^"]*)"', text):
                assert "onerror=alert(1)>" not in value and "'" not in value, path
            seen += "&lt;img src=x onerror=alert(1)&gt;" in text
            # What a link names is found again.
            if "/ui/use" in path:
                address = [
                    one for one in set(links(text, r"/ui/records[^\"]+")) if "onerror" in one
                ]
                _, listed, _ = await one.get(address[0])
                assert str(record.id) in listed, address
        assert seen >= 11
