"""What the official SDKs make of limits: a rate's 429 they wait out as long as they are told, an
exhausted budget they raise at once, and a stream that a limit ends.

How long an SDK waits is told by what comes of it: these limits have room again only after longer
than an SDK that was told nothing would go on trying.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.clients.cases import Case, JSONObject, chat
from tests.clients.drivers import Node, Seen, python, python_async
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running
from tests.support.waiting import until

RETRIES = 2  # as both SDKs have it; left to themselves they are through with them within 1.5 s
PRICES = [{"model": "m", "input": "1000", "output": "1000"}]
Sdk = Callable[[str, Sequence[Case]], Awaitable[list[Seen]]]


@pytest.fixture(params=["python", "python_async", "node"])
def sdk(request: pytest.FixtureRequest, node: Node) -> Sdk:
    """Runs cases, one after the other, against a base URL."""

    async def in_python(base_url: str, cases: Sequence[Case]) -> list[Seen]:
        return await asyncio.to_thread(python, base_url, KEY, cases, max_retries=RETRIES)

    async def in_python_async(base_url: str, cases: Sequence[Case]) -> list[Seen]:
        return await python_async(base_url, KEY, cases, max_retries=RETRIES)

    async def in_node(base_url: str, cases: Sequence[Case]) -> list[Seen]:
        [seen] = await asyncio.to_thread(node.run, [(base_url, KEY)], cases, max_retries=RETRIES)
        return seen

    return {"python": in_python, "python_async": in_python_async, "node": in_node}[request.param]


def limited(url: str, *limits: object) -> dict[str, object]:
    return config(
        url,
        keys={"alice": {"team": "research", "secret": KEY, "limits": list(limits)}},
        prices=PRICES,
    )


def ask(**fields: object) -> Case:
    return Case(name="ask", body=chat("m", "hi") | fields)


async def answering(visit: Visit) -> None:
    """20 tokens, streamed or not."""
    usage = {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20}
    if b'"stream":true' in visit.body.replace(b" ", b""):
        await visit.stream(
            event("x"),
            b"data: " + json.dumps({"id": "c", "choices": [], "usage": usage}).encode() + b"\n\n",
            b"data: [DONE]\n\n",
        )
        return
    message = {"role": "assistant", "content": "x"}
    await visit.answer(
        json.dumps(
            {
                "id": "c",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            }
        ).encode()
    )


def event(text: str) -> bytes:
    return (
        b"data: "
        + json.dumps(
            {
                "id": "c",
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {"content": text}}],
            }
        ).encode()
        + b"\n\n"
    )


def refusals(proxy: Running, code: str) -> int:
    """How often the proxy has told this key so."""
    page = proxy.server.services.metrics.render().decode()
    start = f'tollkeeper_refusals_total{{code="{code}",key="alice",'
    return sum(
        int(float(line.rpartition(" ")[2])) for line in page.splitlines() if line.startswith(start)
    )


def field(seen: Seen, name: str) -> str | None:
    return dict(seen.headers).get(name)


def raised(seen: Seen) -> JSONObject:
    assert seen.error is not None, seen
    return seen.error


@pytest.mark.parametrize(
    ("limit", "stream"), [("30 requests/minute", False), ("600 tokens/minute", True)]
)
async def test_a_rate_is_waited_for_as_long_as_the_proxy_says(
    tmp_path: Path, sdk: Sdk, limit: str, stream: bool
) -> None:
    """Two seconds."""
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, limited(upstream.url, {"limit": limit, "burst": 1})) as proxy,
    ):
        for seen in await sdk(proxy.base_url, [ask(stream=stream), ask(stream=stream)]):
            assert seen.error is None, seen.error
        first, second = await proxy.records(2)
        assert (first["client_retry_count"], len(upstream.visits)) == (0, 2)
        # A timer of Node may run out a millisecond early; then it is told to wait one more.
        assert second["client_retry_count"] == refusals(proxy, "rate_limit_exceeded") in (1, 2)


async def test_a_rate_that_is_further_off_than_an_sdk_can_wait_is_raised_at_once(
    tmp_path: Path, sdk: Sdk
) -> None:
    """Told to wait for a minute, both sleep twice and fail; told for an hour, one sleeps that hour.
    The wait is told as it is all the same."""
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, limited(upstream.url, "1 requests/hour")) as proxy,
    ):
        served, refused, streamed = await sdk(proxy.base_url, [ask(), ask(), ask(stream=True)])
        assert served.error is None
        for seen in (refused, streamed):
            assert (
                raised(seen)["status"],
                raised(seen)["code"],
                field(seen, "x-should-retry"),
            ) == (429, "rate_limit_exceeded", "false")
            assert 61 <= int(str(field(seen, "retry-after"))) <= 3600
        assert (refusals(proxy, "rate_limit_exceeded"), len(upstream.visits)) == (2, 1)


@pytest.mark.parametrize(
    ("status", "kind"), [(402, "APIStatusError"), (403, "PermissionDeniedError")]
)
async def test_a_used_up_budget_can_have_a_status_that_nobody_tries_again(
    tmp_path: Path, sdk: Sdk, status: int, kind: str
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(
            tmp_path, limited(upstream.url, "20 tokens/day") | {"quota_status": status}
        ) as proxy,
    ):
        _, refused = await sdk(proxy.base_url, [ask(), ask()])
        error = raised(refused)
        assert (error["status"], error["code"]) == (status, "insufficient_quota")
        assert error["type"] in (kind, "APIError")
        assert (refusals(proxy, "insufficient_quota"), len(upstream.visits)) == (1, 1)


async def test_the_vendors_refusal_of_our_key_is_raised_at_once(tmp_path: Path, sdk: Sdk) -> None:
    async def answer(visit: Visit) -> None:
        await visit.answer(
            b'{"error":{"message":"Incorrect API key provided"}}', status="401 Unauthorized"
        )

    async with raw_upstream(answer) as upstream, running(tmp_path, limited(upstream.url)) as proxy:
        [seen] = await sdk(proxy.base_url, [ask()])
        assert (raised(seen)["status"], raised(seen)["code"], field(seen, "x-should-retry")) == (
            502,
            "upstream_rejected_credentials",
            "false",
        )
        assert len(upstream.visits) == 1


async def test_a_place_among_the_concurrent_is_waited_for(tmp_path: Path, sdk: Sdk) -> None:
    go_on = asyncio.Event()

    async def answer(visit: Visit) -> None:
        if len(upstream.visits) == 1:
            await go_on.wait()
        await answering(visit)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, "1 concurrent")) as proxy,
    ):
        first = await RawClient.connect(proxy.address)
        await first.post(json.dumps(ask().body).encode())
        second = asyncio.create_task(sdk(proxy.base_url, [ask()]))
        await until(lambda: refusals(proxy, "rate_limit_exceeded"))
        go_on.set()
        assert (await first.answer()).status == 200
        [seen] = await second
        assert seen.error is None
        assert [row["client_retry_count"] for row in await proxy.records(2)] == [0, 1]
        assert refusals(proxy, "rate_limit_exceeded") == 1
        await first.aclose()


# An exhausted budget: raised at once. An SDK sleeps only before it tries again, and it does not.

BUDGETS: list[object] = [
    "1 requests/day", "20 tokens/week", "15 input_tokens/month", "5 output_tokens/total", "0.02 USD/month",
    {"limit": "1 requests/month", "enforce": "strict"}, {"limit": "20 tokens/day", "enforce": "cut"},
]  # fmt: skip


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
async def test_an_exhausted_budget_is_neither_tried_again_nor_slept_for(
    tmp_path: Path, sdk: Sdk, budget: object
) -> None:
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, limited(upstream.url, budget)) as proxy,
    ):
        served, plain, streamed = await sdk(proxy.base_url, [ask(), ask(), ask(stream=True)])
        assert served.error is None
        for seen in (plain, streamed):
            error = raised(seen)
            assert (error["status"], error["type"], error["code"]) == (
                429,
                "RateLimitError",
                "insufficient_quota",
            )
            assert "limit of the proxy, not of the vendor" in str(error["message"]) and str(
                seen.id
            ) in str(error["message"])
            assert (
                field(seen, "x-should-retry"),
                field(seen, "retry-after"),
                field(seen, "retry-after-ms"),
            ) == ("false", None, None)
        assert (refusals(proxy, "insufficient_quota"), len(upstream.visits)) == (2, 1)
        await proxy.records(1)


# name: (limit, the body's fields, status, what both SDKs raise, code)
NEVER: dict[str, tuple[object, dict[str, object], int, str, str]] = {
    "more than there ever is": (
        {"limit": "500 tokens/day", "enforce": "strict"},
        {"max_tokens": 500},
        429,
        "RateLimitError",
        "insufficient_quota",
    ),
    "more than a burst": (
        {"limit": "500 tokens/minute", "enforce": "strict"},
        {"max_tokens": 500},
        429,
        "RateLimitError",
        "rate_limit_exceeded",
    ),
    "nothing at all": ("0 concurrent", {}, 429, "RateLimitError", "rate_limit_exceeded"),
    "not boundable": (
        {"limit": "500 tokens/day", "enforce": "strict"},
        {},
        400,
        "BadRequestError",
        "not_boundable",
    ),
    "not priced": (
        "5 USD/month",
        {"model": "unheard-of"},
        403,
        "PermissionDeniedError",
        "model_not_priced",
    ),
}


@pytest.mark.parametrize("name", NEVER)
async def test_what_no_waiting_helps_is_raised_at_once(tmp_path: Path, sdk: Sdk, name: str) -> None:
    limit, fields, status, kind, code = NEVER[name]
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        [seen] = await sdk(proxy.base_url, [ask(**fields)])
        error = raised(seen)
        assert (error["status"], error["type"], error["code"]) == (status, kind, code)
        assert (refusals(proxy, code), len(upstream.visits)) == (1, 0)


async def test_a_stream_that_a_limit_ends_raises_what_the_proxy_says(
    tmp_path: Path, sdk: Sdk
) -> None:
    """What came before is the client's, is charged, and is not asked for again."""

    async def answer(visit: Visit) -> None:
        await visit.stream(end=False)
        chunk = event("word " * 20)  # 25 tokens
        for _ in range(400):
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await visit.reader.read()

    limit = {"limit": "3000 tokens/day", "enforce": "cut", "name": "hard-stop"}
    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, limited(upstream.url, limit)) as proxy,
    ):
        [seen] = await sdk(proxy.base_url, [ask(stream=True)])
        error = raised(seen)
        assert (error["type"], error["status"], error["code"]) == (
            "APIError",
            None,
            "insufficient_quota",
        )
        assert "hard-stop" in str(error["message"]) and "What was delivered is charged" in str(
            error["message"]
        )
        assert isinstance(seen.parsed, list) and seen.parsed
        assert {chunk["choices"][0]["delta"]["content"] for chunk in seen.parsed} == {"word " * 20}
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_tokens"], len(upstream.visits)) == (
            "cut",
            25 * len(seen.parsed),
            1,
        )


async def test_every_answer_says_how_the_tightest_limit_stands(tmp_path: Path, sdk: Sdk) -> None:
    limits = ("3 requests/day", {"limit": "100_000 tokens/minute", "name": "speed"})
    async with (
        raw_upstream(answering) as upstream,
        running(tmp_path, limited(upstream.url, *limits)) as proxy,
    ):
        answers = await sdk(proxy.base_url, [ask(), ask(stream=True), ask(stream=True), ask()])
        for seen, left in zip(answers, (2, 1, 0, 0), strict=True):
            assert (
                field(seen, "ratelimit-policy")
                == '"key:alice/requests/day";q=3;qu="requests";w=86400'
            )
            assert str(field(seen, "ratelimit")).startswith(f'"key:alice/requests/day";r={left};t=')
        refused = answers[-1]
        assert raised(refused)["code"] == "insufficient_quota"
        assert (
            field(refused, "x-ratelimit-limit-requests"),
            field(refused, "x-ratelimit-remaining-requests"),
        ) == ("3", "0")
        assert field(refused, "x-ratelimit-limit-tokens") == "100000"
