"""A receiver that fails in every way gets each event at least once, in order, without a hole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from aiohttp import web

from proxy.accounting.export.cloudevents import LedgerEvent
from proxy.cli.pushing import WAIT_MAX_S, NotTaken, Pushed, Pusher
from proxy.notify.attempt import Attempt
from proxy.notify.posting import Poster
from tests.notify.receiver import Hook, hook

EVENTS = [LedgerEvent(n, f"id{n}", b'{"seq":%d}' % n) for n in range(1, 401)]


class Waits:
    """A clock that a pause moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    async def sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self.now_s += wait_s


async def push(
    there: Hook, taken: Callable[[LedgerEvent], None], *, batch_max: int = 16, **more: float
) -> tuple[Pushed, Waits]:
    waits, poster = Waits(), Poster(600.0, keep=True)
    pusher = Pusher(
        lambda body: poster.post(there.url, {}, body),
        taken,
        batch_max=batch_max,
        give_up_s=more.get("give_up_s", 1e9),
        sleep=waits.sleep,
        now_s=lambda: waits.now_s,
    )
    try:
        return await pusher.push(EVENTS), waits
    finally:
        await poster.aclose()


async def test_a_receiver_that_fails_at_random_gets_all_of_it_in_order() -> None:
    """It fails before and after it has stored a batch, says nothing, or wants fewer at once."""
    chance = random.Random(7)
    stored: list[int] = []

    async def moody(request: web.Request) -> web.StreamResponse:
        seqs = [event["seq"] for event in json.loads(await request.read())]
        mood = chance.choice(
            ("store", "fails", "cut", "slow down", "fails late", "cut late", "large")
        )
        if mood == "large" and len(seqs) > 3:
            return web.Response(status=413)
        if mood in ("fails", "slow down"):
            status, wait = (500, {}) if mood == "fails" else (429, {"Retry-After": "7"})
            return web.Response(status=status, headers=wait)
        if mood == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        stored.extend(seqs)
        if mood == "cut late":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=503 if mood == "fails late" else 204)

    cursor = [0]

    def taken(event: LedgerEvent) -> None:
        assert event.seq in stored, "nothing counts as taken that the receiver did not store"
        assert event.seq > cursor[-1]
        cursor.append(event.seq)

    async with hook() as there:
        there.answers = [moody] * 100_000
        done, waits = await push(there, taken)
    assert (done.events, done.last_seq) == (400, 400)
    firsts = list(dict.fromkeys(stored))
    assert firsts == list(range(1, 401)), "each is there, and in order"
    assert len(stored) > 400, "some came twice"
    assert done.requests > len(waits.waits) > 0
    assert any(wait_s >= 7 for wait_s in waits.waits)


async def test_the_first_event_that_is_refused_is_named_and_all_before_it_are_taken() -> None:
    stored: list[int] = []

    async def choosy(request: web.Request) -> web.StreamResponse:
        seqs = [event["seq"] for event in json.loads(await request.read())]
        if 61 in seqs or 70 in seqs:
            return web.Response(status=400, text="no such customer")
        stored.extend(seqs)
        return web.Response(status=204)

    last: list[LedgerEvent] = []
    async with hook() as there:
        there.answers = [choosy] * 1000
        with pytest.raises(NotTaken, match="HTTP 400: no such customer") as told:
            await push(there, last.append)
    assert told.value.event.seq == 61 and told.value.refused
    assert stored == list(range(1, 61)) and last[-1].seq == 60


async def test_a_receiver_that_is_away_is_asked_ever_more_slowly_and_then_given_up() -> None:
    async with hook() as there:
        there.status = 503
        with pytest.raises(NotTaken, match="HTTP 503") as told:
            await push(there, lambda _: None, give_up_s=900)
        assert told.value.event.seq == 1 and not told.value.refused
        assert 15 <= len(there.posts) < 60, "some minutes of attempts"
        assert len({post.body for post in there.posts}) == 1


async def test_waits_double_up_to_a_bound() -> None:
    waits = Waits()

    async def away(_: bytes) -> Attempt:
        said = len(waits.waits)
        if said < 12:
            return Attempt("again", "away", 100.0 if said == 5 else 0.0)
        return Attempt("delivered", "ok")

    pusher = Pusher(
        away,
        lambda _: None,
        batch_max=1,
        give_up_s=1e9,
        sleep=waits.sleep,
        now_s=lambda: waits.now_s,
    )
    await pusher.push(EVENTS[:1])
    assert waits.waits[5] == 100.0, "the receiver's own word"
    del waits.waits[5]
    bounds = [min(2.0**n, WAIT_MAX_S) for n in (*range(5), *range(6, 12))]
    assert all(high / 2 <= wait_s <= high for wait_s, high in zip(waits.waits, bounds, strict=True))


async def test_no_more_than_a_batch_is_held() -> None:
    made = 0

    def coming() -> object:
        nonlocal made
        for event in EVENTS:
            made += 1
            yield event

    taken: list[int] = []

    async def post(_: bytes) -> Attempt:
        assert made - (taken[-1] if taken else 0) <= 10
        return Attempt("delivered", "")

    pusher = Pusher(post, lambda event: taken.append(event.seq), batch_max=10, give_up_s=1.0)
    assert (await pusher.push(coming())).requests == 40  # type: ignore[arg-type]
    assert await pusher.push([]) == Pushed(0, 40, None)
