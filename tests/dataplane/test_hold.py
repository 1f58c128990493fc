"""Limits through real HTTP: who is let through, what is refused and how, what is held meanwhile,
and that all of it comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from zoneinfo import ZoneInfo

import pytest
import yaml

from proxy.core.limits.state import LimitState
from proxy.dataplane.exchange import Exchange
from proxy.quota import Reservation
from proxy.quota.memory import MemoryQuota
from proxy.server import lifecycle
from tests.support.raw import RawAnswer, RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running
from tests.support.waiting import until

Answer = Callable[[Visit], Awaitable[None]]
DONE = b"data: [DONE]\n\n"
PRICES = [
    {"model": "m-*", "input": "1000", "output": "2000"}
]  # 0.001 and 0.002 of the currency a token


def ask(model: str = "m-1", stream: bool = False, **fields: object) -> bytes:
    return json.dumps(
        {
            "model": model,
            "stream": stream,
            "messages": [{"role": "user", "content": "hi"}],
            **fields,
        }
    ).encode()


def event(text: str) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}).encode()
        + b"\n\n"
    )


def stating(input_tokens: int, output_tokens: int) -> Answer:
    usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}

    async def answer(visit: Visit) -> None:
        await visit.answer(
            json.dumps(
                {
                    "id": "c",
                    "model": "m-1",
                    "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
                    "usage": usage,
                }
            ).encode()
        )

    return answer


def limited(url: str, *limits: object, **blocks: object) -> dict[str, object]:
    """A config in which the key has these limits."""
    return config(
        url,
        keys={"alice": {"team": "research", "secret": "sk-test", "limits": list(limits)}},
        **blocks,
    )


async def post(proxy: Running, body: bytes, path: str = "/v1/chat/completions") -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(body, path=path)
    answer = await client.answer()
    await client.aclose()
    return answer


def error(answer: RawAnswer) -> dict[str, str]:
    found = json.loads(answer.body)["error"]
    assert isinstance(found, dict)
    return found


async def states(proxy: Running) -> dict[str, LimitState]:
    quota = proxy.server.services.quota
    return {
        state.limit.id: state
        for state in await quota.states(quota.limits(), proxy.server.services.now_ms())
    }


async def nothing_held(proxy: Running) -> None:
    """Waits for the last exchange to be over, then looks."""
    await until(lambda: not (proxy.server.services.inflight.count or proxy.server.open_exchanges))
    assert all(state.held == 0 for state in (await states(proxy)).values())


@pytest.mark.parametrize(
    ("limit", "code", "fields"),
    [
        ("2 requests/day", "insufficient_quota", {"x-should-retry": b"false"}),
        ("2 requests/minute", "rate_limit_exceeded", {"retry-after": b"30"}),
        (
            {"limit": "2 requests/total", "name": "trial"},
            "insufficient_quota",
            {"x-should-retry": b"false"},
        ),
        (
            {"limit": "2 requests/month", "enforce": "strict"},
            "insufficient_quota",
            {"x-should-retry": b"false"},
        ),
        (
            {"limit": "2 requests/month", "enforce": "cut"},
            "insufficient_quota",
            {"x-should-retry": b"false"},
        ),
    ],
    ids=str,
)
async def test_the_request_beyond_a_limit_is_refused_before_it_costs_anything(
    tmp_path: Path, limit: object, code: str, fields: dict[str, bytes]
) -> None:
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        answers = [await post(proxy, ask()) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        refused = error(answers[2])
        assert refused["code"] == code
        assert (
            "limit of the proxy, not of the vendor" in refused["message"]
            and "Request id" in refused["message"]
        )
        for name, value in fields.items():
            assert answers[2].header(name) == value
        assert answers[2].header("x-tollkeeper-origin") == b"proxy"
        assert len(upstream.visits) == 2
        await proxy.records(2)
        assert next(iter((await states(proxy)).values())).used >= 1
        page = proxy.server.services.metrics.render()
        assert (
            f'tollkeeper_refusals_total{{code="{code}",key="alice",limit="{next(iter(await states(proxy)))}",team="research"}} 2.0'.encode()
            in page
        )


async def test_limits_that_only_warn_let_everything_through_and_count_it(tmp_path: Path) -> None:
    limit = {"limit": "10 tokens/day", "enforce": "warn", "name": "soft"}
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        assert [(await post(proxy, ask())).status for _ in range(3)] == [200] * 3
        await proxy.records(3)
        assert (await states(proxy))["soft"].used == 30


async def test_every_answer_says_how_its_tightest_limit_stands(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        if b'"stream": true' in visit.body:
            await visit.stream(event("x"), DONE)
        elif b"break" in visit.body:
            visit.reset()
        else:
            await visit.answer(
                b'{"error":{"message":"no"}}',
                status="400 Bad Request",
                headers=('ratelimit: "own";r=1',),
            )

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "10 requests/day", "100_000 tokens/day")) as proxy,
    ):
        for left, body in ((9, ask(stream=True)), (8, ask()), (7, ask(user="break"))):
            found = await post(proxy, body)
            assert (
                found.header("ratelimit-policy")
                == b'"key:alice/requests/day";q=10;qu="requests";w=86400'
            )
            assert f'"key:alice/requests/day";r={left};t='.encode() in found.head
        assert b'ratelimit: "own";r=1\r\n' in (await post(proxy, ask())).head, (
            "the vendor's own stays"
        )


async def test_what_others_use_of_a_common_limit_is_not_told(tmp_path: Path) -> None:
    keys = {
        "alice": {"secret": "sk-test", "limits": ["1000 tokens/hour"]},
        "bob": {"secret": "sk-bob"},
    }
    async with raw_upstream(stating(600, 300)) as upstream:
        settings = config(
            upstream.url,
            keys=keys,
            teams={},
            limits=["1000 tokens/day", {"limit": "9 requests/minute", "name": "all"}],
        )
        async with running(tmp_path, settings) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(ask(), key="sk-bob")
            assert (await client.answer()).header("ratelimit") is None, "of its own it has none"
            assert b'ratelimit-policy: "key:alice/tokens/hour"' in (await post(proxy, ask())).head
            await client.post(ask(), key="sk-bob")
            refused = await client.answer()
            assert refused.status == 429
            assert "A limit that others share is reached. It resets at" in error(refused)["message"]
            assert (
                b"1800" not in refused.head + refused.body
                and b"1000" not in refused.head + refused.body
                and refused.header("ratelimit") is None
            )
            assert (
                refused.header("x-ratelimit-remaining-tokens")
                is refused.header("x-ratelimit-remaining-requests")
                is None
            )
            await client.aclose()


async def test_a_hold_larger_than_what_is_left_still_lets_one_through(tmp_path: Path) -> None:
    """An agent that always sends `max_tokens: 64000` is not blocked at 0 spent; once the limit is
    reached the next one is."""
    async with (
        raw_upstream(stating(600, 300)) as upstream,
        running(tmp_path, limited(upstream.url, "1000 tokens/day")) as proxy,
    ):
        assert [(await post(proxy, ask(max_tokens=64_000))).status for _ in range(3)] == [
            200,
            200,
            429,
        ]
        assert (await states(proxy))["key:alice/tokens/day"].used == 1800


async def test_strict_lets_through_only_what_fits(tmp_path: Path) -> None:
    body = ask(max_tokens=50)
    bound = len(body) + 256 + 50
    limit = {"limit": f"{bound + 9} tokens/day", "enforce": "strict", "name": "hard"}
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        assert (await post(proxy, body)).status == 200
        assert (await states(proxy))["hard"].used == 10
        refused = error(await post(proxy, body))
        assert refused["code"] == "insufficient_quota", refused
        for unbounded in (
            ask(),
            ask(max_tokens=0),
            ask(max_tokens=50, n="2"),
            ask(max_tokens=50, tools=[{"type": "web_search"}]),
            ask(
                max_tokens=50,
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://x"}}],
                    }
                ],
            ),
        ):
            answer = await post(proxy, unbounded)
            assert (answer.status, error(answer)["code"]) == (400, "not_boundable")
        assert (
            await post(proxy, b'{"model":"m-1","input":"x"}', "/v1/embeddings")
        ).status == 200, "of an embedding the input is all there is"
        assert len(upstream.visits) == 2


async def test_a_cap_bounds_nothing_once_an_answer_went_beyond_it(tmp_path: Path) -> None:
    """Many servers do not read `max_completion_tokens`. Of another model nothing is known yet."""
    limit = {"limit": "90_000 tokens/day", "enforce": "strict"}
    async with (
        raw_upstream(stating(7, 900)) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        answers = [
            await post(proxy, ask(model, max_completion_tokens=1))
            for model in ("m-1", "m-1", "m-2")
        ]
        assert [answer.status for answer in answers] == [200, 400, 200]
        assert "beyond the cap" in error(answers[1])["message"]


async def test_an_expected_hold_does_not_go_by_a_cap_that_was_ignored(tmp_path: Path) -> None:
    held: list[int] = []

    async def answer(visit: Visit) -> None:
        held.append((await states(proxy))["key:alice/tokens/day"].held)
        await stating(7, 900)(visit)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "100_000 tokens/day")) as proxy,
    ):
        for _ in range(2):
            assert (await post(proxy, ask(max_completion_tokens=1))).status == 200
        assert held[0] < 100 < 1024 <= held[1]


async def test_what_a_request_claims_to_be_a_file_lowers_no_hold(tmp_path: Path) -> None:
    held: list[int] = []

    async def answer(visit: Visit) -> None:
        held.append((await states(proxy))["key:alice/tokens/day"].held)
        await stating(7, 3)(visit)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "1_000_000 tokens/day")) as proxy,
    ):
        text = "word " * 20_000
        for content in (
            text,
            f";base64,{text}",
            [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}}],
            [{"type": "file", "file": {"file_data": f"data:text/plain;base64,{text}"}}],
        ):
            assert (
                await post(proxy, ask(messages=[{"role": "user", "content": content}]))
            ).status == 200
        assert min(held) >= len(text) // 4


async def test_a_dear_tier_that_is_asked_for_is_held_for(tmp_path: Path) -> None:
    prices = [
        *PRICES,
        {"model": "m-*", "input": "5000", "output": "9000", "service_tier": "priority"},
    ]
    held: list[int] = []

    async def answer(visit: Visit) -> None:
        held.append((await states(proxy))["key:alice/USD/day"].held)
        await stating(7, 3)(visit)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "100 USD/day", prices=prices)) as proxy,
    ):
        for tier in ("default", "priority", "flex"):
            assert (await post(proxy, ask(service_tier=tier))).status == 200
        assert held[0] * 4 < held[1] and abs(held[2] - held[0]) < 10_000_000


async def test_money_counts_the_charge_and_needs_a_price(tmp_path: Path) -> None:
    async with raw_upstream(stating(4, 3)) as upstream:
        limits = limited(
            upstream.url, "0.02 USD/day", prices=PRICES, teams={"research": {"markup": "0.10"}}
        )
        async with running(tmp_path, limits) as proxy:
            assert [(await post(proxy, ask(max_tokens=3))).status for _ in range(3)] == [
                200,
                200,
                429,
            ]
            rows = await proxy.records(2)
            assert [row["charge_nano"] for row in rows] == [11_000_000, 11_000_000]
            assert (await states(proxy))["key:alice/USD/day"].used == 22_000_000
            refused = await post(proxy, ask("unheard-of"))
            assert (refused.status, error(refused)["code"]) == (403, "model_not_priced")
            assert len(upstream.visits) == 2


@pytest.mark.parametrize("enforce", ["finish", "strict"])
async def test_a_price_per_image_keeps_no_text_from_being_bounded(
    tmp_path: Path, enforce: str
) -> None:
    prices = [{"model": "m-*", "input": "1", "output": "2", "image": "0.50"}]
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(
            tmp_path,
            limited(upstream.url, {"limit": "1 USD/day", "enforce": enforce}, prices=prices),
        ) as proxy,
    ):
        assert (await post(proxy, ask(max_tokens=3))).status == 200
        picture = ask(
            max_tokens=3,
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://x"}}],
                }
            ],
        )
        assert (await post(proxy, picture)).status == (200 if enforce == "finish" else 400)
        assert (await states(proxy))["key:alice/USD/day"].used == 13_000 + (
            500_013_000 if enforce == "finish" else 0
        )


async def test_a_slot_stays_taken_while_the_vendor_works_for_a_client_that_left(
    tmp_path: Path,
) -> None:
    """Else leaving would make `1 concurrent` as many as one likes. A stream is stopped, and its
    slot is free at once."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(visit: Visit) -> None:
        if b'"stream": true' in visit.body:
            await visit.stream(event("x"), end=False)
        begun.set()
        await go_on.wait()
        await stating(7, 3)(visit)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "1 concurrent")) as proxy,
    ):
        first = await RawClient.connect(proxy.address)
        await first.post(ask(stream=True))
        await begun.wait()
        refused = await post(proxy, ask())
        assert (refused.status, error(refused)["code"], error(refused)["type"]) == (
            429,
            "rate_limit_exceeded",
            "requests",
        )
        assert refused.header("retry-after") is not None
        first.leave()
        await until(lambda: not proxy.server.open_exchanges)
        begun.clear()
        second = await RawClient.connect(proxy.address)
        await second.post(ask())
        await begun.wait()
        second.leave()
        await until(lambda: proxy.server.services.drains.count)
        assert (await post(proxy, ask())).status == 429, "the second one is still being read"
        go_on.set()
        await until(lambda: not proxy.server.open_exchanges)
        assert (await post(proxy, ask())).status == 200
        assert [row["outcome"] for row in await proxy.records(3)].count("client_closed") == 2


async def leave_while_it_works(
    proxy: Running, upstream: RawUpstream, body: bytes, secret: str = KEY
) -> None:
    arrived = len(upstream.visits) + 1
    client = await RawClient.connect(proxy.address)
    await client.post(body, key=secret)
    await until(lambda: len(upstream.visits) == arrived)
    client.leave()
    await until(
        lambda: all(
            exchange.relay._left
            for exchange in proxy.server.services.exchanges
            if isinstance(exchange, Exchange)
        )
    )


@pytest.mark.parametrize(("enforce", "output"), [("finish", 1024), ("strict", 5000)])
async def test_leaving_where_there_is_no_place_to_read_on_is_charged_what_was_held(
    tmp_path: Path, enforce: str, output: int
) -> None:
    """The vendor makes the whole answer and bills it. One key takes at most a quarter of the
    places."""
    go_on = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await go_on.wait()
        await stating(7, 3)(visit)

    limit = {"limit": "1_000_000 tokens/day", "enforce": enforce}
    keys = {"alice": {"secret": KEY, "limits": [limit]}, "bob": {"secret": "sk-bob"}}
    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, config(upstream.url, keys=keys, after_client_left={"max": 5})) as proxy,
    ):
        for _ in range(3):
            await leave_while_it_works(proxy, upstream, ask(max_tokens=5000))
        assert proxy.server.services.drains.count == 2
        await leave_while_it_works(proxy, upstream, ask(), "sk-bob")
        assert proxy.server.services.drains.count == 3, "others have places left"
        go_on.set()
        rows = [row for row in await proxy.records(4) if row["key_id"] == "alice"]
        assert sorted((row["outcome"], row["output_source"], row["output_tokens"]) for row in rows) == [
            ("client_closed", "partial", output), ("client_closed", "reported", 3), ("client_closed", "reported", 3),
        ]  # fmt: skip
        assert proxy.server.services.drains.count == 0


async def test_an_answer_that_takes_longer_than_anybody_reads_on_is_charged_what_was_held(
    tmp_path: Path,
) -> None:
    async def answer(visit: Visit) -> None:
        await visit.reader.read()

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "1_000_000 tokens/day")) as proxy,
    ):
        await leave_while_it_works(proxy, upstream, ask())
        for exchange in list(proxy.server.services.exchanges):
            exchange.watch(monotonic() + 61)
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_source"], row["output_tokens"]) == (
            "client_closed",
            "partial",
            1024,
        )
        assert (await states(proxy))["key:alice/tokens/day"].used == 1024 + int(
            str(row["input_tokens"])
        )


async def test_what_was_not_sent_is_given_back(tmp_path: Path) -> None:
    limits = limited("http://127.0.0.1:9/v1", "1 requests/day", "1 concurrent", "5 tokens/minute")
    async with running(tmp_path, limits) as proxy:
        for _ in range(3):
            answer = await post(proxy, ask())
            assert (answer.status, error(answer)["code"]) == (502, "upstream_unreachable")
        await nothing_held(proxy)
        assert all(state.used == 0 for state in (await states(proxy)).values())


async def test_a_refusal_takes_nothing_of_the_other_limits(tmp_path: Path) -> None:
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(tmp_path, limited(upstream.url, "5 requests/day", "10 tokens/day")) as proxy,
    ):
        assert [(await post(proxy, ask())).status for _ in range(6)] == [200] + [429] * 5
        assert (await states(proxy))["key:alice/requests/day"].used == 1


async def test_a_stream_that_outgrows_a_cutting_limit_is_ended_with_an_event_that_says_so(
    tmp_path: Path,
) -> None:
    """It ends between two events, properly framed, at the last chunk that the limit has room for,
    and is charged for what was delivered."""
    ready = asyncio.Event()
    chunk = event("word " * 20) * 4  # 100 tokens

    async def answer(visit: Visit) -> None:
        await visit.stream(chunk, end=False)
        for _ in range(99):
            await ready.wait()  # the client has read what was sent
            ready.clear()
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    limit = {"limit": "3000 tokens/day", "enforce": "cut", "name": "hard-stop"}
    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream=True))
        status, _ = await client.head()
        assert status == 200
        body = b""
        while part := await client.chunk():
            body += part
            ready.set()
        delivered, _, told = body.rpartition(b"data: ")
        error = json.loads(told)["error"]
        assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
        assert (
            "hard-stop" in error["message"] and "What was delivered is charged" in error["message"]
        )
        assert delivered == chunk * (len(delivered) // len(chunk))
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_tokens"], row["output_source"]) == (
            "cut",
            100 * (len(delivered) // len(chunk)),
            "partial",
        )
        assert (
            3000 - 100
            < int(str(row["input_tokens"])) + int(str(row["output_tokens"]))
            <= 3000 + 100
        )
        assert (await post(proxy, ask(stream=True))).status == 429
        await nothing_held(proxy)
        await client.aclose()


@pytest.mark.parametrize(
    ("line_end", "named"),
    [
        (b"\n", "text/event-stream"),
        (b"\r\n", "text/event-stream"),
        (b"\r", "text/event-stream"),
        (b"\n", "application/json"),
    ],
)
async def test_a_stream_in_pieces_that_end_anywhere_is_cut_behind_a_whole_event(
    tmp_path: Path, line_end: bytes, named: str
) -> None:
    """As a vendor sends it from behind a buffering proxy, which may call it something else."""
    ready = asyncio.Event()
    one = event("word " * 20).replace(b"\n", line_end)  # 25 tokens
    pieces = [(one * 400)[at : at + 777] for at in range(0, 400 * len(one), 777)]

    async def answer(visit: Visit) -> None:
        await visit.stream(pieces[0], end=False, headers=(f"Content-Type: {named}",))
        for piece in pieces[1:]:
            await ready.wait()  # the client has read what was sent
            ready.clear()
            await visit.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    async with (
        raw_upstream(answer) as upstream,
        running(
            tmp_path, limited(upstream.url, {"limit": "3000 tokens/day", "enforce": "cut"})
        ) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream=True))
        await client.head()
        body = b""
        while part := await client.chunk():
            body += part
            ready.set()
        events = body.count(one)
        assert body[: events * len(one)] == one * events
        assert (
            json.loads(body[events * len(one) :].removeprefix(b"data: "))["error"]["code"]
            == "insufficient_quota"
        )
        [row] = await proxy.records(1)
        assert row["outcome"] == "cut"
        assert 25 * events <= int(str(row["output_tokens"])) <= 25 * events + 777 // 4
        assert (
            3000 - 777 // 4
            < int(str(row["input_tokens"])) + int(str(row["output_tokens"]))
            <= 3000 + 777 // 2
        )
        await nothing_held(proxy)
        await client.aclose()


async def test_a_stream_that_has_said_that_it_is_done_is_not_cut(tmp_path: Path) -> None:
    read = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.stream(event("word " * 2000) + DONE, end=False)
        await read.wait()
        await visit.send(b"0\r\n\r\n")

    async with (
        raw_upstream(answer) as upstream,
        running(
            tmp_path, limited(upstream.url, {"limit": "2000 tokens/day", "enforce": "cut"})
        ) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream=True))
        await client.head()
        body = b""
        while not body.endswith(DONE):
            body += await client.chunk()
        read.set()
        assert await client.chunk() == b""
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_tokens"]) == ("completed", 2500)
        await client.aclose()


async def test_a_stream_that_states_its_total_with_each_event_is_cut_by_that_and_not_by_an_estimate(
    tmp_path: Path,
) -> None:
    """Some texts have five times the bytes that an estimate goes by: an answer within its limit
    must arrive whole."""
    ready = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.stream(end=False)
        for number in range(1, 61):
            usage = b'"usage":{"prompt_tokens":5,"completion_tokens":%d,"total_tokens":%d}' % (
                number * 5,
                5 + number * 5,
            )
            piece = event("word " * 20).replace(b'"choices"', usage + b',"choices"', 1)
            await visit.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await ready.wait()  # the client has read what was sent
            ready.clear()
        await visit.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))

    async with (
        raw_upstream(answer) as upstream,
        running(
            tmp_path, limited(upstream.url, {"limit": "1000 tokens/day", "enforce": "cut"})
        ) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream=True))
        await client.head()
        body = b""
        while part := await client.chunk():
            body += part
            ready.set()
        assert body.endswith(DONE)
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_tokens"], row["source"]) == (
            "completed",
            300,
            "reported",
        )
        await client.aclose()


async def test_a_cut_stream_under_inject_keeps_its_last_event(tmp_path: Path) -> None:
    """Where one line end closes an event, it waits for the next one to begin: the limit's own event
    comes behind it."""
    ready = asyncio.Event()
    one = event("word " * 20).removesuffix(b"\n")  # 25 tokens

    async def answer(visit: Visit) -> None:
        await visit.stream(one * 2, end=False)
        for _ in range(200):
            await ready.wait()  # the client has read what was sent
            ready.clear()
            await visit.send(b"%x\r\n%b\r\n" % (len(one), one))

    async with raw_upstream(answer) as upstream:
        upstreams = {"mock": {"base_url": upstream.url, "api_key": "k", "stream_usage": "inject"}}
        settings = limited(
            upstream.url, {"limit": "3000 tokens/day", "enforce": "cut"}, upstreams=upstreams
        )
        async with running(tmp_path, settings) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(ask(stream=True))
            await client.head()
            body = b""
            while part := await client.chunk():
                body += part
                ready.set()
            events = body.count(one)
            assert (
                json.loads(body[events * len(one) :].removeprefix(b"data: "))["error"]["code"]
                == "insufficient_quota"
            )
            [row] = await proxy.records(1)
            assert (row["outcome"], row["output_tokens"]) == ("cut", 25 * events)
            await client.aclose()


async def test_a_stream_that_outgrows_what_it_held_of_other_limits_finishes(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(*(event("word " * 20) for _ in range(200)), DONE)

    async with (
        raw_upstream(answer) as upstream,
        running(
            tmp_path,
            limited(
                upstream.url,
                "2000 tokens/day",
                {"limit": "2000 output_tokens/hour", "enforce": "warn"},
            ),
        ) as proxy,
    ):
        found = await post(proxy, ask(stream=True))
        assert found.whole and found.body.endswith(DONE)
        assert (await post(proxy, ask(stream=True))).status == 429
        await nothing_held(proxy)


class Pausing(MemoryQuota):
    """A store that takes its time to say whether a stream may grow, as one beyond this process
    does."""

    asked, may = asyncio.Event(), asyncio.Event()

    async def extend(
        self, reservation: Reservation, output_tokens: int, charge_nano: int | None, now_ms: int
    ) -> LimitState | None:
        self.asked.set()
        await self.may.wait()
        return await super().extend(reservation, output_tokens, charge_nano, now_ms)


@pytest.mark.parametrize("ends", ["meanwhile", "afterwards"])
async def test_while_the_store_is_asked_nothing_more_is_passed_and_nothing_is_lost(
    tmp_path: Path, ends: str
) -> None:
    events = [event(f"{number} word " * 40) for number in range(60)]
    sent, go = asyncio.Event(), asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.stream(*events[:20], end=False)
        await Pausing.asked.wait()
        await visit.send(
            b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*events[20:], DONE))
            + (b"0\r\n\r\n" if ends == "meanwhile" else b"")
        )
        sent.set()
        if ends == "afterwards":
            await go.wait()
            await visit.send(b"0\r\n\r\n")

    Pausing.asked, Pausing.may = asyncio.Event(), asyncio.Event()
    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "1_000_000 tokens/day")) as proxy,
    ):
        proxy.server.services.quota = Pausing(ZoneInfo("UTC"), lambda: 0)
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream=True))
        await client.head()
        await sent.wait()
        [exchange] = proxy.server.services.exchanges
        assert isinstance(exchange, Exchange)
        passed = exchange.relay.progress.bytes_out
        await post(
            proxy, ask(model="", stream=True)
        )  # a whole exchange of bytes, in which what was sent has come
        assert exchange.relay.progress.bytes_out == passed < len(b"".join(events))
        Pausing.may.set()
        go.set()
        body = b""
        while part := await client.chunk():
            body += part
        assert body == b"".join(events) + DONE
        await nothing_held(proxy)
        await client.aclose()


async def test_a_stream_of_stated_length_is_cut_off_without_an_event(tmp_path: Path) -> None:
    events = b"".join(event("word " * 20) for _ in range(400))
    ready = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
            % len(events)
            + events[:20_000]
        )
        await ready.wait()
        await visit.send(events[20_000:])

    async with (
        raw_upstream(answer) as upstream,
        running(
            tmp_path, limited(upstream.url, {"limit": "3000 tokens/day", "enforce": "cut"})
        ) as proxy,
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream=True))
        await client.head()
        ready.set()
        body = await client.reader.read()
        assert events.startswith(body) and len(body) < len(events)
        [row] = await proxy.records(1)
        assert row["outcome"] == "cut"
        await client.aclose()


async def test_nobody_holds_a_whole_budget_by_asking_for_a_million_answers(tmp_path: Path) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def answer(visit: Visit) -> None:
        arrived.set()
        await go.wait()
        await stating(7, 3)(visit)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "1_000_000 tokens/day")) as proxy,
    ):
        first = asyncio.create_task(post(proxy, ask(n=1_000_000, max_tokens=1000)))
        await arrived.wait()
        [state] = (await states(proxy)).values()
        assert 128_000 <= state.held < 130_000
        go.set()
        assert (await post(proxy, ask())).status == (await first).status == 200


async def test_a_start_counts_what_the_journal_has_and_the_book_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "BOOK_AT_STOP_S", 0.01)
    async with raw_upstream(stating(7, 3)) as upstream:
        settings = limited(upstream.url, "1000 tokens/day")
        async with running(
            tmp_path, settings, failpoints="recorder.batch.before=raise@2+"
        ) as proxy:
            for _ in range(5):
                await post(proxy, ask())
            assert len(proxy.rows()) < 5
        async with running(tmp_path, settings) as proxy:
            assert (await states(proxy))["key:alice/tokens/day"].used == 50


async def test_what_a_reload_adds_is_counted_from_the_book_and_what_it_removes_is_gone(
    tmp_path: Path,
) -> None:
    """Also what is running and what is not booked yet; and a limit that comes back has what was
    used meanwhile."""
    arrived, go = asyncio.Event(), asyncio.Event()

    async def answer(visit: Visit) -> None:
        if b"slow" in visit.body:
            arrived.set()
            await go.wait()
        await stating(7, 3)(visit)

    async with raw_upstream(answer) as upstream:
        without, within = limited(upstream.url), limited(upstream.url, "1000 tokens/day")

        async def reload(proxy: Running, settings: dict[str, object]) -> None:
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
            await proxy.server.reload()

        async with running(tmp_path, without) as proxy:
            await post(proxy, ask())
            slow = asyncio.create_task(post(proxy, ask(user="slow")))
            await arrived.wait()
            await post(proxy, ask())
            await reload(proxy, within)
            assert (await states(proxy))["key:alice/tokens/day"].used == 20
            go.set()
            await slow
            assert (await states(proxy))["key:alice/tokens/day"].used == 30
            await reload(proxy, without)
            assert await states(proxy) == {}
            await post(proxy, ask())
            await reload(proxy, within)
            assert (await states(proxy))["key:alice/tokens/day"].used == 40


async def test_limits_of_keys_that_no_config_names_are_counted_when_a_reload_adds_them(
    tmp_path: Path,
) -> None:
    async with raw_upstream(stating(7, 3)) as upstream:
        forwarding = config(
            upstream.url,
            upstreams={"mock": {"base_url": upstream.url, "auth": "forward"}},
            keys={},
            teams={},
        )
        async with running(tmp_path, forwarding) as proxy:
            assert (await post(proxy, ask())).status == 200
            (tmp_path / "config.yaml").write_text(
                yaml.safe_dump({**forwarding, "defaults": {"key": {"limits": ["1 requests/day"]}}})
            )
            await proxy.server.reload()
            assert (await post(proxy, ask())).status == 429


async def test_aborted_requests_leave_no_hold_and_no_slot(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(event("a"), event("b"), end=False)

    async with raw_upstream(answer) as upstream:
        limits = limited(
            upstream.url,
            "1000 concurrent",
            "1_000_000 tokens/day",
            "100_000 requests/minute",
            inflight_max=5000,
        )
        async with running(tmp_path, limits) as proxy:

            async def one(number: int) -> None:
                client = await RawClient.connect(proxy.address)
                await client.post(ask(stream=True))
                if number % 3:
                    await client.head()
                if number % 3 == 2:
                    await client.chunk()
                client.leave()

            for start in range(0, 300, 50):
                await asyncio.gather(*(one(number) for number in range(start, start + 50)))
            await nothing_held(proxy)
            found = await states(proxy)
            assert found["key:alice/concurrent"].used == 0
            booked = sum(
                int(str(row["input_tokens"])) + int(str(row["output_tokens"]))
                for row in proxy.rows()
            )
            await until(
                lambda: (
                    sum(
                        int(str(row["input_tokens"])) + int(str(row["output_tokens"]))
                        for row in proxy.rows()
                    )
                    == found["key:alice/tokens/day"].used
                )
            )
            assert booked <= found["key:alice/tokens/day"].used


@pytest.mark.parametrize(
    "limit",
    [
        "7 requests/day",
        {"limit": "7 requests/hour", "enforce": "strict"},
        {"limit": "7 requests/total", "enforce": "cut"},
    ],
    ids=str,
)
async def test_of_many_at_once_exactly_as_many_as_the_limit_has_are_let_through(
    tmp_path: Path, limit: object
) -> None:
    async with (
        raw_upstream(stating(7, 3)) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        answers = await asyncio.gather(*(post(proxy, ask()) for _ in range(60)))
        assert sorted(answer.status for answer in answers) == [200] * 7 + [429] * 53
        assert len(upstream.visits) == 7
        await proxy.records(7)
