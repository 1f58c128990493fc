"""The ledger of a data directory without a process, opened to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy import ledger
from proxy.cli.common import Failed
from proxy.cli.own_ledger import done, own_ledger
from proxy.config.settings import Settings
from proxy.ledger import Ledger, LedgerError
from tests.ledger.samples import make_record


async def test_none_is_made_to_find_it_empty(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger at"):
        async with own_ledger(Settings(data_dir=tmp_path)):
            pass
    assert list(tmp_path.iterdir()) == []


def test_it_is_this_commands_until_the_end(book: Callable[..., Path]) -> None:
    data_dir = book(make_record(0))

    async def use() -> None:
        async with own_ledger(Settings(data_dir=data_dir)) as (own, reader):
            assert reader.head() == 1
            assert await own.position("w0") == 1
            with pytest.raises(LedgerError, match="in use by"):
                await ledger.connect("sqlite:ledger.db", data_dir)
        again = await ledger.connect("sqlite:ledger.db", data_dir)
        await again.aclose()

    asyncio.run(use())


def test_without_a_process_it_is_done_here(book: Callable[..., Path], home: Path) -> None:
    """With one it is asked: `ledger seal` and `ledger rebuild` do so in their tests."""

    async def booked(own: Ledger, settings: Settings) -> tuple[str, int | None]:
        return settings.timezone, await own.position("w0")

    with pytest.raises(Failed, match="there is no ledger at"):
        done(None, "/never/asked", tuple, booked)
    book(make_record(0))
    assert done(None, "/never/asked", tuple, booked) == ("Asia/Shanghai", 1)
