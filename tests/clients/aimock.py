"""@copilotkit/aimock as an upstream: somebody else's idea of OpenAI's API, with faults thrown in by
lot; and what each client's view of an answer must come to.

python -m tests.clients.aimock --requests 5000 --out docs/campaigns
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from proxy import __version__
from tests.clients.drivers import NODE, NODE_DIR
from tests.support.running import KEY, Running, config, running
from tests.support.waiting import guard

CLI = NODE_DIR / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
AT_ONCE = 20
RATE = 0.15  # of each fault, among what the one before it has left
FAULTS = ("drop", "malformed", "ratelimit", "disconnect")
STORY = (
    "Once upon a time a toll keeper counted every cart that crossed the bridge. 他数了每一辆车。"
)
FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "weather"},
            "response": {"toolCalls": [{"name": "get_weather", "arguments": '{"city":"北京"}'}]},
        },
        {"match": {"userMessage": "story"}, "response": {"content": STORY}},
    ]
}
ASKED = ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}})


class Seen(msgspec.Struct):
    """An answer as its client saw it. `status` 0: cut off."""

    id: str
    body: dict[str, object]
    status: int
    data: bytes


class Outcome(msgspec.Struct):
    """What a round came to: how many answers of each kind, and what does not fit."""

    requests: int = 0
    kinds: Counter[str] = Counter()
    findings: list[str] = []


@contextlib.asynccontextmanager
async def aimock(directory: Path, *options: str) -> AsyncIterator[str]:
    """The server as a process: its base URL without /v1."""
    (directory / "fixtures.json").write_text(json.dumps(FIXTURES))
    log = directory / "aimock.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                NODE,
                CLI,
                "-p",
                "0",
                "-f",
                directory / "fixtures.json",
                "--journal-max",
                "0",
                *options,
            ],
            cwd=directory,
            stdout=output,
            stderr=output,
        )
    try:
        async with guard():
            while (found := re.search(r"listening on (\S+)", log.read_text())) is None:
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(
                    0.01
                )  # it starts beside us; the condition, not the pause, decides
        yield found[1]
    finally:
        process.terminate()
        process.wait()


async def round_of(directory: Path, requests: int, *, stream_usage: str, chaos: bool) -> Outcome:
    """So many requests, 20 at once; each client's view against its record, and their number against
    aimock's own journal."""
    options = (
        [word for fault in FAULTS for word in (f"--chaos-{fault}", str(RATE))] if chaos else []
    )
    outcome = Outcome(requests, Counter(), [])
    async with aimock(directory, *options) as url:
        settings = config(
            f"{url}/v1",
            upstreams={
                "mock": {"base_url": f"{url}/v1", "api_key": "k", "stream_usage": stream_usage}
            },
        )
        async with running(directory, settings) as proxy, aiohttp.ClientSession() as session:
            numbers = iter(range(requests))
            seen: list[Seen] = []
            await asyncio.gather(*(worker(session, proxy, numbers, seen) for _ in range(AT_ONCE)))
            rows = {str(row["id"]): row for row in await proxy.records(requests)}
            async with session.get(f"{url}/__aimock/journal") as journal:
                arrived = len(await journal.json())
    if arrived != requests:
        outcome.findings.append(f"{arrived} requests arrived of {requests}")
    for one in seen:
        kind, due = expected(one, injected=stream_usage == "inject")
        outcome.kinds[kind] += 1
        row = rows.get(one.id, {})
        if (booked := {name: row.get(name) for name in due}) != due:
            outcome.findings.append(f"{one.id} {kind}: booked {booked}, due {due}")
    return outcome


async def worker(
    session: aiohttp.ClientSession, proxy: Running, numbers: Iterator[int], seen: list[Seen]
) -> None:
    """One client after the other."""
    for number in numbers:
        body: dict[str, object] = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": ("story", "weather")[number % 2]}],
            **ASKED[number % 3],
        }
        async with session.post(
            f"{proxy.base_url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
        ) as response:
            one = Seen(response.headers["x-tollkeeper-id"], body, response.status, b"")
            try:
                one.data = await response.read()
            except aiohttp.ClientPayloadError:
                one.status = 0
        seen.append(one)


def expected(seen: Seen, *, injected: bool) -> tuple[str, dict[str, object]]:
    """The kind of this answer, and what its record must hold."""
    nothing = {"input_tokens": 0, "output_tokens": 0, "source": "none"}
    if seen.status == 502:
        return "connection lost before an answer", {"outcome": "upstream_failed", **nothing}
    if seen.status >= 400:
        return f"status {seen.status}", {
            "outcome": "rejected_upstream",
            "status": seen.status,
            **nothing,
        }
    if seen.data.startswith(b"{malformed"):
        return "no JSON under status 200", {"outcome": "upstream_failed", "status": 200, **nothing}
    events = [
        json.loads(line[6:]) for line in seen.data.split(b"\n") if line.startswith(b"data: {")
    ] or [json.loads(seen.data)]
    usage = next((event["usage"] for event in reversed(events) if event.get("usage")), None)
    whole = {
        "outcome": "completed",
        "status": 200,
        "inconsistent": 0,
        "finish_reason": next(c["finish_reason"] for e in reversed(events) for c in e["choices"]),
    }
    if usage is not None:
        return "usage stated", whole | {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "source": "reported",
        }
    if injected:
        return "usage taken out", whole | {"source": "reported"}
    return "no usage stated", whole | {
        "source": "estimated",
        "output_tokens": -(-sum(map(text_bytes, events)) // 4),
    }


def text_bytes(event: dict[str, list[dict[str, dict[str, object]]]]) -> int:
    size = 0
    for choice in event["choices"]:
        size += len(str(choice["delta"].get("content") or "").encode())
        for call in choice["delta"].get("tool_calls") or []:  # type: ignore[attr-defined]
            size += sum(
                len(str(call["function"].get(name) or "").encode())
                for name in ("name", "arguments")
            )
    return size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--out", type=Path, required=True, help="directory of the report")
    options = parser.parse_args()
    version = json.loads((CLI.parents[1] / "package.json").read_text())["version"]
    lines = [
        f"# aimock with its faults, {datetime.now(UTC):%Y-%m-%d}", "",
        f"Version {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}; @copilotkit/aimock {version} as the upstream, "
        f"`--chaos-{{{','.join(FAULTS)}}} {RATE}`, {AT_ONCE} clients at once. Each answer as its client saw it against its record.", "",
        "| `stream_usage` | answers | findings |", "|---|---|---|",
    ]  # fmt: skip
    logging.disable()  # the proxy's own lines, one a failed request
    started_s = time.monotonic()
    failed = False
    for stream_usage in ("observe", "inject"):
        with tempfile.TemporaryDirectory() as directory:
            outcome = asyncio.run(
                round_of(Path(directory), options.requests, stream_usage=stream_usage, chaos=True)
            )
        kinds = ", ".join(f"{kind} {count}" for kind, count in outcome.kinds.most_common())
        lines.append(f"| {stream_usage} | {outcome.requests}: {kinds} | {len(outcome.findings)} |")
        lines += outcome.findings
        failed = failed or bool(outcome.findings)
    lines += ["", f"In {time.monotonic() - started_s:.0f} s.", ""]
    (options.out / f"{datetime.now(UTC):%Y-%m-%d}-aimock.md").write_text("\n".join(lines))
    sys.exit(failed)


if __name__ == "__main__":
    main()
