"""What is told to whom, once: over a second look, a restart, a failing database, a reload."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from proxy.config.settings import NotifySettings, Settings, TeamSettings
from proxy.ledger import Ledger, connect
from proxy.metrics.families import Families
from proxy.notify import notifier as notifiers
from proxy.notify.lane import Pace
from proxy.notify.notifier import Notifier
from tests.core.notices.samples import a_notice
from tests.notify.receiver import hook
from tests.support.waiting import until

QUICK = Pace(apart_s=0.0, first_s=0.001, longest_s=0.004, give_up_s=86_400.0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def fresh(subject: str = "a", **more: object):
    return a_notice(f"Notice {subject}.", subject, **{"at_ms": now_ms(), **more})


@dataclass
class Here:
    notifier: Notifier
    ledger: Ledger
    settings: list[Settings]

    def counts(self) -> dict[tuple[str, str], int]:
        return {key: count for key, count in self.notifier._counts.items() if count}


@contextlib.asynccontextmanager
async def running(
    directory: Path, *notify: NotifySettings, pace: Pace = QUICK, **teams: NotifySettings
) -> AsyncIterator[Here]:
    ledger = await connect("sqlite:ledger.db", directory)
    said = {name: TeamSettings(notify=(entry,)) for name, entry in teams.items()}
    settings = [Settings(notify=notify, teams=said)]
    notifier = Notifier(ledger, lambda: settings[0], now_ms, pace)
    task = asyncio.create_task(notifier.run())
    try:
        yield Here(notifier, ledger, settings)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await notifier.aclose()
        await ledger.aclose()


async def test_a_subject_is_told_once_however_often_it_is_seen(tmp_path: Path) -> None:
    async with hook() as there, running(tmp_path, NotifySettings(url=there.url)) as here:
        for _ in range(200):
            here.notifier.tell(fresh())
        await until(lambda: there.posts)
        here.notifier.tell(fresh())
        here.notifier.tell(fresh("b"))
        await until(lambda: here.counts() == {("limit_near", "delivered"): 2})
        assert [post.json["data"]["text"] for post in there.posts] == ["Notice a.", "Notice b."]


async def test_what_was_told_takes_no_place_of_what_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that expire soon are seen at every look, and there may be more than can wait at once."""
    monkeypatch.setattr(notifiers, "WAITING_MAX", 2)
    async with hook() as there, running(tmp_path, NotifySettings(url=there.url)) as here:
        for known in (2, 4, 5):
            for name in "abcde":
                here.notifier.tell(fresh(name))
            await until(lambda known=known: len(there.posts) == known)
        assert {post.json["data"]["text"] for post in there.posts} == {
            f"Notice {name}." for name in "abcde"
        }


async def test_a_restart_tells_nothing_twice(tmp_path: Path) -> None:
    async with hook() as there:
        for _ in range(3):
            async with running(tmp_path, NotifySettings(url=there.url)) as here:
                here.notifier.tell(fresh())
                here.notifier.tell(fresh(f"start {now_ms()}"))
                await until(lambda: here.counts())
                await here.notifier.flush(600)
        assert [post.json["data"]["text"] for post in there.posts].count("Notice a.") == 1
        assert len(there.posts) == 4


async def test_what_was_not_delivered_goes_out_at_the_next_start_under_its_id(
    tmp_path: Path,
) -> None:
    async with hook() as there:
        there.status = 500
        async with running(tmp_path, NotifySettings(url=there.url)) as here:
            here.notifier.tell(fresh())
            await until(lambda: len(there.posts) >= 2)
        there.status, tried = 200, len(there.posts)
        async with running(tmp_path, NotifySettings(url=there.url)) as here:
            await until(lambda: here.counts() == {("limit_near", "delivered"): 1})
            await here.notifier.flush(600)
        assert {post.id for post in there.posts} == {there.posts[0].id}
        async with running(tmp_path, NotifySettings(url=there.url)) as here:
            here.notifier.tell(fresh("b"))
            await until(lambda: here.counts())
        assert len(there.posts) == tried + 2


async def test_what_is_a_day_old_or_has_no_receiver_left_is_not_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hook() as there, hook() as other:
        there.status = other.status = 500
        both = (NotifySettings(url=there.url), NotifySettings(url=other.url))
        async with running(tmp_path, *both) as here:
            here.notifier.tell(fresh("old", at_ms=now_ms() - 86_399_000))
            await until(lambda: there.posts and other.posts)
        tried = len(there.posts), len(other.posts)
        there.status = other.status = 200
        late = Pace(apart_s=0.0, give_up_s=86_000.0)
        async with running(tmp_path, both[0], pace=late) as here:
            await until(lambda: here.counts() == {("limit_near", "given_up"): 2})
            await here.notifier.flush(600)
            assert await here.ledger.unsent_notices(9) == []
        assert (len(there.posts), len(other.posts)) == tried
    assert "it is old: Notice old." in caplog.text
    assert "its receiver is gone: Notice old." in caplog.text


async def test_people_get_what_happens_at_once_in_one_message(tmp_path: Path) -> None:
    async with hook() as chat, hook() as program:
        receivers = NotifySettings(url=chat.url, format="slack"), NotifySettings(url=program.url)
        async with running(tmp_path, *receivers) as here:
            for number in range(12):
                here.notifier.tell(fresh(str(number)))
            await until(lambda: here.counts() == {("limit_near", "delivered"): 24})
        assert [str(post.json["text"]).count("Notice") for post in chat.posts] == [10, 2]
        assert len(program.posts) == 12 == len({post.id for post in program.posts})


async def test_a_team_hears_of_its_own_alone(tmp_path: Path) -> None:
    async with hook() as ops, hook() as team:
        async with running(
            tmp_path, NotifySettings(url=ops.url), research=NotifySettings(url=team.url)
        ) as here:
            for whose in ("research", "sales", None):
                here.notifier.tell(fresh(str(whose), team=whose))
            here.notifier.tell(fresh("price", event="unpriced_model"))
            await until(lambda: len(ops.posts) == 4 and len(team.posts) == 1)
        assert team.posts[0].json["data"]["team"] == "research"


async def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def hang(_):
        await ended.wait()

    async with hook() as slow, hook() as quick:
        slow.answers = [hang]
        async with running(
            tmp_path, NotifySettings(url=slow.url), NotifySettings(url=quick.url)
        ) as here:
            for number in range(3):
                here.notifier.tell(fresh(str(number)))
            await until(lambda: len(quick.posts) == 3)
            assert len(slow.posts) == 1
            ended.set()


async def test_notices_wait_for_a_database_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifiers, "AGAIN_S", 0.01)
    monkeypatch.setattr(notifiers, "WAITING_MAX", 3)
    async with hook() as there, running(tmp_path, NotifySettings(url=there.url)) as here:
        path, away = tmp_path / "ledger.db", tmp_path / "away"
        path.rename(away)
        for number in range(5):
            here.notifier.tell(fresh(str(number)))
        await until(lambda: "notices wait for the ledger" in caplog.text)
        here.notifier.tell(fresh("behind", event="ledger_behind"))
        await until(lambda: there.posts)
        assert there.types() == ["ledger_behind"], "the one notice that needs no database"
        away.rename(path)
        await until(lambda: len(there.posts) == 4)
        assert here.counts()["limit_near", "dropped"] == 2
        assert "a notice is lost, 3 wait for the ledger: Notice 3." in caplog.text
    waits = [
        one
        for one in caplog.records
        if "wait for the ledger: " in one.message and one.levelno == logging.WARNING
    ]
    assert len(waits) == 1, "one line for each outage"


async def test_a_reload_changes_who_is_told(tmp_path: Path) -> None:
    async with hook() as first, hook() as second:
        async with running(tmp_path, NotifySettings(url=first.url)) as here:
            here.notifier.tell(fresh("a"))
            await until(lambda: first.posts)
            assert here.notifier.wanted("limit_near", "key_expiring")
            here.settings[0] = Settings(
                notify=(NotifySettings(url=second.url, events=("limit_near",)),)
            )
            assert here.notifier.wanted("limit_near") and not here.notifier.wanted("key_expiring")
            here.notifier.tell(fresh("b"))
            here.notifier.tell(fresh("c", event="key_expiring"))
            await until(lambda: second.posts)
            here.settings[0] = msgspec.structs.replace(here.settings[0], notify=())
            here.notifier.tell(fresh("d"))
            assert not here.notifier._waiting
        assert (len(first.posts), second.types()) == (1, ["limit_near"])


async def test_a_reload_while_the_database_is_asked_changes_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hook() as gone, hook() as there:
        both = NotifySettings(url=gone.url), NotifySettings(url=there.url)
        async with running(tmp_path, *both) as here:
            other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            here.notifier.tell(fresh())
            await asyncio.sleep(2 * notifiers.GATHER_S)  # most likely it waits for the lock now
            here.settings[0] = Settings(notify=both[1:])
            here.notifier.tell(fresh("b"))
            other.execute("ROLLBACK")
            other.close()
            await until(lambda: len(there.posts) == 2)
        assert gone.posts == [] and "notices failed" not in caplog.text


async def test_a_stop_waits_for_what_can_be_sent_and_not_for_what_fails(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def slow(_):
        await ended.wait()
        return

    async with hook() as good, hook() as bad:
        bad.status = 500
        both = NotifySettings(url=good.url), NotifySettings(url=bad.url)
        async with running(tmp_path, *both, pace=Pace(apart_s=0.0, first_s=600.0)) as here:
            here.notifier.tell(fresh())
            await here.notifier.flush(600)
            assert len(good.posts) == 1 and len(bad.posts) == 1
            assert [row.receiver for row in await here.ledger.unsent_notices(9)] == [
                one.id for one in here.notifier._receivers.values() if one.settings is both[1]
            ]
            good.answers = [slow]
            here.notifier.tell(fresh("b"))
            await here.notifier.flush(0.5)  # returns
            ended.set()


async def test_counts_begin_at_zero_where_there_is_a_receiver(tmp_path: Path) -> None:
    def samples(notifier: Notifier) -> dict[tuple[str, str], float]:
        families = Families()
        notifier.collect(families)
        return {
            (sample.labels["event"], sample.labels["result"]): sample.value
            for metric in families.all()
            for sample in metric.samples
            if sample.name == "tollkeeper_notifications_total"
        }

    async with hook() as there, running(tmp_path, NotifySettings(url=there.url)) as here:
        here.notifier.tell(fresh())
        await until(lambda: here.counts())
        found = samples(here.notifier)
        assert (
            len(found) == 24 and found["limit_near", "delivered"] == 1 and sum(found.values()) == 1
        )
    (tmp_path / "none").mkdir()
    async with running(tmp_path / "none") as here:
        here.notifier.tell(fresh())
        assert samples(here.notifier) == {} and not here.notifier._waiting
