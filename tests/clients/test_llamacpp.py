"""llama.cpp's own server behind the proxy: what it reports is what is booked, with whichever SDK,
and what it does not report is estimated."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import llamacpp
from tests.clients.cases import Case, chat
from tests.clients.deployment import Deployment, proxy
from tests.clients.drivers import CLIENTS, Both, Seen
from tests.support.raw import RawClient
from tests.support.waiting import GUARD_S

USAGE = {"include_usage": True}
ASKED = [
    Case(name="whole", body=chat("tiny", "hello", max_tokens=12, seed=1)),
    Case(
        name="streamed with usage",
        body=chat("tiny", "hello", max_tokens=12, seed=2, stream=True, stream_options=USAGE),
    ),
    Case(
        name="long",
        body=chat(
            "tiny",
            "tell me a story " * 5,
            max_tokens=200,
            seed=3,
            stream=True,
            stream_options=USAGE,
        ),
    ),
    Case(name="two choices", body=chat("tiny", "hello", max_tokens=5, n=2)),
    Case(
        name="completions",
        endpoint="completions",
        body={"model": "tiny", "prompt": "once upon a time", "max_tokens": 9, "seed": 4},
    ),
]
UNASKED = Case(name="streamed", body=chat("tiny", "hello", max_tokens=30, seed=5, stream=True))
ERRORS = [
    Case(name="no array", body={"model": "tiny", "messages": "hello"}),
    Case(name="no array, streamed", body={"model": "tiny", "messages": "hello", "stream": True}),
    Case(name="too long", body=chat("tiny", "x" * 2000)),
]
SDKS = [name for name in CLIENTS if name != "curl"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The server as a process, which ends with its standard input, and the proxy in front of it."""
    directory = tmp_path_factory.mktemp("llama")
    with (directory / "llama.log").open("wb") as log:
        command = [sys.executable, llamacpp.__file__, str(directory)]
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert server.stdout is not None
        line = server.stdout.readline().decode()
        assert line.startswith("serving on "), (directory / "llama.log").read_text()
        direct = line.removeprefix("serving on ").strip()
        keys = {
            f"{client}-{kind}": {"secret": f"sk-{client}-{kind}"}
            for client in SDKS
            for kind in ("asked", "unasked", "errors")
        }
        keys["crowd"] = {"secret": "sk-crowd"}
        upstreams = {"llama": {"base_url": direct, "api_key": "sk-none"}}
        with proxy(
            directory / "proxy",
            upstreams=upstreams,
            routes=[{"model": "*", "upstream": "llama"}],
            keys=keys,
        ) as (proxied, data_dir):
            yield Deployment(direct, proxied, data_dir)
        server.communicate(timeout=GUARD_S)
        assert server.returncode == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()


Run = Callable[[str, list[Case], str], tuple[list[Seen], list[Seen]]]


@pytest.fixture
def run(llama: Deployment, clients: dict[str, Both], tmp_path: Path) -> Run:
    """Runs the cases with that client, without the proxy and then through it."""
    return lambda client, cases, kind: clients[client](
        tmp_path, (llama.direct, "sk-none"), (llama.proxied, f"sk-{client}-{kind}"), cases
    )


@pytest.mark.parametrize("client", SDKS)
def test_reported_is_recorded(llama: Deployment, run: Run, client: str) -> None:
    _, proxied = run(client, ASKED, "asked")
    rows = llama.rows(f"{client}-asked", len(ASKED))
    for seen in proxied:
        assert seen.error is None, seen.error
        last = seen.parsed[-1] if isinstance(seen.parsed, list) else seen.parsed
        assert isinstance(last, dict)
        usage, row = last["usage"], rows[str(seen.id)]
        assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
        assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (
            usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
        ), seen.name  # fmt: skip
        assert (row["source"], row["outcome"], row["inconsistent"], row["model_served"]) == (
            "reported",
            "completed",
            0,
            last["model"],
        ), seen.name


@pytest.mark.parametrize("client", SDKS)
def test_unreported_is_estimated_from_what_was_delivered(
    llama: Deployment, run: Run, client: str
) -> None:
    _, [seen] = run(client, [UNASKED], "unasked")
    [row] = llama.rows(f"{client}-unasked", 1).values()
    assert isinstance(seen.parsed, list)
    assert not any(chunk.get("usage") for chunk in seen.parsed)
    said = "".join(
        choice["delta"].get("content") or "" for chunk in seen.parsed for choice in chunk["choices"]
    )
    assert (row["source"], row["outcome"], row["finish_reason"]) == (
        "estimated",
        "completed",
        seen.parsed[-1]["choices"][0]["finish_reason"],
    )
    assert row["output_tokens"] == -(-len(said.encode()) // 4)
    assert row["input_tokens"] == -(-int(str(row["bytes_in"])) // 4)


@pytest.mark.parametrize("client", SDKS)
def test_its_errors_pass_and_cost_nothing(llama: Deployment, run: Run, client: str) -> None:
    direct, proxied = run(client, ERRORS, "errors")
    assert [seen.result() for seen in proxied] == [seen.result() for seen in direct]
    assert all(seen.error is not None and seen.error["status"] == 400 for seen in proxied)
    rows = llama.rows(f"{client}-errors", len(ERRORS)).values()
    assert {
        (row["outcome"], row["status"], row["input_tokens"], row["output_tokens"]) for row in rows
    } == {("rejected_upstream", 400, 0, 0)}


async def test_many_at_once_are_all_served(llama: Deployment) -> None:
    """It closes its connection right behind each stream, without saying so, and keeps it behind
    whole answers."""
    address = llama.proxied.removeprefix("http://").removesuffix("/v1")
    at_once, each = 8, 10

    async def one() -> list[int]:
        client = await RawClient.connect(address)
        heard = []
        for number in range(each):
            body = chat("tiny", "hello", max_tokens=3, stream=number % 3 > 0)
            await client.post(json.dumps(body).encode(), key="sk-crowd")
            heard.append((await client.answer()).status)
        await client.aclose()
        return heard

    heard = await asyncio.gather(*(one() for _ in range(at_once)))
    assert Counter(status for mine in heard for status in mine) == {200: at_once * each}
    llama.rows("crowd", at_once * each)
