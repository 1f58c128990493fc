"""Libraries over responses and messages: a session with tools passes as it came and is booked as
stated, and what the proxy refuses is told in its words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from proxy.scripted_upstream import expected
from tests.clients.libraries import SLOW, WIRES, run
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, config, running

MODELS = ("demo-chat", "demo-reasoning")
POOR = "sk-poor"
REFUSALS = (
    "The API key is not known here",
    "The limit 0 requests/total of key poor",
    "cannot be reached: connection refused",
)
DOC = Path(__file__).parents[2] / "docs" / "clients.md"
EACH = pytest.mark.parametrize(
    ("wire", "library"),
    [
        pytest.param(wire, library, marks=pytest.mark.campaign if library in SLOW else ())
        for wire, libraries in WIRES.items()
        for library in libraries
    ],
)


async def vendor(visit: Visit) -> None:
    """The scripted upstream's answers, from a server that keeps what it was sent."""
    answer = expected(visit.body, endpoint(visit))
    headers = tuple(f"{name}: {value}" for name, value in answer.headers)
    if answer.content_length is None:
        await visit.stream(*answer.events, headers=headers)
    else:
        await visit.answer(answer.body, status=f"{answer.status} Scripted", headers=headers)


def target(visit: Visit) -> str:
    return visit.lines[0].split(b" ")[1].decode()


def endpoint(visit: Visit) -> str:
    return target(visit).partition("?")[0].removeprefix("/v1/")


def sent(visit: Visit) -> tuple[object, ...]:
    """What a vendor sees of a request, but for who asks and what each side of a connection writes
    itself."""
    own = (b"host", b"connection", b"authorization", b"x-api-key", b"via")
    fields = [line for line in visit.lines[1:] if line.partition(b":")[0].lower() not in own]
    return target(visit), sorted(line.lower() for line in fields if line), visit.body


def settings(url: str) -> dict[str, object]:
    mock = {
        "base_url": url,
        "api_key": "sk-upstream",
        "credential": "x-api-key",
        "apis": ["responses", "messages"],
    }
    keys = {
        "alice": {"team": "research", "secret": KEY},
        "poor": {"secret": POOR, "limits": ["0 requests/total"]},
    }
    return config(url, upstreams={"mock": mock}, keys=keys)


def stated(visit: Visit) -> dict[str, object]:
    """The record that this request has, by what its answer states."""
    usage = expected(visit.body, endpoint(visit)).usage
    assert usage is not None
    if endpoint(visit) == "messages":
        dialect, cached, thought = "anthropic_messages", usage["cache_read_input_tokens"], None
        input_tokens = sum(int(str(usage[name])) for name in usage if "input_tokens" in name)
    else:
        inside, outside = usage["input_tokens_details"], usage["output_tokens_details"]
        assert isinstance(inside, dict) and isinstance(outside, dict)
        dialect, cached = "openai_responses", inside["cached_tokens"]
        input_tokens, thought = int(str(usage["input_tokens"])), outside["reasoning_tokens"]
    return {
        "endpoint": f"/v1/{endpoint(visit)}",
        "dialect": dialect,
        "stream": int(json.loads(visit.body).get("stream") is True),
        "outcome": "completed",
        "source": "reported",
        "inconsistent": 0,
        "input_tokens": input_tokens,
        "cached_tokens": cached,
        "output_tokens": usage["output_tokens"],
        "reasoning_tokens": thought,
    }


def scrubbed(yielded: object) -> object:
    """Without what a library draws by lot or reads from its own clock."""
    return json.loads(re.sub(r"aitxt-\w{12,24}", "", json.dumps(yielded)))


@EACH
async def test_a_session_with_tools_passes_and_is_booked_and_refusals_are_told(
    tmp_path: Path, wire: str, library: str
) -> None:
    for name in ("live", "dead"):
        (tmp_path / name).mkdir()
    async with raw_upstream(vendor) as gone:
        dead = settings(gone.url)
    async with (
        raw_upstream(vendor) as upstream,
        running(tmp_path / "live", settings(upstream.url)) as proxy,
        running(tmp_path / "dead", dead) as alone,
    ):
        targets = [
            (upstream.url, "sk-direct"),
            (proxy.base_url, KEY),
            (proxy.base_url, "sk-wrong"),
            (proxy.base_url, POOR),
            (alone.base_url, KEY),
        ]
        direct, passed, *refused = await run(tmp_path, library, targets, MODELS, wire=wire)
        half = len(upstream.visits) // 2
        plain, through = upstream.visits[:half], upstream.visits[half:]
        rows = await proxy.records(half)
    assert "raised" not in json.dumps(direct) and scrubbed(passed) == scrubbed(direct)
    assert list(map(sent, through)) == list(map(sent, plain))
    assert {visit.header("x-api-key") for visit in through} == {b"sk-upstream"}
    assert {endpoint(visit) for visit in through} == {wire}
    streams = [json.loads(visit.body).get("stream") is True for visit in through]
    assert sum(streams) >= 3 and not all(streams)
    answered = sum(b"sunny, 21 degrees" in visit.body for visit in through)
    assert answered == 2, "a tool was called, and what it said was sent back, whole and streamed"
    for visit, row in zip(through, rows, strict=True):
        assert {name: row[name] for name in stated(visit)} == stated(visit)
    for yielded, words in zip(refused, REFUSALS, strict=True):
        for scenario, told in yielded.items():
            assert words in json.dumps(told), scenario


def test_the_document_shows_each_library_and_wire() -> None:
    shown = re.findall(r"^\| `([a-z-]+)` \| (responses|messages) \|", DOC.read_text(), re.MULTILINE)
    assert shown == [(library, wire) for wire, all_ in WIRES.items() for library in all_]
