"""An erased end user is known nowhere any more; who comes again is somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.accounting.erasure import erase_end_user
from proxy.core.managed import Audit
from proxy.ledger import LedgerUnavailable, connect_reader
from tests.accounting.test_recorder import URL, Life, living
from tests.ledger.samples import START_MS

DEED = Audit(
    at_ms=START_MS, actor="root", origin="socket", action="end_user.erase", kind="end_user", name=""
)


async def erased(life: Life, name: str) -> bool:
    drain = lambda: life.recorder.drain(600)  # noqa: E731
    return await erase_end_user(name, DEED, life.ledger, life.end_users, drain)


async def test_the_salt_goes_and_the_records_stay(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        ann, bob = life.end_users.hash("ann"), life.end_users.hash("bob")
        life.end(1, end_user=ann)
        life.end(2, end_user=bob)
        await life.recorder.drain(600)
        assert len(await life.ledger.salts()) == 2
        assert await erased(life, "ann")
        assert list(await life.ledger.salts()) == [life.end_users.lookup("bob")]
        assert not await erased(life, "ann"), "it is not known any more"
        assert not await erased(life, "nobody")
        assert life.booked("SELECT end_user FROM records ORDER BY seq") == [ann, bob]
        again = life.end_users.hash("ann")
        assert again != ann
        life.end(3, end_user=again)
        await life.recorder.drain(600)
    async with living(tmp_path) as life:
        assert life.end_users.hash("ann") == again, "a restart knows the new one"
        assert life.end_users.hash("bob") == bob
    assert [entry.deed for entry in connect_reader(URL, tmp_path).audit(0, 9)] == [DEED]


async def test_who_comes_while_the_old_salt_is_deleted_keeps_the_new_one(tmp_path: Path) -> None:
    """The ledger has the old salt when the new one comes, and would ignore it."""
    async with living(tmp_path) as life:
        life.end(1, end_user=life.end_users.hash("ann"))
        await life.recorder.drain(600)
        new: list[str | None] = []

        async def drain() -> bool:
            done = await life.recorder.drain(600)
            new.append(life.end_users.hash("ann"))
            life.end(2, end_user=new[0])
            return done and await life.recorder.drain(600)

        assert await erase_end_user("ann", DEED, life.ledger, life.end_users, drain)
        life.end(3)
        await life.recorder.drain(600)
    async with living(tmp_path) as life:
        assert life.end_users.hash("ann") == new[0]


async def test_a_salt_on_its_way_into_the_ledger_does_not_come_after_the_erasure(
    tmp_path: Path,
) -> None:
    async with living(tmp_path) as life:
        old = life.end_users.hash("ann")
        life.end_users.store_again("ann")  # as if a batch had taken it along a moment ago
        life.recorder._pending.salts(life.end_users.new_salts())
        life.end(1, end_user=old)
        assert await erased(life, "ann")
        await life.recorder.drain(600)
        assert await life.ledger.salts() == {}
    async with living(tmp_path) as life:
        assert life.end_users.hash("ann") != old


async def test_nothing_is_said_to_be_erased_while_the_ledger_is_away(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.end(1, end_user=life.end_users.hash("ann"))
        await life.recorder.drain(600)

        async def drain() -> bool:
            return False

        with pytest.raises(LedgerUnavailable):
            await erase_end_user("ann", DEED, life.ledger, life.end_users, drain)
        assert await erased(life, "ann"), "the same again goes on"
