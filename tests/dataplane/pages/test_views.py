"""What the pages say is what the book and the limits say."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from pathlib import Path

import pytest

from proxy.dataplane.endpoints.sums import Sums, SumsAsked
from proxy.ledger.reading import UsageRow
from tests.dataplane.endpoints.test_team_usage import BLOCKS, KEYS
from tests.dataplane.pages.visitor import site, visitor


async def test_a_lead_sees_what_is_left_who_spent_most_and_why_it_was_refused(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        for _ in range(3):
            assert await admin.call(KEYS["bob"]) == (200, "")
        assert (await admin.call(KEYS["dave"], "m-2"))[0] == 403
        await admin.proxy.records(len(KEYS) + 3)
        await one.sign_in(KEYS["alice"])
        _, limits, _ = await one.get("/ui")
        assert "<strong>994 requests</strong> left of 1000" in limits
        assert re.search(r"All of it is there again in \d+ (days|hours|minutes)", limits)
        _, use, _ = await one.get("/ui/use")
        names = re.findall(r'<th scope="row"><bdi>([^<]+)</bdi>', use)
        assert names[:3] == ["bob", "alice", "shut"], "the most first"
        async with visitor(admin) as other:
            await other.sign_in(KEYS["dave"])
            _, refused, _ = await other.get("/ui/refusals")
            assert "The key may not call this model" in refused and "model_not_allowed" in refused
            assert "Use a model of GET /v1/models" in refused


async def test_a_limit_in_money_tells_of_no_credit_where_none_was_given(tmp_path: Path) -> None:
    teams = {**BLOCKS["teams"], "research": {"limits": ["9 USD/month"]}}
    async with site(tmp_path, teams=teams) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["alice"])
        _, limits, _ = await one.get("/ui")
        assert "</strong> left of 9. Used: " in limits
        assert "credit of" not in limits and "held by" not in limits


async def test_the_csv_adds_up_to_the_page_and_the_page_to_the_book(tmp_path: Path) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["alice"])
        _, text, _ = await one.get("/ui/export.csv")
        rows = list(csv.DictReader(io.StringIO(text)))
        booked = [row for row in admin.proxy.rows() if row["team"] == "research"]
        groups = [row for row in rows if row["row"] == "group"]
        [total] = [row for row in rows if row["row"] == "total"]
        spent = sum(int(str(row["charge_nano"])) for row in booked)
        assert sum(int(row["charge_nano"]) for row in groups) == spent
        assert int(total["charge_nano"]) == spent and int(total["requests"]) == len(booked)
        assert {row["key"] for row in groups} == {"alice", "bob", "shut"}
        _, use, _ = await one.get("/ui/use")
        assert f"{spent / 10**9:.3f} USD" in use


async def test_a_month_is_chosen_and_others_are_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["bob"])
        for path in ("/ui/use", "/ui/refusals", "/ui/export.csv"):
            assert (await one.get(f"{path}?month=2020-02"))[0] == 200
            for wrong in (
                "month=2020-13",
                "month=",
                "month=0002-01",
                "month=1999-12",
                "month=20٢٠-01",
                "month=1",
                "day=1",
                "month=2020-02&month=2020-03",
            ):
                status, text, _ = await one.get(f"{path}?{wrong}")
                assert status == 400 and "This was not done" in text, wrong
        _, text, _ = await one.get("/ui/use?month=2020-02")
        assert "Before: 2020-01" in text and "After: 2020-03" in text and "Nothing yet" in text
        assert "Nothing yet" in (await one.get("/ui/use?month=2999-12"))[1]


async def test_a_record_is_explained_as_record_show_explains_it(tmp_path: Path) -> None:
    async with site(tmp_path) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["bob"])
        id = next(str(row["id"]) for row in admin.proxy.rows() if row["key_id"] == "bob")
        _, text, _ = await one.get(f"/ui/records/{id}")
        assert "How its amounts came about, by the prices of version" in text
        assert "3 × 1000 USD / 1,000,000 = 0.003 USD" in text
        assert "= 0.013 USD, rounded once, from the exact value" in text
        for wrong in ("x", "0" * 36, f"{id}/", f"{id}%00"):
            assert (await one.get(f"/ui/records/{wrong}"))[0] == 404


async def test_one_key_asks_the_book_one_thing_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each month is another question: else one browser could take all threads of the process."""
    async with site(tmp_path) as admin, visitor(admin) as one:
        await one.sign_in(KEYS["bob"])
        asked, most = [], []
        read = Sums._read

        def reading(self: Sums, what: SumsAsked) -> list[UsageRow]:
            asked.append(what)
            most.append(len(asked))
            try:
                return read(self, what)
            finally:
                asked.remove(what)

        monkeypatch.setattr(Sums, "_read", reading)
        paths = [
            f"/ui/{page}?month=2020-{n:02}" for n in range(1, 13) for page in ("use", "export.csv")
        ]
        answers = await asyncio.gather(*(one.get(path) for path in paths))
        assert {status for status, _, _ in answers} == {200}
        assert len(most) >= 36 and max(most) == 1
