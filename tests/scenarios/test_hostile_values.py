"""Callers that write values of a limit in every way they can: none gets more than its own count, and
what is counted is what the book has, before and after a restart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from proxy.core.limits.dimensions import MISSING
from tests.dataplane.test_hold import PRICES, stating
from tests.support.raw import RawClient, raw_upstream
from tests.support.running import Running, config, running

RULES = (
    "2 requests/month per header:x-run",
    "2 requests/month per end_user",
    "2 requests/month per tag:env",
)
LONG = "x" * 10_000
# What is sent, and what of it is counted: itself, a hash of it, or no value.
SPELLINGS: dict[bytes, str] = {
    b"plain": "itself",
    b"PLAIN": "itself",
    b"plain,other": "itself",
    "\u00e9".encode(): "itself",  # composed
    "e\u0301".encode(): "itself",  # decomposed
    "\uff50lain".encode(): "itself",  # full width
    b"sha256:0123": "itself",  # as a hash is written
    b"": "none",
    b"  \t ": "none",
    b"\xe9": "hash",  # no UTF-8
    "pl\u200bain".encode(): "hash",  # zero width
    "\u202eplain".encode(): "hash",  # right to left
    "plain\u00a0".encode(): "hash",  # a blank that is no blank
    LONG.encode(): "hash",
    b"x" * 129: "hash",
}


async def send(
    proxy: Running, *fields: bytes, body: dict[str, object] | None = None, status: int | None = None
) -> int:
    client = await RawClient.connect(proxy.address)
    sent = {"model": "m-1", "messages": [{"role": "user", "content": "hi"}], **(body or {})}
    text = json.dumps(sent).encode()
    head = b"".join(b"%b\r\n" % field for field in fields)
    await client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n"
        b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (head, len(text)) + text
    )
    answer = await client.answer()
    await client.aclose()
    if status is not None:
        assert answer.status == status, (fields, answer.body)
    return answer.status


async def counted(proxy: Running) -> Counter[tuple[str, str]]:
    """How many requests each value of each limit has, by the store."""
    quota = proxy.server.services.quota
    states = await quota.states(quota.limits(), proxy.server.services.now_ms())
    return Counter(
        {
            (one.limit.dimension or "", one.limit.value or MISSING): one.used
            for one in states
            if one.used
        }
    )


def settings(url: str) -> dict[str, object]:
    return config(
        url,
        teams={"research": {"limits": list(RULES)}},
        prices=PRICES,
        attribution={"tags": {"keep": ["env"]}},
        privacy={"end_user": "plain"},
    )


async def test_each_spelling_has_one_count_and_keeps_it_over_a_restart(tmp_path: Path) -> None:
    """The limits of the other two dimensions would refuse too, so each is asked by itself."""
    async with raw_upstream(stating(1, 1)) as upstream:
        told = settings(upstream.url)
        for place, rule in enumerate(RULES):
            told["teams"] = {"research": {"limits": [rule]}}
            (directory := tmp_path / str(place)).mkdir()
            async with running(directory, told) as proxy:
                through: Counter[bytes] = Counter()
                for value in SPELLINGS:
                    field = (b"x-run: ", b"x-end-user: ", b"x-tollkeeper-tags: env=")[place] + value
                    for _ in range(3):
                        through[value] += await send(proxy, field) == 200
                own = [value for value, kind in SPELLINGS.items() if kind == "itself"]
                if place == 2:
                    own.remove(
                        b"plain,other"
                    )  # a comma ends a tag: it is `plain`, which is used up
                assert {through[value] for value in own} == {2}
                rest = [value for value in SPELLINGS if value not in own]
                hashed = {value for value in rest if SPELLINGS[value] == "hash"}
                if place == 0:
                    assert {through[value] for value in hashed} == {2}, "each by its hash"
                    rest = [value for value in rest if value not in hashed]
                # All that is no value shares one count, however it is written.
                assert sum(through[value] for value in rest) == 2
                await proxy.records(sum(through.values()))
                before = await counted(proxy)
                assert set(before.values()) == {2} and before.total() == sum(through.values())
            async with running(directory, told) as proxy:
                assert await counted(proxy) == before
                assert await send(proxy, b"x-other: 1") == 429


async def test_repeated_fields_and_other_places_are_no_way_to_a_second_count(
    tmp_path: Path,
) -> None:
    async with (
        raw_upstream(stating(1, 1)) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
    ):
        first = (b"x-run: a", b"x-end-user: a", b"x-tollkeeper-tags: env=a")
        for _ in range(2):
            await send(proxy, *first, status=200)
        # The first field counts, in whatever letters its name is written.
        for again in (
            (*first, b"x-run: b", b"x-end-user: b", b"x-tollkeeper-tags: env=b"),
            (b"X-RUN: a", b"x-run: b", b"X-End-User: n1", b"x-tollkeeper-tags: env=n1"),
            (b"x-run:a ", b"x-end-user: n2", b"x-tollkeeper-tags: env=n2"),
            (b"x-run: n3", b"x-END-user:\ta", b"x-tollkeeper-tags: env=n3"),
            (b"x-run: n4", b"x-end-user: n4", b"X-Tollkeeper-Tags:  env = a , other=b"),
        ):
            await send(proxy, *again, status=429)
        # The field wins over the body, and a body that says it twice is refused.
        other = (b"x-run: n5", b"x-tollkeeper-tags: env=n5")
        await send(proxy, *other, b"x-end-user: a", body={"user": "n5"}, status=429)
        await send(proxy, *other, body={"user": "a"}, status=429)
        await send(proxy, *other, body={"user": "n5", "User": "a"}, status=400)
        for forged in ({"user": "\n"}, {"user": "a\x1fb"}, {"user": "\ud800"}, {"user": 5}):
            spare = [b"x-run: " + str(forged).encode(), b"x-tollkeeper-tags: env=f"]
            await send(proxy, *spare, body=forged)
        values = {value for dimension, value in await counted(proxy) if dimension == "end_user"}
        assert values <= {"a", MISSING}, "no name of the store's own can be made up"
