"""`tollkeeper ledger push` to a real receiver, again and again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from click.testing import CliRunner, Result

from proxy.cli import main
from tests.ledger.samples import make_id, make_record
from tests.notify.receiver import Hook, hook

Call = Callable[..., Result]
Book = Callable[..., Path]


async def push(there: Hook, *words: str, **env: str) -> Result:
    args = ["ledger", "push", "--url", there.url, *words]
    return await asyncio.to_thread(lambda: CliRunner().invoke(main, args, env=env))


def seqs(there: Hook) -> list[list[int]]:
    return [[event["data"]["seq"] for event in json.loads(post.body)] for post in there.posts]


async def test_a_receiver_gets_each_record_once_and_later_what_is_new(
    home: Path, book: Book
) -> None:
    await asyncio.to_thread(book, *(make_record(n) for n in range(5)))
    async with hook() as there:
        result = await push(there, "--batch", "3", TOLLKEEPER_PUSH_TOKEN="geheim\n")
        assert result.exit_code == 0, result.output
        assert result.stdout == "Pushed: 5 records in 2 requests, up to seq 5.\n"
        assert seqs(there) == [[1, 2, 3], [4, 5]]
        assert there.posts[0].headers["authorization"] == "Bearer geheim"
        assert (
            there.posts[0].headers["content-type"].startswith("application/cloudevents-batch+json")
        )
        assert "Pushed: 0 records" in (await push(there)).stdout and len(there.posts) == 2
        await asyncio.to_thread(book, *(make_record(n) for n in range(8)))
        done = json.loads((await push(there, "--json")).stdout)
        assert done == {"events": 3, "requests": 1, "last_seq": 8}
        assert seqs(there)[2:] == [[6, 7, 8]]
        await push(there, "--after", "7")
        assert seqs(there)[3:] == [[8]]
    async with hook() as another:
        await push(another)
        assert seqs(another) == [list(range(1, 9))]


async def test_what_no_receiver_can_get_is_told_at_once(home: Path, book: Book) -> None:
    """It was tried again for a quarter of an hour."""
    await asyncio.to_thread(book, make_record(1))
    async with hook() as there:
        result = await push(there, TOLLKEEPER_PUSH_TOKEN="ge\nheim")
        assert result.exit_code == 1 and "has a line break" in result.stderr
        there.url = "http://[::1/x"
        result = await push(there)
        assert result.exit_code == 1 and "its URL cannot be read" in result.stderr
        assert not there.posts


async def test_a_refusal_tells_the_record_and_the_next_call_goes_on(home: Path, book: Book) -> None:
    await asyncio.to_thread(book, *(make_record(n) for n in range(5)))

    async def choosy(request: web.Request) -> web.StreamResponse:
        refused = any(event["id"] == make_id(2) for event in json.loads(await request.read()))
        return web.Response(status=400 if refused else 204, text="no\x1b[31m customer")

    async with hook() as there:
        there.answers = [choosy] * 5
        result = await push(there)
        assert result.exit_code == 1
        assert f"refused the record {make_id(2)} (seq 3): HTTP 400: no" in result.stderr
        assert "\x1b" not in result.stderr
        there.answers, there.posts = [], []
        assert (await push(there)).exit_code == 0
        assert seqs(there) == [[3, 4, 5]]


async def test_a_receiver_that_is_away_is_given_up(home: Path, book: Book) -> None:
    await asyncio.to_thread(book, make_record(1))
    async with hook() as there:
        there.status = 503
        result = await push(there, "--give-up", "0s")
        assert result.exit_code == 1 and "did not take the record" in result.stderr, result.output
        assert (await push(there, "--give-up", "soon")).exit_code == 2


async def test_another_ledger_is_not_pushed_behind_the_old_ones_place(
    home: Path, book: Book
) -> None:
    data_dir = await asyncio.to_thread(book, *(make_record(n) for n in range(3)))
    async with hook() as there:
        await push(there)
        for path in data_dir.glob("ledger.db*"):
            path.unlink()
        await asyncio.to_thread(book, make_record(7))
        result = await push(there)
        assert result.exit_code == 1 and "this ledger was restored" in result.stderr
        await asyncio.to_thread(book, *(make_record(n) for n in range(7, 12)))
        result = await push(there)
        assert result.exit_code == 1 and "--after" in result.stderr
        assert len(there.posts) == 1
        assert (await push(there, "--after", "0")).exit_code == 0
        assert (await push(there, "--after", "9")).exit_code == 1


def test_a_dry_run_shows_an_event_and_sends_nothing(call: Call, book: Book) -> None:
    book(make_record(1), make_record(2))
    words = ("ledger", "push", "--url", "http://127.0.0.1:9/x", "--dry-run")
    result = call(*words, "--source", "urn:me", "--type", "llm", "--subject", "key")
    assert result.exit_code == 0 and "2 records would be pushed" in result.stderr
    event = json.loads(result.stdout)
    assert (event["source"], event["type"], event["subject"]) == ("urn:me/w0", "llm", "alice")
    assert call("ledger", "push", "--url", "there").exit_code == 2
