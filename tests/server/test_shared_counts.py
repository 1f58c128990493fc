"""What a journal has that the book had not, and for whom strict limits wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from proxy.core.usage import Source, UsageRecord
from proxy.dataplane.services import Services
from proxy.ledger import Ledger
from proxy.ledger.postgresql.sharing import PostgresSharing
from proxy.server.shared_counts import _booked, _look_after, owed_use
from tests.ledger.postgresql.books import books
from tests.ledger.samples import make_id, make_record
from tests.quota.valkey.booked import Books, Instance, instances, lose, usable
from tests.support.valkey import valkey_server
from tests.support.waiting import until


def figures(
    closes: Sequence[UsageRecord], *booked: UsageRecord
) -> list[tuple[int, int | None, int | None]]:
    """Requests, input and output tokens of what is owed."""
    numbered = [*enumerate(closes, 5)]
    found = owed_use(numbered, {record.id: record for record in booked})
    assert len({id for id, _ in found}) == len(found)
    return [(row.requests, row.input_tokens, row.output_tokens) for _, row in found]


def test_each_close_is_owed_whole() -> None:
    closes = [make_record(n, output_tokens=n) for n in range(3)]
    assert figures(closes) == [(1, 100, 0), (1, 100, 1), (1, 100, 2)]
    assert figures(closes, *closes) == figures(closes), "they were booked since"
    assert [id for id, _ in owed_use([(1, closes[2])], {})] == [make_id(2)]


def test_a_second_record_of_a_request_owes_what_it_adds() -> None:
    first, last = make_record(0, output_tokens=5), make_record(0, output_tokens=50)
    assert figures([last], first) == [(0, 0, 45)], "the counts have the first"
    assert figures([first, last]) == [(1, 100, 50)]
    assert figures([first, last], first) == [(1, 100, 50)], "the first was booked since"
    assert figures([last]) == [(1, 100, 50)]
    weaker = make_record(0, output_tokens=9, source=Source.ESTIMATED)
    assert figures([weaker], first) == []
    assert figures([first, weaker]) == [(1, 100, 5)]


async def test_only_records_that_may_come_twice_are_looked_for_in_the_book() -> None:
    asked: list[Sequence[str]] = []

    async def stored(ids: Sequence[str]) -> dict[str, UsageRecord]:
        asked.append(ids)
        return {}

    ledger = SimpleNamespace(stored=stored, batch_max=2)
    closes = [(n, make_record(n, dialect="openai_responses")) for n in range(5)]
    await _booked(cast("Ledger", ledger), [*closes, (9, make_record(9))], 0)
    assert sorted(id for ids in asked for id in ids) == [make_id(n) for n in range(5)]
    assert [len(ids) for ids in asked] == [2, 2, 1]


@pytest.mark.whole
async def test_who_left_is_not_waited_for_and_who_is_silent_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.server.shared_counts.LOOK_S", 0.02)
    monkeypatch.setattr("proxy.server.shared_counts.TELL_S", 0.0)
    journals = Books()
    with books() as ledger, valkey_server(tmp_path) as valkey:
        ledger.rows("SELECT 1")
        async with sharing(ledger.url) as here, sharing(ledger.url) as there:
            await here.arrive("i0", "here")
            await there.arrive("gone", "there")
            services = cast("Services", SimpleNamespace(sharing=here))
            async with instances(valkey.port, books=journals) as [one]:
                gone = Instance("gone", journals)
                await gone.connect(valkey.port, silent=True)
                await gone.quota.whole()
                journals.at_once = False
                gone.end(await gone.held(400), 300)
                await gone.die()
                looking = asyncio.create_task(_look_after(one.quota, services))
                await lose(valkey, one)
                await until(lambda: "have handed in what they used: gone. A" in caplog.text)
                assert not usable(one)
                journals.book("gone")
                journals.left.add("gone")
                await there.leave()
                await until(lambda: usable(one))
                assert one.quota.standing.epochs == 3
                assert await one.figures() == (300, 0)
                looking.cancel()
                await asyncio.wait([looking])


@contextlib.asynccontextmanager
async def sharing(url: str) -> AsyncIterator[PostgresSharing]:
    one = PostgresSharing(url)
    try:
        yield one
    finally:
        await one.aclose()
