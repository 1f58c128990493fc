"""Entries by hand in every kind of ledger: booked once, exact, in the audit, and never a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.accounting.adjust_order import AdjustOrder, AmountEntry, KnownNames, UseMove
from proxy.accounting.adjusting import Adjuster, ByHandDone, OrderedBy
from proxy.core.errors import ProxyError
from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.managed import TenantChange
from proxy.core.pricing.terms import DatedRate, Terms
from proxy.core.usage import UsageRecord
from proxy.ledger import Ledger, LedgerUnavailable
from proxy.ledger.reading import Stretch
from tests.ledger.conftest import PARAMS, kind, ledgers
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record

__all__ = ["PARAMS", "kind", "ledgers"]  # fixtures
UTC_ZONE = ZoneInfo("UTC")
NOW_MS = START_MS + 90 * 86_400_000
TERMS = Terms(
    currency="USD", timezone="UTC", rows=(), discounts={}, markups={},
    fx={"CNY": (DatedRate("0.14"),), "EUR": (DatedRate("1.1", NOW_MS),)},
)  # fmt: skip
MONEY = {"cost_nano": 100, "charge_nano": 110, "currency": "USD", "price_currency": "USD"}
KNOWN: KnownNames = {"team": {"lab", "research"}, "key": {"bob", "carol"}, "upstream": {"openai"}}
REBATE = AmountEntry(amount="-0.000000012", currency="USD", team="research")


class Hand:
    def __init__(self, book: BookUnderTest, ledger: Ledger) -> None:
        self.reader, self.ledger = book.reader(), ledger
        self.told: list[UsageRecord] = []
        self._adjuster = Adjuster(self.reader, ledger, UTC_ZONE, TERMS, KNOWN, self.told.append)

    async def adjust(self, *, now_ms: int = NOW_MS, **order: Any) -> ByHandDone:
        said = {"id": "e1", "month": "2026-11", "reason": "so agreed", "dry_run": False} | order
        return await self._adjuster.adjust(AdjustOrder(**said), OrderedBy("ops", "socket", now_ms))

    async def refused(self, **order: Any) -> tuple[int, str]:
        before = self.reader.head(), len(self.reader.audit(0, 99))
        with pytest.raises(ProxyError) as told:
            await self.adjust(**order)
        assert (self.reader.head(), len(self.reader.audit(0, 99))) == before
        return told.value.status, told.value.message

    def sums(self, *by: str) -> list[tuple[Any, ...]]:
        names = ("requests", "cost_nano", "charge_nano", "input_tokens")
        return [
            (*(row[name] for name in by), *(row[name] for name in names))
            for row in self.reader.usage(by, None, None, UTC)
        ]


@asynccontextmanager
async def hand(
    book: BookUnderTest, *records: UsageRecord, fail: FaultPoint = no_fault
) -> AsyncIterator[Hand]:
    if records:
        book.book(*records)
    ledger = await book.open(book.key_file, fail=fail)
    try:
        yield Hand(book, ledger)
    finally:
        await ledger.aclose()
    book.agree()


async def test_an_amount_is_booked_once_with_its_audit(ledgers: BookUnderTest) -> None:
    async with hand(ledgers, make_record(0, **MONEY)) as by_hand:
        would = await by_hand.adjust(amount=REBATE, dry_run=True)
        assert (len(would.lines), by_hand.reader.head(), would.before) == (1, 1, False)
        done = await by_hand.adjust(amount=REBATE)
        assert done.lines == would.lines and done.lines[0].charge_nano == -12
        again = await by_hand.adjust(amount=REBATE, now_ms=NOW_MS + 5)
        assert (again.lines, again.known, again.before) == ([], 1, True)
        assert by_hand.sums("team") == [("research", 1, 88, 98, 100)]
        assert [row["month"] for row in by_hand.reader.usage(["month"], None, None, UTC)] == [
            "2026-11"
        ]
        assert [one.charge_nano for one in by_hand.told] == [-12]
        [deed] = [entry.deed for entry in by_hand.reader.audit(0, 9)]
        assert (deed.action, deed.name, deed.reason) == ("ledger.adjust", "e1", "so agreed")
        for changed in (
            {"amount": msgspec.structs.replace(REBATE, amount="-1")},
            {"amount": REBATE, "month": "2026-10"},
            {"amount": REBATE, "reason": "another"},
        ):
            status, message = await by_hand.refused(**changed)
            assert status == 409 and "stands for another entry, which ops made" in message


async def test_one_side_of_the_book_and_other_currencies(ledgers: BookUnderTest) -> None:
    async with hand(ledgers, make_record(0, **MONEY)) as by_hand:
        await by_hand.adjust(amount=msgspec.structs.replace(REBATE, of="cost"))
        await by_hand.adjust(id="e2", amount=msgspec.structs.replace(REBATE, of="charge"))
        yuan = AmountEntry(amount="100", currency="CNY", upstream="modelmax", model="m")
        done = await by_hand.adjust(id="e3", amount=yuan)
        entry = by_hand.reader.record(done.lines[0].id)
        assert entry is not None
        booked = entry.record
        assert (booked.cost_nano, booked.currency, booked.fx_rate) == (14 * 10**9, "USD", "0.14")
        assert (booked.cost_original_nano, booked.price_currency) == (100 * 10**9, "CNY")
        assert by_hand.sums("upstream", "model")[0][:2] == ("-", None)
        status, message = await by_hand.refused(
            id="e4", amount=AmountEntry(amount="1", currency="EUR")
        )
        assert status == 400 and "`fx` has no rate for 'EUR' then" in message


async def test_the_team_of_a_key_is_that_of_its_requests(ledgers: BookUnderTest) -> None:
    rows = [
        make_record(0, **MONEY),
        make_record(1, key_id="bob", **MONEY),
        make_record(2, key_id="bob", team="lab", **MONEY),
    ]
    async with hand(ledgers, *rows) as by_hand:
        one = AmountEntry(amount="1", currency="USD", key="alice")
        assert (await by_hand.adjust(amount=one)).lines[0].team == "research"
        there = UseMove(team="lab", to_team="lab")
        _, message = await by_hand.refused(id="e2", move=there)
        assert "their use is there already" in message
        for key, said in (("bob", "requests of several teams"), ("carol", "no request")):
            status, message = await by_hand.refused(
                id="e2", amount=msgspec.structs.replace(one, key=key)
            )
            assert status == 400 and said in message
        named = msgspec.structs.replace(one, key="bob", team="lab")
        assert (await by_hand.adjust(id="e2", amount=named)).lines[0].team == "lab"


async def test_use_moves_to_another_team_and_the_ledger_s_sums_stay(ledgers: BookUnderTest) -> None:
    first = make_record(0, **MONEY)
    fix = make_record(5, kind="adjustment", adjusts=first.id, **MONEY | {"input_tokens": 0})
    rows = [
        first,
        make_record(1, key_id="bob", **MONEY),
        make_record(2, started_at_ms=START_MS + 40 * 86_400_000, **MONEY),
        make_record(3, model_requested="gpt-4o", **MONEY),
        fix,
    ]
    async with hand(ledgers, *rows) as by_hand:
        whole = by_hand.sums()
        move = UseMove(team="research", key="alice", models=("deepseek-*",), to_team="lab",
                       to_labels={"project": "x"})  # fmt: skip
        done = await by_hand.adjust(move=move)
        assert (len(done.lines), done.requests) == (2, 1)
        assert by_hand.sums() == whole
        assert ("lab", "deepseek-v3.2", 0, 200, 220, 100) in by_hand.sums("team", "model")
        assert by_hand.sums("label:project")[-1][:4] == ("x", 0, 200, 220)
        again = await by_hand.adjust(move=move)
        assert (again.lines, again.before, by_hand.reader.head()) == ([], True, 7)
        # Under another name it moves only what came since.
        ledgers.book(make_record(9, **MONEY))
        more = await by_hand.adjust(id="e2", move=move)
        assert [line.charge_nano for line in more.lines] == [-110, 110]
        assert [one.team for one in by_hand.told] == ["research", "lab"] * 2


async def test_a_move_that_broke_off_is_finished_by_the_same_order(ledgers: BookUnderTest) -> None:
    rows = [make_record(n, model_requested=f"m{n}", **MONEY) for n in range(200)]
    booked: list[str] = []

    def fail(point: str) -> None:
        if point == "ledger.book.before":
            booked.append(point)
            if len(booked) == 2:
                raise OSError("the power is gone")

    async with hand(ledgers, *rows, fail=fail) as by_hand:
        move = UseMove(team="research", to_team="lab")
        with pytest.raises(LedgerUnavailable, match="power"):
            await by_hand.adjust(move=move)
        head, moved = (
            by_hand.reader.head(),
            dict(row[:1] + row[2:3] for row in by_hand.sums("team")),
        )
        assert 200 < head < 600 and (head - 200) % 2 == 0
        assert sum(moved.values()) == 20_000 and moved["lab"] == (head - 200) // 2 * 100
        done = await by_hand.adjust(move=move)
        assert (len(done.lines), done.before) == (600 - head, True)
        assert {row[0]: row[2] for row in by_hand.sums("team")} == {"research": 0, "lab": 20_000}
        assert len(by_hand.reader.audit(0, 9)) == 1


async def test_what_cannot_be_booked_says_why(ledgers: BookUnderTest) -> None:
    rows = [make_record(0, **MONEY), make_record(1, cost_nano=None)]
    async with hand(ledgers, *rows) as by_hand:
        move = UseMove(team="research", to_team="lab")
        for order, said in (
            ({"amount": REBATE, "id": ""}, "`id` is one line"),
            ({"amount": REBATE, "id": "a\nb"}, "`id` is one line"),
            ({"amount": REBATE, "reason": "x" * 201}, "`reason` is one line"),
            ({}, "either an `amount` or a `move`"),
            ({"amount": REBATE, "move": move}, "either an `amount` or a `move`"),
            ({"amount": REBATE, "month": "2026-1"}, "is no month"),
            ({"amount": REBATE, "zone": "Mars"}, "cannot be read"),
            ({"amount": REBATE, "month": "2027-09"}, "has not begun"),
            ({"amount": REBATE, "month": "1960-11"}, "is before any request"),
            ({"amount": REBATE, "month": "1970-01", "zone": "Asia/Tokyo"}, "before any request"),
            ({"move": UseMove(key="carol", to_team="lab")}, "no request is chosen"),
            ({"amount": AmountEntry(amount="0.00", currency="USD")}, "changes nothing"),
            ({"amount": AmountEntry(amount="1e3", currency="USD")}, "write -12.50"),
            (
                {"amount": msgspec.structs.replace(REBATE, team="reserch")},
                "The nearest is 'research'",
            ),
            ({"move": UseMove(team="lab")}, "needs `to_team` or `to_labels`"),
            ({"move": UseMove(to_team="lab")}, "of which `team` or `key`"),
            ({"move": move}, "1 of these requests have no price"),
        ):
            status, message = await by_hand.refused(**order)
            assert status == 400 and said in message, message


async def test_an_entry_of_the_running_month_is_of_now(ledgers: BookUnderTest) -> None:
    early = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp()) * 1000
    async with hand(ledgers, make_record(0, **MONEY)) as by_hand:
        await by_hand.adjust(amount=REBATE, now_ms=early)
        again = await by_hand.adjust(amount=REBATE)
        assert again.known == 1
        [page] = by_hand.reader.pages(Stretch(through=2))
        assert page.rows[1][0] != make_id(0)
        assert early in page.rows[1]


class Meeting:
    """A ledger in which two orders have read before either of them is in the audit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._both = asyncio.Barrier(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def change(self, what: TenantChange) -> None:
        await self._both.wait()
        await self._ledger.change(what)


@pytest.mark.parametrize("what", ["one id", "one use"])
async def test_two_processes_at_once_book_one_of_two_orders(
    ledgers: BookUnderTest, what: str
) -> None:
    orders: list[dict[str, Any]] = (
        [{"amount": AmountEntry(amount=text, currency="USD", team="lab")} for text in "12"]
        if what == "one id"
        else [{"id": id, "move": UseMove(team="research", to_team="lab")} for id in "ab"]
    )
    async with hand(ledgers, make_record(0, **MONEY)) as by_hand:
        meeting = Hand(ledgers, cast(Ledger, Meeting(by_hand.ledger)))
        done = await asyncio.gather(
            *(meeting.adjust(**order) for order in orders), return_exceptions=True
        )
        [refused] = [one for one in done if isinstance(one, ProxyError)]
        [booked] = [one for one in done if isinstance(one, ByHandDone)]
        assert (refused.status, len(booked.lines)) == (409, 1 if what == "one id" else 2)
        assert by_hand.reader.head() == 1 + len(booked.lines)
        if what == "one use":  # nothing is left to move
            again = await by_hand.adjust(**orders[done.index(refused)])
            assert (again.lines, again.before) == ([], True)
