"""Keys, teams and the audit in the book: durable together, and the latest of each name."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.core.managed import State, TenantChange
from proxy.ledger import LedgerUnavailable
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import ALICE, deed


async def test_what_is_written_is_there_after_reopening_the_latest_of_each_name(
    ledgers: BookUnderTest,
) -> None:
    gone = msgspec.structs.replace(ALICE, state=State.REVOKED)
    created = TenantChange((ALICE,), (deed("create", after='{"team":"research"}'),))
    for change in (created, TenantChange((gone,), (deed("revoke", reason="left us"),))):
        ledger = await ledgers.open()
        await ledger.change(change)
        await ledger.aclose()
    ledger = await ledgers.open()
    assert await ledger.tenants() == [gone]
    await ledger.aclose()
    reader = ledgers.reader()
    assert reader.tenants() == [gone]
    entries = reader.audit(0, 10)
    assert [(entry.seq, entry.deed.action, entry.deed.reason) for entry in entries] == [
        (1, "create", None),
        (2, "revoke", "left us"),
    ]
    assert reader.audit(1, 10) == entries[1:]
    assert reader.audit(0, 1) == entries[:1]
    assert reader.audit_head() == entries[-1].seq
    assert reader.audit_problems(ledgers.key_file) == []


async def test_a_failed_change_leaves_neither_rows_nor_audit(ledgers: BookUnderTest) -> None:
    ledger = await ledgers.open()
    broken = msgspec.structs.replace(deed("create"), name=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"(?i)not.null"):
        await ledger.change(TenantChange((ALICE,), (deed("create"), broken)))
    assert await ledger.tenants() == []
    await ledger.change(TenantChange((ALICE,), (deed("create"),)))
    await ledger.aclose()
    assert [entry.seq for entry in ledgers.reader().audit(0, 9)] == [1]


async def test_what_is_to_be_done_first_is_done_before_anything_is_written(
    ledgers: BookUnderTest,
) -> None:
    ledger, reader = await ledgers.open(), ledgers.reader()
    seen: list[object] = []

    async def first() -> None:
        seen.append(await asyncio.to_thread(reader.tenants))

    async def fails() -> None:
        raise LedgerUnavailable("cannot be counted")

    what = TenantChange((ALICE,), (deed("create"),))
    with pytest.raises(LedgerUnavailable, match="cannot be counted"):
        await ledger.change(what, first=fails)
    assert await ledger.tenants() == []
    await ledger.change(what, first=first)
    assert seen == [[]]
    assert await ledger.tenants() == [ALICE]
    await ledger.aclose()
