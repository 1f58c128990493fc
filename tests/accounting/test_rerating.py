"""Pricing a period of the book anew, beside whatever else is booked: once each, by one version of
the prices, a stretch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.accounting.rerating import Change, Rerate, Rerated, rerate
from proxy.config.price_terms import price_book_of
from proxy.config.settings import Price, Settings, TeamSettings
from proxy.core.errors import ProxyError
from proxy.core.pricing.book import PriceBook
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, LedgerUnavailable, connect, connect_reader
from proxy.ledger.sealing_key import read_key
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.sqlite.verify import verify_chain
from proxy.server.failpoints import Failpoints
from tests.ledger.samples import START_MS, make_id, make_record, numbered

DAY_MS = 86_400_000
ZONE = ZoneInfo("Asia/Shanghai")
TEAMS = {"research": TeamSettings(markup="0.05")}


def book_of(*rows: dict[str, Any]) -> PriceBook:
    return price_book_of(Settings(prices=tuple(Price(**row) for row in rows), teams=TEAMS))


# 100 input and 20 output tokens are 100·0.28 + 20·0.42 per million = 36,400 nano; the cheap ones
# half of it.
DEAR = book_of({"model": "deepseek-v3.2", "input": "0.28", "output": "0.42"})
CHEAP = book_of({"model": "deepseek-v3.2", "input": "0.14", "output": "0.21"})
COST, CHARGE = 36_400, 38_220


class Life:
    """A ledger that is open, and what can be asked of it."""

    def __init__(self, ledger: SqliteLedger, directory: Path) -> None:
        self.ledger, self.queries, self.directory = (
            ledger,
            connect_reader("sqlite:ledger.db", directory),
            directory,
        )
        self.booked = 0

    async def book(self, *records: UsageRecord) -> None:
        for start in range(0, len(records), 64):
            await self.ledger.book(
                Batch("w0", numbered(*records[start : start + 64], after=self.booked + start))
            )
        self.booked += len(records)

    async def slice(self, prices: PriceBook, dry_run: bool = False, **fields: Any) -> Rerated:
        return await rerate(
            Rerate(dry_run=dry_run, **fields), self.queries, self.ledger, prices, ZONE
        )

    async def all(self, prices: PriceBook, dry_run: bool = False, **fields: Any) -> list[Rerated]:
        """Every stretch, as a caller goes through them."""
        found = [await self.slice(prices, dry_run, **fields)]
        while found[-1].next is not None:
            last = found[-1]
            found.append(
                await self.slice(
                    prices,
                    dry_run,
                    **fields
                    | {
                        "after": last.next,
                        "through": last.through,
                        "price_version": last.price_version,
                    },
                )
            )
        return found

    def sums(self) -> dict[str | None, tuple[int | None, int | None, int | None, int | None]]:
        """(requests, output tokens, cost, charge) by currency, as `usage` says it."""
        rows = self.queries.usage([], None, None, ZONE)
        return {
            row["currency"]: (
                row["requests"],
                row["output_tokens"],
                row["cost_nano"],
                row["charge_nano"],
            )
            for row in rows
        }  # type: ignore[misc]

    def records(self) -> int:
        return self.queries.status().records


@asynccontextmanager
async def living(directory: Path, failpoints: str = "") -> AsyncIterator[Life]:
    ledger = await connect("sqlite:ledger.db", directory, fail=Failpoints(failpoints))
    assert isinstance(ledger, SqliteLedger)
    try:
        yield Life(ledger, directory)
    finally:
        await ledger.aclose()
    assert verify_chain(directory / "ledger.db", read_key(directory / "ledger.key")).problems == ()


def total(found: list[Rerated], verdict: str) -> int:
    return sum(one.verdicts[verdict] for one in found)


async def test_from_no_price_to_one_to_another_and_back(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.book(*(make_record(n) for n in range(3)))
        [first] = await life.all(DEAR)
        assert first.changes == [
            Change("research", "deepseek-v3.2", "USD", 3, 3 * COST, 3 * CHARGE)
        ]
        assert life.sums() == {"USD": (3, 60, 3 * COST, 3 * CHARGE)}
        [second] = await life.all(CHEAP)
        assert second.changes == [
            Change("research", "deepseek-v3.2", "USD", 3, -3 * COST // 2, -3 * CHARGE // 2)
        ]
        await life.all(DEAR)
        await life.all(CHEAP)
        assert life.sums()["USD"] == (3, 60, 3 * COST // 2, 3 * CHARGE // 2)
        assert life.records() == 15
        [again] = await life.all(CHEAP)
        assert (again.verdicts, again.changes, life.records()) == (
            {"adjusted": 0, "unchanged": 3, "unpriced": 0, "other_currency": 0},
            [],
            15,
        )


async def test_a_dry_run_says_what_would_be_booked_and_books_nothing(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.book(
            make_record(0),
            make_record(1, model_requested="unheard-of", model_served=None),
            make_record(2, cost_nano=5, charge_nano=5, currency="EUR"),
        )
        dry = await life.all(DEAR, dry_run=True)
        assert (life.records(), dry[0].verdicts) == (
            3,
            {"adjusted": 1, "unchanged": 0, "unpriced": 1, "other_currency": 1},
        )
        assert not any(dry[0].kept.values())
        wet = await life.all(DEAR)
        assert [msgspec.structs.replace(one, dry_run=True) for one in wet] == dry
        assert life.records() == 4


# asked, in the zone of Shanghai, where START_MS is 2026-11-01 10:26:40 -> how many days after the
# first the adjusted records start
@pytest.mark.parametrize(
    ("period", "days", "told"),
    [
        ({}, [0, 1, 2, 3], "of all time (Asia/Shanghai)"),
        (
            {"from_": "2026-11-02", "to": "2026-11-04"},
            [1, 2],
            "from 2026-11-02 00:00+08:00 to 2026-11-04 00:00+08:00, the end not included (Asia/Shanghai)",
        ),
        (
            {"from_": "2026-11-02T10:26:40"},
            [1, 2, 3],
            "from 2026-11-02 10:26+08:00 to now on, the end not included (Asia/Shanghai)",
        ),
        (
            {"from_": "2026-11-02T10:26:40.001"},
            [2, 3],
            "from 2026-11-02 10:26+08:00 to now on, the end not included (Asia/Shanghai)",
        ),
        (
            {"to": "2026-11-02T02:26:40+00:00"},
            [0],
            "from the beginning to 2026-11-02 10:26+08:00, the end not included (Asia/Shanghai)",
        ),
    ],
)
async def test_a_period_is_half_open_and_of_the_zone(
    tmp_path: Path, period: dict[str, str], days: list[int], told: str
) -> None:
    async with living(tmp_path) as life:
        await life.book(*(make_record(n, started_at_ms=START_MS + n * DAY_MS) for n in range(4)))
        [found] = await life.all(DEAR, **period)
        assert (found.period, found.verdicts["adjusted"]) == (told, len(days))
        entries = [life.queries.adjustments(make_id(n)) for n in range(4)]
        assert [n for n, adjustments in enumerate(entries) if adjustments] == days


async def test_stretch_by_stretch_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.rerating.SEQS_MAX", 50)
    async with living(tmp_path) as life:
        await life.book(*(make_record(n, started_at_ms=START_MS + n) for n in range(330)))
        found = await life.all(DEAR, from_="2026-11-01T10:26:40.100", to="2026-11-01T10:26:40.300")
        assert [(one.after, one.next, one.through) for one in found] == [
            (100, 150, 300),
            (150, 200, 300),
            (200, 250, 300),
            (250, None, 300),
        ]
        assert [one.verdicts["adjusted"] for one in found] == [50] * 4
        assert life.sums()["USD"] == (200, 4000, 200 * COST, 200 * CHARGE)


async def test_prices_that_change_between_two_stretches_end_it(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.book(make_record(0))
        with pytest.raises(ProxyError) as refused:
            await life.slice(CHEAP, after=0, through=1, price_version=DEAR.version)
        assert (refused.value.status, refused.value.code, life.records()) == (
            409,
            "prices_changed",
            1,
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"from_": "November"}, r"`from` 'November' is no date"),
        ({"to": "2026-13-01"}, r"`to` '2026-13-01' is no date"),
        ({"from_": "0001-01-01"}, r"`from` '0001-01-01' is no date"),
        ({"to": "9999-12-31T23:00-12:00"}, r"is no date"),
        ({"from_": "2026-11-02", "to": "2026-11-02"}, r"`to` is not after `from`"),
    ],
)
async def test_a_period_that_is_none_is_refused(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    async with living(tmp_path) as life:
        with pytest.raises(ProxyError, match=message) as refused:
            await life.slice(DEAR, **fields)
        assert refused.value.status == 400


async def test_a_ledger_that_is_gone_in_the_middle_is_gone_on_with_later(tmp_path: Path) -> None:
    """The batches before the fault are booked, those behind it are not, and the same again adds the
    rest only."""
    async with living(
        tmp_path, failpoints="ledger.book.inside=raise@8,ledger.book.after=raise@10"
    ) as life:
        await life.book(*(make_record(n) for n in range(256)))  # four batches
        for booked in (
            256 + 2 * 64,
            256 + 4 * 64,
        ):  # the second time the answer to a commit is lost
            with pytest.raises(LedgerUnavailable):
                await life.all(DEAR)
            assert life.records() == booked
        found = await life.all(DEAR)
        assert (total(found, "adjusted"), total(found, "unchanged")) == (0, 256)
        assert life.sums()["USD"] == (256, 5120, 256 * COST, 256 * CHARGE)


async def test_beside_the_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that arrive meanwhile are booked meanwhile; two that rerate at once book each
    difference once."""
    monkeypatch.setattr("proxy.accounting.rerating.SEQS_MAX", 100)
    async with living(tmp_path) as life:
        await life.book(*(make_record(n) for n in range(300)))
        rerating = asyncio.gather(life.all(DEAR), life.all(DEAR))
        while not rerating.done():
            await life.book(make_record(300 + life.booked))
            await asyncio.sleep(0)
        await rerating
        assert life.booked > 303, "the traffic did not stand still"
        assert len([n for n in range(300) if len(life.queries.adjustments(make_id(n))) != 1]) == 0
        await life.all(DEAR)
        assert life.sums()["USD"] == (
            life.booked,
            20 * life.booked,
            life.booked * COST,
            life.booked * CHARGE,
        )
        assert life.records() == 2 * life.booked


async def test_images_are_told_by_the_amount_they_made(tmp_path: Path) -> None:
    """No column holds their number."""
    row = {"model": "deepseek-v3.2", "input": "0.28", "output": "0.42"}
    before, after = book_of(row | {"image": "0.001"}), book_of(row | {"image": "0.003"})
    async with living(tmp_path) as life:
        cost = COST + 2 * 1_000_000
        priced = {
            "cost_nano": cost,
            "charge_nano": cost * 105 // 100,
            "currency": "USD",
            "cost_original_nano": cost,
            "price_currency": "USD",
        }
        await life.book(
            make_record(0, price_version=before.version, **priced),
            make_record(1, price_version="forgotten", **priced),
        )
        [unknown] = await life.all(after)
        assert unknown.verdicts["unpriced"] == 2, (
            "the ledger was not told what they were priced with"
        )
        await life.ledger.book(
            Batch("w0", price_versions=[(before.version, before.terms()), ("forgotten", b"{}")])
        )
        [found] = await life.all(after)
        assert (found.verdicts["adjusted"], found.verdicts["unpriced"]) == (1, 1)
        assert found.changes[0].cost_nano == 2 * 2_000_000


async def test_each_adjustment_is_told_once_it_is_booked(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.book(*(make_record(n) for n in range(3)))
        told: list[UsageRecord] = []
        for dry_run in (True, False, False):
            await rerate(
                Rerate(dry_run=dry_run), life.queries, life.ledger, DEAR, ZONE, told.append
            )
        assert [
            (record.adjusts, record.charge_nano, life.queries.record(record.id) is not None)
            for record in told
        ] == [(make_id(n), CHARGE, True) for n in range(3)]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"teams": ("research",)}, [0, 1, 2]),
        ({"teams": ("",)}, [3]),
        ({"teams": ("", "research"), "models": ("deepseek-v*",)}, [0, 3]),
        ({"models": ("deepseek-?1", "*chat*")}, [1, 2]),
        ({"upstreams": ("other",)}, [2]),
        ({"upstreams": ("modelmax",), "models": ("*chat",)}, []),
        ({"teams": ("Research",)}, []),
    ],
)
async def test_only_what_was_asked_for(
    tmp_path: Path, asked: dict[str, tuple[str, ...]], found: list[int]
) -> None:
    """The model is the one asked for, as in `usage`."""
    prices = book_of({"model": "deepseek-*", "input": "0.28", "output": "0.42"})
    async with living(tmp_path) as life:
        await life.book(
            make_record(0),
            make_record(1, model_requested="deepseek-r1"),
            make_record(2, model_requested="deepseek-chat", upstream="other"),
            make_record(3, team=None),
        )
        [dry], [wet] = (
            await life.all(prices, dry_run=True, **asked),
            await life.all(prices, **asked),
        )
        assert sum(dry.verdicts.values()) == wet.verdicts["adjusted"] == len(found)
        assert [n for n in range(4) if life.queries.adjustments(make_id(n))] == found


async def test_the_reason_stands_in_the_book_and_the_terms_too(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.book(make_record(0), make_record(1))
        await life.all(
            DEAR,
            reason="price list of 3 November",
            models=("deepseek-v3.2",),
            upstreams=("modelmax",),
        )
        [first], [second] = (life.queries.adjustments(make_id(n)) for n in range(2))
        assert first.record.reason == second.record.reason == "rerate: price list of 3 November"
        assert life.queries.price_terms(DEAR.version) == DEAR.terms()
        [again] = await life.all(DEAR, reason="another")
        assert (again.verdicts["adjusted"], life.records()) == (0, 4)
        for reason in ("", "x" * 201, "two\nlines"):
            with pytest.raises(ProxyError, match="`reason` is one line"):
                await life.all(DEAR, reason=reason)


async def test_what_a_markup_of_now_does_not_change_is_told(tmp_path: Path) -> None:
    """And the terms that are of neither config alone can be looked up."""
    raised = price_book_of(
        Settings(
            prices=(Price(model="deepseek-v3.2", input="0.14", output="0.21"),),
            teams={"research": TeamSettings(markup="0.5")},
        )
    )
    priced = {
        "cost_nano": COST,
        "charge_nano": CHARGE,
        "currency": "USD",
        "cost_original_nano": COST,
        "price_currency": "USD",
    }
    async with living(tmp_path) as life:
        await life.ledger.book(Batch("w0", price_versions=[(DEAR.version, DEAR.terms())]))
        await life.book(
            *(
                make_record(n, price_version=DEAR.version, **priced | {"currency": money})
                for n, money in enumerate(("USD", "EUR"))
            )
        )
        [found] = await life.all(raised)
        assert found.verdicts["other_currency"] == 1, "told once"
        assert (found.kept, found.changes[0].charge_nano) == (
            {"removed_row": 0, "earlier_table": 0, "earlier_terms": 1},
            -CHARGE // 2,
        )
        [adjustment] = life.queries.adjustments(make_id(0))
        version = adjustment.record.price_version
        assert version not in (None, DEAR.version, raised.version) and version is not None
        terms = life.queries.price_terms(version)
        assert terms is not None
        assert PriceBook.from_terms(terms).price_record(make_record(0)).charge_nano == CHARGE // 2


async def test_an_empty_book(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        for period in ({}, {"from_": "2026-11-01"}):
            [found] = await life.all(DEAR, **period)
            assert (found.next, found.changes, sum(found.verdicts.values())) == (None, [], 0)
