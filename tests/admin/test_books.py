"""The book over the admin API: pages that miss nothing while records are written, and exports."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pyarrow.parquet as pq
import pytest

from proxy.admin import books
from proxy.admin.app import NEXT
from proxy.admin.control_socket import NAME
from proxy.admin.sums import USAGE_PATH
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from tests.admin.test_tenants import Desk, desk
from tests.ledger.samples import make_id, make_record, numbered
from tests.support.waiting import guard


class Page:
    """An answer as it came."""

    def __init__(self, status: int, body: bytes, following: str | None) -> None:
        self.status = status
        self.body = body
        self.following = following

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


class Books:
    def __init__(self, admin: Desk, session: aiohttp.ClientSession) -> None:
        self.admin = admin
        self._session = session
        self._booked = 0

    async def book(self, *records: UsageRecord) -> None:
        """As the recorder does, in one go."""
        position, batch = self._booked, numbered(*records)
        self._booked += len(records)
        closes = [(seq + position, record) for seq, record in batch]
        await self.admin.proxy.server.services.ledger.book(Batch("w9", closes))

    async def get(self, path: str) -> Page:
        async with self._session.get(f"http://control{path}") as response:
            body = await response.read()
            return Page(response.status, body, response.headers.get(NEXT))

    async def told(self, path: str) -> Any:
        return json.loads((await self.get(path)).body)


@contextlib.asynccontextmanager
async def shelf(tmp_path: Path, **blocks: object) -> AsyncIterator[Books]:
    connector = aiohttp.UnixConnector(str(tmp_path / "var" / NAME))
    async with (
        desk(tmp_path, **blocks) as admin,
        aiohttp.ClientSession(connector=connector) as session,
        guard(),
    ):
        yield Books(admin, session)


def some(first: int, count: int, **fields: Any) -> list[UsageRecord]:
    return [make_record(id=make_id(number), **fields) for number in range(first, first + count)]


async def test_pages_give_each_record_once_while_others_are_booked(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 10))
        found: list[str] = []
        after, written = "0", 10
        while True:
            page = await shown.get(f"{books.RECORDS_PATH}?after={after}&limit=3")
            found += [line["id"] for line in page.lines]
            if written < 30:
                await shown.book(*some(written + 1, 2))
                written += 2
            if page.following is None:
                break
            after = page.following
        assert found == [make_id(number) for number in range(1, len(found) + 1)]
        assert len(found) >= 20
        head = await shown.get(f"{books.RECORDS_PATH}?after={len(found)}")
        assert len(found) + len(head.lines) == written


async def test_a_page_of_few_among_many_others_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "SCANNED_MAX", 64)
    monkeypatch.setattr("proxy.ledger.sqlite.pages.PAGE_SEQS", 16, raising=False)
    async with shelf(tmp_path) as shown:
        for first in range(0, 600, 50):
            await shown.book(*some(first, 50, key_id="others", team="others"))
        await shown.book(*some(1000, 2, key_id="bob", team="lab"))
        found: list[dict[str, Any]] = []
        after: str | None = "0"
        pages = 0
        while after is not None:
            page = await shown.get(f"{books.RECORDS_PATH}?team=lab&key=bob&after={after}")
            assert page.status == 200
            found, after, pages = found + page.lines, page.following, pages + 1
        assert [line["id"] for line in found] == [make_id(1000), make_id(1001)]
        assert pages > 1, "no page looks at the whole book"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("after=99", "The ledger ends at seq 3"),
        ("through=99", "The ledger ends at seq 3"),
        ("limit=1001", "limit"),
        ("from=yesterday", "from: 'yesterday' is no date"),
        ("from=2026-11-02&to=2026-11-01", "not after its start"),
        ("tem=lab", "the nearest is team"),
    ],
)
async def test_a_question_that_means_nothing_is_refused(
    tmp_path: Path, query: str, said: str
) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 3))
        page = await shown.get(f"{books.RECORDS_PATH}?{query}")
        assert page.status == 400 and said in json.loads(page.body)["error"]["message"]


async def test_sums_records_refusals_and_state(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(make_record(id=make_id(1), key_id="bob", team="lab"), *some(2, 2))
        usage = (await shown.told(f"{USAGE_PATH}?by=key"))["usage"]
        assert [(row["key"], row["requests"], row["row"]) for row in usage if row["key"]] == [
            ("alice", 2, "group"),
            ("bob", 1, "group"),
        ]
        assert (await shown.get(f"{USAGE_PATH}?by=key,key")).status == 400
        assert (await shown.get(f"{USAGE_PATH}?by=hair")).status == 400
        assert (await shown.get(f"{USAGE_PATH}?through=99")).status == 400
        [lab, _] = (await shown.told(f"{USAGE_PATH}?by=tag:x,month&team=lab"))["usage"]
        assert (lab["tag:x"], lab["requests"]) == (None, 1)
        one = await shown.told(f"{books.RECORDS_PATH}/{make_id(1)}")
        assert one["entry"]["record"]["key_id"] == "bob" and one["adjustments"] == []
        for strange in ("nobody", "%00", quote("' OR 1=1 --"), "x" * 3000):
            assert (await shown.get(f"{books.RECORDS_PATH}/{strange}")).status == 404
        state = await shown.told(books.LEDGER_PATH)
        assert (state["head"], state["ledger"]["records"]) == (3, 3)
        assert (await shown.told(books.REFUSALS_PATH)) == {"refusals": []}


async def test_an_export_is_what_the_command_writes(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 60, labels={"a": "1"}))
        await shown.book(*some(100, 60))
        whole = (await shown.get(books.EXPORT_PATH)).body
        assert len(whole.splitlines()) == 121 and b"label:a" in whole.splitlines()[0]
        first = (await shown.get(f"{books.EXPORT_PATH}?through=60")).body
        await shown.book(*some(200, 3))
        assert (await shown.get(f"{books.EXPORT_PATH}?through=60")).body == first
        lines = (await shown.get(f"{books.EXPORT_PATH}?format=jsonl&after=120")).lines
        assert [line["id"] for line in lines] == [make_id(number) for number in (200, 201, 202)]
        assert (await shown.get(f"{books.EXPORT_PATH}?format=xml")).status == 400


async def test_an_export_as_parquet_has_its_last_group_and_its_contents(tmp_path: Path) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 60))
        page = await shown.get(f"{books.EXPORT_PATH}?format=parquet")
        ids = pq.read_table(io.BytesIO(page.body))["id"].to_pylist()
        assert ids == [make_id(number) for number in range(1, 61)]


async def test_a_book_that_cannot_be_read_is_503_and_an_export_that_breaks_is_not_whole(
    tmp_path: Path,
) -> None:
    async with shelf(tmp_path) as shown:
        await shown.book(*some(1, 3))
        ledger = shown.admin.proxy.data_dir / "ledger.db"
        ledger.rename(ledger.with_name("away.db"))
        try:
            for path in (USAGE_PATH, books.RECORDS_PATH, books.EXPORT_PATH):
                page = await shown.get(path)
                assert page.status == 503 and b"ledger_unavailable" in page.body
        finally:
            ledger.with_name("away.db").rename(ledger)

        original = shown.admin.proxy.server.services.reader.pages

        def broken(*args: Any, **more: Any) -> Any:
            raise OSError("the disk is gone")

        type(shown.admin.proxy.server.services.reader).pages = broken  # type: ignore[method-assign]
        try:
            with pytest.raises(aiohttp.ClientPayloadError):
                await shown.get(books.EXPORT_PATH)
        finally:
            type(shown.admin.proxy.server.services.reader).pages = original.__func__  # type: ignore
        await asyncio.sleep(0)
