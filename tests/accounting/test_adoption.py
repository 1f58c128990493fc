"""What processes that are gone left in journals of their own is settled and booked by the next
one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from proxy.accounting.adoption import Adoption, adopt_others
from proxy.journal import Journal
from proxy.journal.lock import is_locked
from tests.accounting.test_recorder import PRICES, living, opening
from tests.ledger.samples import make_id, make_record
from tests.support.journals import journal_options
from tests.support.waiting import GUARD_S


async def test_directories_of_the_dead_are_settled_and_booked_those_of_the_living_left_alone(
    tmp_path: Path,
) -> None:
    root = tmp_path / "journal"
    async with living(tmp_path) as life:
        second = Journal.claim(root, journal_options())
        living_one = Journal.claim(root, journal_options())
        for journal, n in ((second, 10), (living_one, 20)):
            journal.open(opening(n))
            journal.open(opening(n + 1))
            journal.close(make_record(n, writer=journal.writer))
        await second.aclose()
        settled = await adopt_others(
            root, journal_options(), life.ledger, life.metrics, PRICES, timeout_s=GUARD_S
        )
        assert settled == 1
        assert (
            await adopt_others(
                root, journal_options(), life.ledger, life.metrics, PRICES, timeout_s=GUARD_S
            )
            == 0
        )
        assert life.booked(
            "SELECT id || ' ' || writer || ' ' || ifnull(charge_nano, '-') FROM records ORDER BY seq"
        ) == [f"{make_id(10)} w1 -", f"{make_id(11)} w1 20000"]
        await living_one.aclose()


async def test_a_directory_that_cannot_be_taken_over_is_told_and_keeps_nothing_from_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "journal"
    async with living(tmp_path) as life:
        left = Journal.claim(root, journal_options())
        left.open(opening(10))
        await left.aclose()
        left.directory.rename(root / "w2")
        (root / "w1" / "lock").mkdir(parents=True)  # no file to lock
        assert (
            await adopt_others(
                root, journal_options(), life.ledger, life.metrics, PRICES, timeout_s=GUARD_S
            )
            == 1
        )
        assert life.booked("SELECT id || ' ' || writer FROM records") == [f"{make_id(10)} w2"]
        assert f"{root / 'w1'} stays as it is until the next look" in caplog.text
        assert not any(record.exc_info for record in caplog.records), "a reason, no traceback"
        (root / "w3").mkdir()
        os.mknod(root / "w3" / "lock", stat.S_IFSOCK)  # nothing that can be opened
        assert (
            await adopt_others(
                root, journal_options(), life.ledger, life.metrics, PRICES, timeout_s=GUARD_S
            )
            == 0
        )
        assert f"left in {root} cannot be looked at" in caplog.text


class Asked:
    """Adoption that note what they are asked."""

    def __init__(self, *, may_take: bool = True) -> None:
        self.asked: list[str] = []
        self.locked: list[bool] = []
        self.settled: list[str] = []
        self._may_take = may_take

    def terms(self, root: Path, *names: str) -> Adoption:
        async def may_take(name: str) -> bool:
            self.asked.append(name)
            return self._may_take

        async def settled(name: str) -> None:
            self.locked.append(is_locked(root / name))
            self.settled.append(name)

        return Adoption(names.__contains__, may_take, settled)


async def test_only_what_is_wanted_is_taken_and_what_follows_comes_under_its_lock(
    tmp_path: Path,
) -> None:
    root = tmp_path / "journal"
    async with living(tmp_path) as life:
        for n in (10, 20):
            journal = Journal.claim(root, journal_options(), name=f"a{n}")
            journal.open(opening(n))
            await journal.aclose()
        parts = (root, journal_options(), life.ledger, life.metrics, PRICES)
        refused, taken = Asked(may_take=False), Asked()
        for asked in (refused, taken):
            await adopt_others(*parts, timeout_s=GUARD_S, terms=asked.terms(root, "a10"))
        assert (refused.asked, refused.settled) == (["a10"], [])
        assert (taken.asked, taken.settled, taken.locked) == (["a10"], ["a10"], [True])
        assert life.booked("SELECT id FROM records") == [make_id(10)]
        assert not is_locked(root / "a10")
