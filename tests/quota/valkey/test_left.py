"""What a process that is gone holds is ended for it, or given up."""

from __future__ import annotations

import asyncio
import contextlib
from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.core.limits.decisions import Demand, Used
from proxy.quota import QuotaUnavailable, SharedOptions, connect
from proxy.quota.left import HeldRequest, LeftHolds, connect_left
from proxy.quota.valkey.store import SharedQuota
from tests.quota.valkey.shared import built
from tests.quota.valkey.test_requests import FEW
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer
from tests.support.waiting import guard

NOW_MS = 1_900_000_000_000
DAY = limit("1_000 tokens/day", "strict")
MINUTE = limit("1_000 tokens/minute", "finish")
SLOTS = limit("9 concurrent", "finish")
ALL = (DAY, MINUTE, SLOTS)
USED = Used(input_tokens=10, output_tokens=50)


class Gone:
    """Two processes; the first holds something and says nothing more."""

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server

    async def __aenter__(self) -> Gone:
        self._server.ask("FLUSHALL")
        self._quotas = [
            await connect(
                self._server.url,
                ZoneInfo("UTC"),
                options=SharedOptions(instance=name, timeout_s=30.0),
            )
            for name in "ab"
        ]
        for quota in self._quotas:
            assert isinstance(quota, SharedQuota)
            await built(quota, NOW_MS)
        left = await connect_left(self._server.url, "a", 30.0)
        assert left is not None
        self.left: LeftHolds = left
        self.mine, self.other = self._quotas
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.left.aclose()
        for quota in self._quotas:
            await quota.aclose()

    async def hold(self, name: str, *, known: bool = True) -> object:
        opened = msgspec.structs.replace(FEW, id=name) if known else None
        ask = Demand(
            exchange_id=name,
            started_at_ms=NOW_MS,
            input_tokens=10,
            output_tokens=90,
            input_bound=20,
            output_bound=200,
            opened=opened,
        )
        return await self.mine.reserve(ALL, ask, NOW_MS)

    async def figures(self) -> list[tuple[int, int]]:
        """Used and held of the day; used of the slots."""
        day, slots = await self.other.states((DAY, SLOTS), NOW_MS)
        return [(day.used, day.held), (slots.used, slots.held)]


async def test_it_says_whose_each_hold_is_and_ends_as_the_book_says(valkey: ValkeyServer) -> None:
    async with guard(), Gone(valkey) as gone:
        await gone.hold("x1")
        await gone.hold("x2", known=False)
        found = sorted(await gone.left.requests(), key=lambda one: one.attempt)
        assert [(one.attempt, one.output_tokens, one.given_up) for one in found] == [
            ("x1", 200, False),
            ("x2", 200, False),
        ]
        assert found[1].opened is None
        assert found[0].opened == msgspec.structs.replace(FEW, id="x1", input_estimate=20)
        await gone.left.settle(found[0], USED)
        await gone.left.settle(found[0], USED)
        assert await gone.figures() == [(60, 220), (1, 0)], "once"
        await gone.left.settle(found[1], None)
        assert await gone.figures() == [(60, 0), (0, 0)]
        await gone.left.gone()
        assert await gone.left.requests() == []


async def test_a_stream_that_grew_is_told_as_it_grew(valkey: ValkeyServer) -> None:
    soft = limit("1_000 tokens/day", "cut")
    async with guard(), Gone(valkey) as gone:
        ask = Demand(exchange_id="x1", started_at_ms=NOW_MS, output_tokens=90, opened=FEW)
        held = await gone.mine.reserve([soft, SLOTS], ask, NOW_MS)
        assert await gone.mine.extend(held, 300, None, NOW_MS) is None  # type: ignore[arg-type]
        gone.mine.release_slots(held)  # type: ignore[arg-type]
        await gone.mine.flush()
        [found] = await gone.left.requests()
        assert found.output_tokens == 300 and found.opened is not None


async def test_what_is_given_up_counts_and_a_record_that_still_comes_counts_the_rest(
    valkey: ValkeyServer,
) -> None:
    async with guard(), Gone(valkey) as gone:
        held = await gone.hold("x1")
        [found] = await gone.left.requests()
        for _ in range(2):
            await gone.left.give_up(found, Used(input_tokens=20, output_tokens=200))
        assert await gone.figures() == [(220, 0), (0, 0)]
        [again] = await gone.left.requests()
        assert again == msgspec.structs.replace(found, given_up=True)
        # It was only paused, and ends its request as if nothing had been.
        gone.mine.settle(held, USED, NOW_MS)  # type: ignore[arg-type]
        await gone.mine.flush()
        assert await gone.figures() == [(60, 0), (0, 0)]
        assert await gone.left.requests() == []
        assert await gone.mine.left() == []


async def test_a_new_start_ends_what_was_given_up_by_its_record(valkey: ValkeyServer) -> None:
    async with guard(), Gone(valkey) as gone:
        await gone.hold("x1")
        [found] = await gone.left.requests()
        await gone.left.give_up(found, Used(input_tokens=20, output_tokens=200))
        assert await gone.other.left() == []
        gone.mine.settle_left("x1", USED)
        await gone.mine.flush()
        assert await gone.figures() == [(60, 0), (0, 0)]


async def test_a_hold_of_rates_and_slots_alone_leaves_nothing_behind(valkey: ValkeyServer) -> None:
    async with guard(), Gone(valkey) as gone:
        ask = Demand(exchange_id="x1", started_at_ms=NOW_MS, output_tokens=90, opened=FEW)
        await gone.mine.reserve([MINUTE, SLOTS], ask, NOW_MS)
        [found] = await gone.left.requests()
        await gone.left.give_up(found, USED)
        [minute, slots] = await gone.other.states((MINUTE, SLOTS), NOW_MS)
        assert (slots.used, minute.held) == (0, 0)
        [again] = await gone.left.requests()
        assert again.given_up


async def test_after_the_counts_were_built_anew_each_hold_still_says_whose_it_is(
    valkey: ValkeyServer,
) -> None:
    async with guard(), Gone(valkey) as gone:
        await gone.hold("x1")
        valkey.ask("FLUSHALL")
        for quota in (gone.other, gone.mine):
            assert isinstance(quota, SharedQuota)
            await quota.shared.lost()
            await built(quota, NOW_MS)
        await gone.mine.flush()
        while True:
            with contextlib.suppress(QuotaUnavailable):  # until it has heard of it
                [found] = await gone.left.requests()
                break
            await asyncio.sleep(0.01)
        assert found.opened == msgspec.structs.replace(FEW, id="x1", input_estimate=20)
        assert found.output_tokens == 200


async def test_without_counts_nothing_can_be_said(valkey: ValkeyServer) -> None:
    async with guard(), Gone(valkey) as gone:
        await gone.hold("x1")
        valkey.ask("FLUSHALL")
        with_none = HeldRequest("x1", None, 0)
        for asked in (
            gone.left.requests(),
            gone.left.settle(with_none, None),
            gone.left.give_up(with_none, USED),
            gone.left.gone(),
        ):
            with pytest.raises(QuotaUnavailable):
                await asked
