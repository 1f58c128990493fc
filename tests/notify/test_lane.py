"""One receiver's messages: in order, tried again, given up, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from proxy.config.settings import NotifySettings, Settings
from proxy.notify import lane as lanes
from proxy.notify.lane import Lane, Pace, Result
from proxy.notify.receivers import receivers_of
from proxy.notify.sending import NoticeMessage, Sender
from tests.core.notices.samples import a_notice
from tests.notify.receiver import Hook, hook
from tests.support.waiting import until

QUICK = Pace(apart_s=0.0, first_s=0.001, longest_s=0.004, give_up_s=1e9)


@dataclass
class Running:
    lane: Lane
    done: list[tuple[str, Result]] = field(default_factory=list)

    def put(self, *ids: str) -> None:
        for one in ids:
            self.lane.put(NoticeMessage(one, (a_notice(f"Notice {one}."),)))


@contextlib.asynccontextmanager
async def running(there: Hook, pace: Pace = QUICK) -> AsyncIterator[Running]:
    [receiver] = receivers_of(Settings(notify=(NotifySettings(url=there.url),)))
    now_ms = lambda: time.time_ns() // 1_000_000  # noqa: E731
    sender = Sender(now_ms)
    done: list[tuple[str, Result]] = []
    lane = Lane(
        receiver, sender, lambda _, message, result: done.append((message.id, result)), now_ms, pace
    )
    task = asyncio.create_task(lane.run())
    try:
        yield Running(lane, done)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sender.aclose()


async def test_messages_go_out_in_their_order() -> None:
    async with hook() as there, running(there) as here:
        here.put("1", "2")
        await until(lambda: len(here.done) == 2)
        here.put("3")
        await until(lambda: len(here.done) == 3)
        assert [post.id for post in there.posts] == ["1", "2", "3"]
        assert here.done == [("1", "delivered"), ("2", "delivered"), ("3", "delivered")]


async def test_a_failure_is_tried_again_under_the_same_id(caplog: pytest.LogCaptureFixture) -> None:
    async with hook() as there, running(there) as here:
        there.answers = [500, 503, 429, 408]
        here.put("1", "2")
        await until(lambda: len(here.done) == 2)
        assert [post.id for post in there.posts] == ["1"] * 5 + ["2"]
        stamps = [int(post.headers["webhook-timestamp"]) for post in there.posts]
        assert stamps == sorted(stamps), "each attempt has its own time"
    told = [record.getMessage() for record in caplog.records if record.name == "tollkeeper.notify"]
    assert len(told) == 2, "one line when it begins to fail, one when it is over"
    assert "notices for notify[0] (127.0.0.1:" in told[0] and "HTTP 500" in told[0]
    assert "delivered again" in told[1] and "CANARY" not in caplog.text


async def test_a_refusal_is_not_tried_again_and_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with hook() as there, running(there) as here:
        there.answers = [404]
        here.put("1", "2")
        await until(lambda: len(here.done) == 2)
        assert here.done == [("1", "refused"), ("2", "delivered")]
        assert [post.id for post in there.posts] == ["1", "2"]
    assert "is lost, refused by 127.0.0.1:" in caplog.text and "Notice 1." in caplog.text


async def test_what_is_too_old_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    pace = Pace(apart_s=0.0, first_s=0.001, longest_s=0.001, give_up_s=0.0)
    async with hook() as there, running(there, pace) as here:
        there.status = 500
        old = a_notice("Old.", at_ms=0)
        here.lane.put(NoticeMessage("1", (old,)))
        await until(lambda: here.done)
        assert here.done == [("1", "given_up")] and len(there.posts) == 1
    assert "given up after" in caplog.text and "Old." in caplog.text


async def test_a_receiver_says_how_long_to_wait() -> None:
    """The wait of its own would be over at once."""
    async with hook() as there, running(there) as here:

        async def busy(_: web.Request) -> web.StreamResponse:
            return web.Response(status=429, headers={"Retry-After": "1"})

        there.answers = [busy]
        began_s = time.monotonic()
        here.put("1")
        await until(lambda: here.done)
        assert time.monotonic() - began_s >= 1.0 and len(there.posts) == 2


async def test_the_queue_is_bounded_and_a_loss_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "QUEUE_MAX", 3)
    ended = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    async with hook() as there, running(there) as here:
        there.answers = [hang]
        here.put("1", "2", "3", "4", "5")
        assert here.done == [("4", "dropped"), ("5", "dropped")]
        assert "a notice for notify[0] is lost, 3 wait already: Notice 4." in caplog.text
        ended.set()
        await until(lambda: len(here.done) == 5)
        assert [post.id for post in there.posts] == ["1", "2", "3"]


async def test_a_message_that_cannot_be_written_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with hook() as there, running(there) as here:
        here.lane.put(NoticeMessage("no.dot", (a_notice(),)))
        here.put("2")
        await until(lambda: len(here.done) == 2)
        assert here.done == [("no.dot", "refused"), ("2", "delivered")]
    assert "cannot be sent" in caplog.text


async def test_it_is_told_whether_something_can_be_sent_at_once() -> None:
    ended = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await ended.wait()
        return web.Response(status=500)

    async with hook() as there, running(there, Pace(first_s=600.0)) as here:
        assert not here.lane.trying
        there.answers = [hang]
        here.put("1")
        await until(lambda: there.posts)
        assert here.lane.trying
        ended.set()
        await until(lambda: not here.lane.trying)
