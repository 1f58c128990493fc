"""What a process that is given up held: ended as booked, or charged, however often it is done."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from proxy.core.limits.decisions import Demand
from proxy.ledger import Ledger, LedgerUnavailable, connect
from proxy.ledger.sharing import Instance, InstanceState
from proxy.quota import Quota, SharedOptions
from proxy.quota import connect as connect_quota
from proxy.quota.left import LeftHolds, connect_left
from proxy.quota.valkey.store import SharedQuota
from proxy.server import forgetting
from tests.accounting.test_recorder import PRICES, opening
from tests.ledger.postgresql.books import Books, key_file
from tests.ledger.samples import START_MS, make_id, make_record
from tests.quota.valkey.shared import built
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import guard

DAY = limit("1_000 USD/day", "strict")
GONE = Instance("a", InstanceState.LAPSED, START_MS, START_MS + 9_000, 60.0, "a")


class Lost:
    """A ledger, a process that is there, and what one holds that is not."""

    def __init__(
        self,
        ledger: Ledger,
        quotas: list[Quota],
        left: LeftHolds,
        book: Books,
        server: ValkeyServer,
    ) -> None:
        self.ledger, self.left, self.book, self.server = ledger, left, book, server
        self.gone, self.there = quotas

    async def hold(self, number: int, *, known: bool = True) -> None:
        opened = opening(number)
        ask = Demand(
            exchange_id=opened.id,
            started_at_ms=opened.started_at_ms,
            input_tokens=40,
            output_tokens=10,
            charge_nano=100_000,
            input_bound=60,
            output_bound=100,
            charge_bound_nano=230_000,
            opened=opened if known else None,
        )
        await self.gone.reserve([DAY], ask, START_MS)

    async def look(self) -> forgetting.Charged:
        return await forgetting.look(self.left, self.ledger, PRICES, GONE)

    async def charge(self) -> None:
        await forgetting.charge(await self.look(), self.left, self.ledger, PRICES)

    async def figures(self) -> tuple[int, int]:
        (state,) = await self.there.states([DAY], START_MS)
        return state.used, state.held

    def booked(self) -> int:
        [(sum_nano,)] = self.book.rows("SELECT coalesce(sum(charge_nano), 0) FROM records")
        return int(sum_nano)


@contextlib.asynccontextmanager
async def lost(directory: Path) -> AsyncIterator[Lost]:
    (directory / "valkey").mkdir()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(guard())
        server = stack.enter_context(valkey_server(directory / "valkey"))
        book = Books()
        stack.callback(book.close)
        book.rows("SELECT 1")
        ledger = await connect(book.url, directory, key_file(directory))
        stack.push_async_callback(ledger.aclose)
        quotas: list[Quota] = []
        for name in "ab":
            options = SharedOptions(instance=name, timeout_s=30.0)
            quota = await connect_quota(server.url, ZoneInfo("UTC"), options=options)
            stack.push_async_callback(quota.aclose)
            assert isinstance(quota, SharedQuota)
            await built(quota, START_MS)
            quotas.append(quota)
        left = await connect_left(server.url, "a", 30.0)
        assert left is not None
        stack.push_async_callback(left.aclose)
        yield Lost(ledger, quotas, left, book, server)


@pytest.mark.whole  # servers of its own
async def test_each_request_ends_as_booked_or_is_charged_what_was_held(tmp_path: Path) -> None:
    async with lost(tmp_path) as found:
        for number in (1, 2):
            await found.hold(number)
        await found.hold(3, known=False)
        found.book.book(make_record(1, charge_nano=70_000, writer="a"), writer="a")
        seen = await found.look()
        assert [one.id for one, _ in seen.booked] == [make_id(1)]
        assert seen.unknown == 1
        [(held, record)] = seen.charged
        assert (held.id, record.writer, record.origin) == (make_id(2), "a", "forgotten")
        assert (record.input_tokens, record.output_tokens) == (60, 100)
        assert record.duration_ms == 9_000, "until it was heard of last, so the same each time"
        assert seen.charge_nano() == {"USD": 230_000}, (
            "60 tokens at 0.5, 100 at 2 dollars a million"
        )
        assert await found.figures() == (0, 690_000), "a look changes nothing"
        await found.charge()
        assert (found.booked(), await found.figures()) == (300_000, (300_000, 230_000))
        again = await found.look()
        assert (again.charged, again.booked, again.unknown) == ([], [], 1)
        found.book.agree()


@pytest.mark.whole
async def test_a_run_that_was_broken_off_is_done_again(tmp_path: Path) -> None:
    async with lost(tmp_path) as found:
        for number in range(1, 301):
            await found.hold(number)
        seen = await found.look()
        assert len(seen.charged) == 300

        class BrokenOff(forgetting.LeftHolds):
            """Ends after some of what it was told."""

            told = 0

            async def give_up(self, held: object, used: object) -> None:
                self.told += 1
                if self.told > 7:
                    raise LedgerUnavailable("killed")
                await found.left.give_up(held, used)  # type: ignore[arg-type]

        with pytest.raises(LedgerUnavailable):
            await forgetting.charge(seen, BrokenOff(), found.ledger, PRICES)
        assert found.booked() == 300 * 230_000
        for _ in range(2):
            await found.charge()
            assert found.booked() == 300 * 230_000, "once"
            assert await found.figures() == (300 * 230_000, 0)
        [(rows,)] = found.book.rows("SELECT count(*) FROM records")
        assert rows == 300


@pytest.mark.whole
async def test_counts_that_were_built_anew_while_it_was_asked_are_built_once_more(
    tmp_path: Path,
) -> None:
    """They were read from a book without the records that were then charged."""
    async with lost(tmp_path) as found:
        await found.hold(1)
        seen = await found.look()
        quota = found.there
        assert isinstance(quota, SharedQuota)
        found.server.ask("FLUSHALL")
        await quota.shared.lost()
        await built(quota, START_MS)  # the operator has not answered yet
        await forgetting.charge(seen, found.left, found.ledger, PRICES)
        assert (found.booked(), await found.figures()) == (230_000, (0, 0))
        await found.left.gone()
        await quota.shared.lost()


@pytest.mark.whole
async def test_counts_that_know_what_was_charged_are_kept(tmp_path: Path) -> None:
    async with lost(tmp_path) as found:
        await found.hold(1)
        await found.charge()
        await found.left.gone()
        await found.hold(2)
        assert await found.figures() == (230_000, 230_000)
