"""Months are closed: each record is counted once over all statements, in every kind of ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.accounting.statements.closing import CloseOrder, Closer, CloseRefused, Who, behind
from proxy.accounting.statements.kept import differences, kept, sums_wrong, thawed
from proxy.accounting.statements.statement import MonthStatement, read_statement
from proxy.core import dates
from proxy.core.records.by_hand import EnteredAmount, Entering, Whose, entry
from proxy.core.statements.closing import ClosedStatement
from proxy.core.usage import UsageRecord
from proxy.journal import JournalFigures
from proxy.ledger import Batch, Ledger
from proxy.ledger.sharing import Instance, InstanceState
from proxy.ledger.signing import FILE, is_signed
from tests.ledger.conftest import PARAMS, kind, ledgers
from tests.ledger.ledgers import KINDS, BookUnderTest
from tests.ledger.samples import make_id, make_record, numbered
from tests.support.effort import examples

__all__ = ["PARAMS", "kind", "ledgers"]  # fixtures
UTC_ZONE = ZoneInfo("UTC")
NOW_MS = int(datetime(2027, 6, 1, tzinfo=UTC).timestamp() * 1000)
MONTHS = ("2026-10", "2026-11", "2026-12", "2027-01")
HOUR_MS = 3_600_000


def at_ms(month: str, hours: int = 0) -> int:
    """So many hours from the beginning of a month in UTC."""
    return (
        int(datetime.fromisoformat(f"{month}-01T00:00:00+00:00").timestamp()) * 1000
        + hours * HOUR_MS
    )


class Books:
    """A ledger whose months are closed."""

    def __init__(self, book: BookUnderTest, ledger: Ledger) -> None:
        self.reader = book.reader()
        self.ledger = ledger
        self.unbooked: list[str] = []
        self._key = book.key_file.with_name(FILE)
        self._closes = 0
        self.records: list[UsageRecord] = []

    async def book(self, month: str, hours: int = 0, **changes: Any) -> UsageRecord:
        n = len(self.records)
        money = {"cost_nano": 5 + n, "charge_nano": 7 + n, "currency": "USD"}
        record = make_record(n, **({"started_at_ms": at_ms(month, hours)} | money | changes))
        self.records.append(record)
        await self.ledger.book(Batch("w0", numbered(record, after=self._closes)))
        self._closes += 1
        return record

    async def correct(self, of: UsageRecord, nano: int, **changes: Any) -> UsageRecord:
        n = len(self.records)
        none = dict.fromkeys(("input_tokens", "output_tokens"), 0)
        price = {"cost_nano": nano, "charge_nano": 2 * nano, "currency": "USD"}
        row = msgspec.structs.replace(
            of, id=make_id(n), kind="adjustment", adjusts=of.id, reason="rerate", usage_raw=None,
            **(none | price | changes),
        )  # fmt: skip
        self.records.append(row)
        await self.ledger.adjust([row])
        return row

    async def close(
        self, month: str, team: str | None = None, *, now_ms: int = NOW_MS, **order: Any
    ) -> MonthStatement:
        return thawed((await self.closed(month, team, now_ms=now_ms, **order)).document)

    async def closed(
        self, month: str, team: str | None = None, *, now_ms: int = NOW_MS, **order: Any
    ) -> ClosedStatement:
        async def unbooked(_before_ms: int) -> list[str]:
            return self.unbooked

        closer = Closer(self.reader, self.ledger, UTC_ZONE, self._key, unbooked)
        return await closer.close(
            CloseOrder(month=month, team=team, **order), Who("ops", "socket", now_ms)
        )

    async def refused(self, month: str, team: str | None = None, **order: Any) -> str:
        before = self.reader.closings()
        with pytest.raises(CloseRefused) as told:
            await self.close(month, team, **order)
        assert self.reader.closings() == before
        return str(told.value)

    def statements(self) -> Iterator[tuple[ClosedStatement, MonthStatement]]:
        for closing in self.reader.closings():
            found = self.reader.closed_statement(closing.number)
            assert found is not None
            yield found, thawed(found.document)


@asynccontextmanager
async def opened(book: BookUnderTest) -> AsyncIterator[Books]:
    ledger = await book.open(book.key_file)
    try:
        yield Books(book, ledger)
    finally:
        await ledger.aclose()


def charges(statement: MonthStatement) -> dict[str | None, int | None]:
    return {one.currency: one.charge_nano for one in statement.due}


async def test_a_closed_month_stays_and_what_is_late_is_in_the_next_one_once(
    ledgers: BookUnderTest,
) -> None:
    async with opened(ledgers) as books:
        first = await books.book("2026-10", charge_nano=100)
        await books.book("2026-11", charge_nano=10)
        october = await books.close("2026-10")
        assert (october.number, october.closed_by, charges(october)) == (1, "ops", {"USD": 100})
        await books.book("2026-10", 5, charge_nano=1000, team="sales")
        await books.correct(first, 3)
        november = await books.close("2026-11")
        late = [(row["month"], row["team"], row["charge_nano"]) for row in november.earlier]
        assert late == [
            ("2026-10", "research", 6), ("2026-10", "sales", 1000), (None, None, 1006),
        ]  # fmt: skip
        assert charges(november) == {"USD": 1016}
        assert [(one.month, one.reason) for one in november.corrections] == [("2026-10", "rerate")]
        december = await books.close("2026-12")
        assert (december.rows, december.earlier, december.due) == ([], [], [])
        assert [one for _, one in books.statements()] == [october, november, december]
        for found, statement in books.statements():
            assert kept(statement) == found.document and sums_wrong(found.document) == []
            assert is_signed(found.document, found.signature, found.public_key)
            assert differences(books.reader, statement, books.reader.closings()) == []
        assert [one.previous for _, one in books.statements()] == [
            None, *(one.digest for one in books.reader.closings()[:2]),
        ]  # fmt: skip
        names = [(entry.deed.action, entry.deed.name) for entry in books.reader.audit(0, 9)]
        assert names == [("statement.close", month) for month in MONTHS[:3]]


async def test_an_open_month_shows_what_is_late_only_if_it_is_the_next_one(
    ledgers: BookUnderTest,
) -> None:
    async with opened(ledgers) as books:
        for month in MONTHS[:3]:
            await books.book(month)
        await books.close("2026-10")
        await books.book("2026-10", charge_nano=1000)

        def shown(month: str) -> MonthStatement:
            closings = books.reader.closings()
            return read_statement(
                books.reader, *dates.month(month, UTC_ZONE), UTC_ZONE, closings=closings
            )

        assert [row["month"] for row in shown("2026-11").earlier] == ["2026-10", None]
        late = shown("2026-12")
        assert (late.earlier, late.open_earlier) == ([], ["2026-11"])


async def test_a_team_of_its_own_is_counted_in_no_other_statement(ledgers: BookUnderTest) -> None:
    async with opened(ledgers) as books:
        await books.book("2026-11", charge_nano=1, team="sales")
        await books.book("2026-11", charge_nano=10, team="research")
        await books.book("2026-11", charge_nano=100, team=None)
        sales = await books.close("2026-11", "sales")
        await books.book("2026-11", charge_nano=1000, team="sales")
        rest = await books.close("2026-11")
        # What came for the team behind its statement is in the first that is closed then.
        assert (charges(sales), charges(rest)) == ({"USD": 1}, {"USD": 1110})
        assert rest.apart == {"sales": 1}
        assert "closed for all teams: it is statement 2" in await books.refused(
            "2026-11", "research"
        )
        assert "closed for" in await books.refused("2026-11", "sales")
        assert "no record of a team 'salse'" in await books.refused("2026-12", "salse")


async def test_a_month_is_closed_only_when_its_turn_has_come(ledgers: BookUnderTest) -> None:
    async with opened(ledgers) as books:
        await books.book("2026-10")
        await books.book("2026-11", cost_nano=None, charge_nano=None, currency=None)
        said = await books.refused("2026-11", now_ms=at_ms("2026-12") - 1)
        assert "is over at 2026-12-01 00:00 UTC" in said
        assert "2026-10 is not closed" in await books.refused("2026-11", force=("unpriced",))
        assert "no month" in await books.refused("2026-13")
        assert "no zone 'Mars'" in await books.refused("2026-10", zone="Mars")
        await books.close("2026-10")
        assert "it is statement 1" in await books.refused("2026-10")
        assert "1 request of this statement have no price" in await books.refused("2026-11")
        books.unbooked = ["the journal of w9 has 3 records"]
        said = await books.refused("2026-11", force=("unpriced",))
        assert "the journal of w9 has 3 records" in said
        november = await books.close("2026-11", force=("unpriced", "unbooked"))
        assert november.forced == [
            "1 request had no price", "this was not booked: the journal of w9 has 3 records",
        ]  # fmt: skip
        assert "goes on from its end" in await books.refused("2026-12", zone="Asia/Tokyo")
        assert "comes later" in await books.refused("2026-09")


async def test_a_month_with_entries_by_hand_alone_is_closed_first(ledgers: BookUnderTest) -> None:
    async with opened(ledgers) as books:
        await books.book("2026-11")
        await _step(books, ("hand", "2026-10", "sales", 5), "UTC")
        await _step(books, ("hand", "2026-10", "research", -5), "UTC")
        assert "2026-10 is not closed" in await books.refused("2026-11")
        assert len((await books.close("2026-10", "sales")).rows) == 2
        assert len((await books.close("2026-10")).rows) == 2


async def test_a_month_of_a_zone_begins_at_its_midnight(ledgers: BookUnderTest) -> None:
    async with opened(ledgers) as books:
        await books.book("2026-11", -9, charge_nano=1)
        await books.book("2026-11", -8, charge_nano=10)
        await books.book("2026-12", -9, charge_nano=100)
        await books.book("2026-12", -8, charge_nano=1000)
        shanghai = {"zone": "Asia/Shanghai"}
        assert charges(await books.close("2026-10", **shanghai)) == {"USD": 1}
        november = await books.close("2026-11")  # goes on in the zone of the one before
        assert (november.timezone, charges(november)) == ("Asia/Shanghai", {"USD": 110})
        assert "is over at 2027-01-01 00:00 Asia/Shanghai" in await books.refused(
            "2026-12", now_ms=at_ms("2027-01", -8) - 1
        )
        assert charges(await books.close("2026-12", now_ms=at_ms("2027-01", -8))) == {"USD": 1000}


async def test_rules_of_a_zone_that_change_leave_no_hour_between_two_months(
    ledgers: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """October was closed by the old ones; by the new ones, November begins an hour later."""
    async with opened(ledgers) as books:
        await books.book("2026-10", 5)
        month = dates.month

        def earlier(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
            start, end = month(text, zone)
            return start, end - timedelta(hours=1)

        with monkeypatch.context() as patch:
            patch.setattr(dates, "month", earlier)
            first = await books.close("2026-10")
        assert first.to_ms == at_ms("2026-11", -1)
        between = await books.book("2026-11", -1)
        await books.book("2026-11", 1)
        second = await books.close("2026-11")
        [total] = [row for row in second.rows if row["row"] == "total"]
        assert (total["requests"], second.earlier, second.open_earlier) == (2, [], [])
        assert differences(books.reader, second, books.reader.closings()) == []
        third = await books.close("2026-12")
        assert not third.rows and between.started_at_ms < at_ms("2026-11")


async def test_a_price_that_comes_before_the_close_takes_its_record_with_it(
    ledgers: BookUnderTest,
) -> None:
    async with opened(ledgers) as books:
        nothing = {"cost_nano": None, "charge_nano": None, "currency": None}
        record = await books.book("2026-11", **nothing)
        await books.correct(record, 0, **nothing)
        await books.correct(record, 9)
        late = await books.book("2026-11", **nothing)
        found = await books.close("2026-11", force=("unpriced",))
        [unpriced, priced] = [row for row in found.rows if row["row"] == "group"]
        assert (unpriced["requests"], unpriced["unpriced_requests"]) == (1, 1)
        assert (priced["requests"], priced["unpriced_requests"], priced["cost_nano"]) == (1, 0, 9)
        usage = books.reader.usage(("team", "key", "model"), None, None, UTC)
        assert [row | {"row": "group"} for row in usage] == [
            {name: row[name] for name in (*usage[0], "row")} for row in found.rows[:2]
        ]
        await books.correct(late, 4)
        december = await books.close("2026-12")
        assert charges(december) == {"USD": 8}


def test_a_difference_of_the_book_is_told(ledgers: BookUnderTest) -> None:
    async def run() -> None:
        async with opened(ledgers) as books:
            await books.book("2026-11", charge_nano=1)
            found = await books.close("2026-11")
            other = msgspec.structs.replace(found, due=[], through=found.through)
            [told] = differences(books.reader, other, books.reader.closings())
            assert told.startswith("due: the statement says [], the book [{")

    asyncio.run(run())


def test_what_may_be_missing_in_the_ledger_is_named() -> None:
    def journal(writer: str, oldest_ms: int | None) -> JournalFigures:
        return JournalFigures(
            writer=writer, in_use=True, segments=1, finished=0, bytes=1, last_seq=9, open_exchanges=1,
            unbooked_closes=2, oldest_undone=None, oldest_undone_at_ms=None, skipped_bytes=0,
            oldest_started_at_ms=oldest_ms,
        )  # fmt: skip

    def instance(name: str, state: InstanceState, clear_ms: int | None = None) -> Instance:
        return Instance(name, state, 0, 0, 0.0, clear_ms=clear_ms)

    journals = [journal("a", 99), journal("b", 100), journal("c", None)]
    assert behind(journals, [], 100, 200, 10) == [
        "the journal of a has 2 records and 1 running request"
    ]
    others = [
        instance("a", InstanceState.LAPSED),
        instance("v", InstanceState.LIVE, 99),
        instance("w", InstanceState.LIVE, 100),
        instance("x", InstanceState.LAPSED),
        instance("y", InstanceState.LEFT),
        instance("z", InstanceState.LIVE),
    ]
    found = behind([*journals[1:], journal("a", None)], others, 100, 200, 10)
    assert [text.split()[2] for text in found] == ["v", "x", "z"]
    # One that does not say how far it is: when no request of then can run any more.
    assert behind([], others[-1:], 100, 100 + 10 + 600_000, 10) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("book"),
            st.sampled_from(MONTHS[:3]),
            st.integers(-20, 20),
            st.sampled_from(["research", "sales", None]),
            st.sampled_from(["USD", "EUR", None]),
        ),
        st.tuples(st.just("correct"), st.integers(0, 30), st.integers(-50, 50)),
        st.tuples(
            st.just("hand"),
            st.sampled_from(MONTHS[:3]),
            st.sampled_from(["research", "sales", None]),
            st.integers(-50, 50),
        ),
        st.tuples(
            st.just("close"), st.sampled_from(MONTHS[:3]), st.sampled_from([None, None, "sales"])
        ),
    ),
    min_size=4,
    max_size=25,
)


@pytest.mark.parametrize("name", PARAMS)
def test_all_statements_come_to_what_the_ledger_says(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is booked, corrected and closed in whichever order, and in whichever zone."""
    with KINDS[name](tmp_path_factory.mktemp("statements")) as whole:

        @settings(
            max_examples=examples(90 if name == "sqlite" else 20),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(steps=STEPS, zone=st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]))
        def check(steps: list[tuple[Any, ...]], zone: str) -> None:
            with whole.cleared() as book:
                asyncio.run(_history(book, steps, zone))

        check()


async def _history(book: BookUnderTest, steps: list[tuple[Any, ...]], zone: str) -> None:
    async with opened(book) as books:
        for step in steps:
            await _step(books, step, zone)
        if not books.records:
            return
        for month in ("2026-09", *MONTHS):  # what is left, in the last one
            await _step(books, ("close", month, None), zone)
        by: tuple[str, ...] = ("team", "key", "model")
        booked, stated = Counter[Any](), Counter[Any]()
        for row in books.reader.usage(by, None, None, UTC):
            booked.update(_amounts(row))
        for found, statement in books.statements():
            for row in (*statement.rows, *statement.earlier):
                if row["row"] == "group":
                    stated.update(_amounts(row))
            assert differences(books.reader, statement, books.reader.closings()) == []
            assert sums_wrong(found.document) == []
        booked, stated = (Counter({k: v for k, v in c.items() if v}) for c in (booked, stated))
        assert stated == booked


def _amounts(row: dict[str, Any]) -> dict[tuple[Any, ...], int]:
    """Money by currency; a late price moves requests and tokens from one currency to another."""
    return {
        (row["team"], name, row["currency"] if name.endswith("_nano") else None): row[name] or 0
        for name in ("requests", "input_tokens", "output_tokens", "cost_nano", "charge_nano")
    }


async def _step(books: Books, step: tuple[Any, ...], zone: str) -> None:
    if step[0] == "book":
        _, month, hours, team, currency = step
        unpriced = dict.fromkeys(("cost_nano", "charge_nano")) if currency is None else {}
        await books.book(month, hours, team=team, currency=currency, **unpriced)
    elif step[0] == "correct" and books.records:
        record = books.records[step[1] % len(books.records)]
        if record.kind == "usage":
            currency = record.currency or "USD"
            await books.correct(record, step[2], currency=currency)
    elif step[0] == "hand":
        _, month, team, nano = step
        order = Entering(
            name=f"e{len(books.records)}",
            stamp_ms=at_ms(month),
            started_at_ms=at_ms(month),
            reason="x",
        )
        amount = EnteredAmount(cost_nano=nano, charge_nano=None, currency="USD")
        rows = entry(order, Whose(team=team), amount)
        books.records += rows
        await books.ledger.adjust(rows)
    elif step[0] == "close" and books.records:
        before = books.reader.closings()
        force = ("unpriced", "unbooked")
        try:
            await books.close(step[1], step[2], zone=None if before else zone, force=force)
        except CloseRefused:
            assert books.reader.closings() == before
