"""Each wire does what the others do: the matrix of docs/wires.md, a cell a test, through the real
proxy."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from proxy.core.dialects.registry import DIALECTS
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running
from tests.support.waiting import guard
from tests.support.wires import APIS, WIRES, Event, Wire

PAGE = Path(__file__).parents[2] / "docs" / "wires.md"
T = "The ferry leaves at nine. "
IN, CACHED, OUT, THOUGHT = 700, 300, 90, 40

ASPECTS = (
    "JSON",
    "stream",
    "tools",
    "reasoning",
    "cached",
    "error",
    "cut",
    "left",
    "inject",
    "strict",
)
EACH = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


def stated(wire: Wire) -> Event:
    return wire.usage(IN, OUT, CACHED, THOUGHT)


def streamed(wire: Wire, count: int = 3) -> list[bytes]:
    return wire.stream(T, count, stated(wire))


def asking(wire: Wire, **more: object) -> bytes:
    return wire.body("Where?", **more)


def settings(url: str, limit: object = None, **upstream: object) -> dict[str, object]:
    mock = {"base_url": url, "api_key": "sk-upstream", "apis": APIS, **upstream}
    alice: dict[str, object] = {"team": "research", "secret": KEY}
    if limit is not None:
        alice["limits"] = [limit]
    return config(url, upstreams={"mock": mock}, keys={"alice": alice})


async def ask(proxy: Running, wire: Wire, body: bytes, key: str = KEY) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    try:
        await client.post(body, path=wire.path, key=key)
        return await client.answer()
    finally:
        await client.aclose()


async def served(
    directory: Path, wire: Wire, answer: Event | list[bytes], body: bytes
) -> tuple[RawAnswer, dict[str, object]]:
    """The answer and the record of one request."""

    async def script(visit: Visit) -> None:
        if isinstance(answer, list):
            await visit.stream(*answer)
        else:
            await visit.answer(json.dumps(answer).encode())

    async with (
        raw_upstream(script) as upstream,
        running(directory, settings(upstream.url)) as proxy,
    ):
        got = await ask(proxy, wire, body)
        (row,) = await proxy.records(1)
    return got, row


@EACH
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_passes_and_is_booked_with_all_its_parts(
    tmp_path: Path, wire: Wire, stream: bool
) -> None:
    answer = streamed(wire) if stream else wire.whole(T * 3, stated(wire))
    got, row = await served(tmp_path, wire, answer, asking(wire, stream=stream, **{wire.cap: 500}))
    sent = b"".join(answer) if isinstance(answer, list) else json.dumps(answer).encode()
    assert got.body == sent and got.whole
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (IN, CACHED, OUT)
    assert (row["reasoning_tokens"], row["source"], row["outcome"]) == (
        THOUGHT,
        "reported",
        "completed",
    )


@EACH
async def test_a_call_of_a_tool_is_text_where_nothing_is_stated(tmp_path: Path, wire: Wire) -> None:
    got, row = await served(
        tmp_path,
        wire,
        wire.stream(T, 3, None, calls=True),
        asking(wire, stream=True, **{wire.cap: 500}),
    )
    assert b"look_up" in got.body
    tokens = 3 * len(T) // 4
    assert row["source"] == "estimated" and tokens <= row["output_tokens"] <= tokens + 10


@EACH
async def test_errors_are_told_in_its_shape_and_the_vendors_pass(
    tmp_path: Path, wire: Wire
) -> None:
    theirs = b'{"error":{"message":"theirs"}}'

    async def script(visit: Visit) -> None:
        await visit.answer(theirs, status="400 Bad Request")

    async with raw_upstream(script) as upstream, running(tmp_path, settings(upstream.url)) as proxy:
        assert (await ask(proxy, wire, asking(wire, **{wire.cap: 5}))).body == theirs
        ours = await ask(proxy, wire, asking(wire, **{wire.cap: 5}), key="sk-nobody")
        assert ours.status == 401 and wire.error(json.loads(ours.body))
        (row,) = await proxy.records(1)
    assert (row["outcome"], row["input_tokens"], row["source"]) == ("rejected_upstream", 0, "none")


@EACH
async def test_a_limit_cuts_it_with_its_own_last_event(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(end=False)
        for event in streamed(wire, 900):
            await visit.send(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0)  # so that no chunk holds much of it
        await visit.reader.read()

    limit = {"limit": "3000 tokens/day", "enforce": "cut"}
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url, limit)) as proxy,
        guard(),
    ):
        got = await ask(proxy, wire, asking(wire, stream=True, **{wire.cap: 100_000}))
        (row,) = await proxy.records(1)
    last = json.loads(got.body.rstrip().rpartition(b"data: ")[2])
    assert got.whole and wire.error(last)
    assert row["outcome"] == "cut" and 1000 < row["output_tokens"] < 4000


@EACH
async def test_who_leaves_is_charged_for_what_was_delivered(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(*streamed(wire, 8)[:7], end=False)
        await visit.reader.read()

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
        guard(),
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(asking(wire, stream=True, **{wire.cap: 500}), path=wire.path)
        await client.head()
        received = b""
        while received.count(b"\n\n") < 7:
            received += await client.chunk()
        client.leave()
        (row,) = await proxy.records(1)
    assert (row["outcome"], row["output_source"]) == ("client_closed", "partial")
    assert row["output_tokens"] == -(-received.count(T.encode()) * len(T) // 4)


@EACH
async def test_injection_leaves_what_the_client_gets(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(*streamed(wire))

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url, stream_usage="inject")) as proxy,
    ):
        got = await ask(proxy, wire, asked_body := asking(wire, stream=True, **{wire.cap: 500}))
        (row,) = await proxy.records(1)
        asked = upstream.visits[0].body != asked_body
    assert (row["output_tokens"], row["source"]) == (OUT, "reported")
    assert asked is (wire.asks_usage), "only a chat's stream has to be asked"
    unasked = [event for event in streamed(wire) if not (asked and b'"usage"' in event)]
    assert got.body == b"".join(unasked)


@EACH
async def test_a_strict_limit_admits_what_is_bounded(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(json.dumps(wire.whole(T, stated(wire))).encode())

    limit = {"limit": "5000 tokens/day", "enforce": "strict"}
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url, limit)) as proxy,
    ):
        refused = await ask(proxy, wire, asking(wire))
        assert (refused.status, b"not_boundable" in refused.body) == (400, True)
        assert (await ask(proxy, wire, asking(wire, **{wire.cap: 200}))).status == 200
        assert (await ask(proxy, wire, asking(wire, **{wire.cap: 6000}))).status == 429
        assert len(upstream.visits) == 1


def test_the_page_has_each_cell() -> None:
    rows = re.findall(r"^\| (.+?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    table = {
        name: cells.split(" | ")
        for name, cells in rows
        if name == "wire" or name.strip("`") in WIRES
    }
    assert set(WIRES) == {dialect.name for dialect in DIALECTS}
    assert tuple(table["wire"]) == ASPECTS
    for name, wire in WIRES.items():
        assert table[f"`{name}`"] == [
            "yes" if aspect != "inject" or wire.asks_usage else "not needed" for aspect in ASPECTS
        ]
