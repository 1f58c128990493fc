"""A wire that is no more than a folder and a line in the registry: it is metered, priced, limited,
cut and refused by the data path as it is. `tests/support/toy_wire` is the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.core.dialects.registry import BY_ENDPOINT
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.toy_wire.dialect import TOY
from tests.support.waiting import guard

ASK = b'{"model":"toy-1","say":"Say something."}'
STREAM = b'{"model":"toy-1","say":"Say something.","stream":true}'
WHOLE = b'{"by":"toy-1b", "said":"Something.", "cost":{"read":70,"wrote":30}}'
EVENTS = b'data: {"by":"toy-1b"}\n\ndata: {"bit":"Some"}\n\ndata: {"bit":"thing."}\n\n'
END = b'data: {"over":"all said","cost":{"read":70,"wrote":30}}\n\n'
PRICES = [{"model": "toy-1", "input": "1", "output": "2"}]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in the registry."""
    monkeypatch.setitem(BY_ENDPOINT, TOY.endpoints[0], TOY)


async def ask(proxy: Running, body: bytes, key: str = "sk-test") -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(body, path="/v1/toy", key=key)
    async with guard():
        answer = await client.answer()
    await client.aclose()
    return answer


def limited(url: str, *limits: object) -> dict[str, object]:
    keys = {"alice": {"team": "research", "secret": "sk-test", "limits": list(limits)}}
    return config(url, keys=keys, prices=PRICES)


async def answers(visit: Visit) -> None:
    """A stream to who asks for one, else an object."""
    if json.loads(visit.body).get("stream"):
        await visit.stream(EVENTS, END, headers=("Content-Type: text/event-stream", "toy-id: t-7"))
    else:
        await visit.answer(WHOLE, headers=("Content-Type: application/json", "toy-id: t-7"))


@pytest.mark.parametrize(("body", "comes"), [(ASK, WHOLE), (STREAM, EVENTS + END)])
async def test_it_is_metered_and_priced(tmp_path: Path, body: bytes, comes: bytes) -> None:
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, limited(upstream.url)) as proxy,
    ):
        assert (await ask(proxy, body)).body == comes
        assert upstream.visits[0].lines[0] == b"POST /v1/toy HTTP/1.1"
        assert upstream.visits[0].body == body
        [row] = await proxy.records(1)
        names = ("dialect", "endpoint", "model_served", "outcome", "upstream_request_id")
        assert [row[name] for name in names] == ["toy", "/v1/toy", "toy-1b", "completed", "t-7"]
        assert (row["input_source"], row["output_source"]) == ("reported", "reported")
        assert (row["input_tokens"], row["output_tokens"]) == (70, 30)
        assert row["cost_nano"] == 70 * 1000 + 30 * 2000, "per million tokens"


async def test_a_stream_that_breaks_off_is_counted_by_what_came(tmp_path: Path) -> None:
    async def breaks(visit: Visit) -> None:
        await visit.stream(EVENTS, end=False)
        visit.reset()

    async with raw_upstream(breaks) as upstream, running(tmp_path, limited(upstream.url)) as proxy:
        answer = await ask(proxy, STREAM)
        assert (answer.body, answer.whole) == (EVENTS, False)
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_source"]) == ("upstream_failed", "partial")
        assert row["output_tokens"] == -(-len("Something.") // 4)


async def test_what_states_nothing_is_counted_with_its_own_rules(tmp_path: Path) -> None:
    async def silent(visit: Visit) -> None:
        await visit.answer(b'{"by":"gpt-4o","said":"Hello world"}')

    ask_known = b'{"model":"gpt-4o","say":"Hello world"}'
    async with (
        raw_upstream(silent) as upstream,
        running(tmp_path, config(upstream.url, estimates="counted")) as proxy,
    ):
        await ask(proxy, ask_known)
        [row] = await proxy.records(1)
        assert (row["output_source"], row["output_tokens"]) == ("counted", 2)


async def test_a_request_beyond_a_limit_is_refused_in_its_own_words(tmp_path: Path) -> None:
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, limited(upstream.url, "1 requests/day", "1000 tokens/day")) as proxy,
    ):
        first = await ask(proxy, ASK)
        assert first.status == 200
        refused = await ask(proxy, ASK)
        assert (refused.status, json.loads(refused.body)["code"]) == (429, "insufficient_quota")
        assert refused.header("toy-requests-left") == b"0"
        assert refused.header("x-ratelimit-remaining-requests") is None
        assert len(upstream.visits) == 1


async def test_a_stream_beyond_a_limit_is_cut_with_its_own_event(tmp_path: Path) -> None:
    async def endless(visit: Visit) -> None:
        await visit.stream(*[b'data: {"bit":"%b"}\n\n' % (b"x" * 400)] * 1000, END)

    async with (
        raw_upstream(endless) as upstream,
        running(
            tmp_path, limited(upstream.url, {"limit": "1000 tokens/day", "enforce": "cut"})
        ) as proxy,
    ):
        answer = await ask(proxy, STREAM)
        *events, last, _ = answer.body.split(b"\n\n")
        assert answer.whole and 1 < len(events) < 1000, "the end of a chunk, not of the stream"
        assert json.loads(last.removeprefix(b"data: "))["code"] == "insufficient_quota"
        [row] = await proxy.records(1)
        assert (row["outcome"], row["output_tokens"]) == ("cut", 100 * len(events))


@pytest.mark.parametrize(
    ("body", "key", "status", "code"),
    [
        (b'{"model":"toy-1","Say":"a"}', "sk-test", 400, "ambiguous_body"),
        (b"[]", "sk-test", 400, "invalid_request"),
        (b'{"model":"toy-1","say":"a","provider":{}}', "sk-test", 403, "field_not_allowed"),
        (ASK, "sk-wrong", 401, "invalid_api_key"),
    ],
)
async def test_what_may_not_be_sent_is_refused_in_its_own_words(
    tmp_path: Path, body: bytes, key: str, status: int, code: str
) -> None:
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, limited(upstream.url)) as proxy,
    ):
        refused = await ask(proxy, body, key)
        told = json.loads(refused.body)
        assert (refused.status, told["code"]) == (status, code)
        assert isinstance(told["error"], str)
        assert upstream.visits == [] and proxy.rows() == []
