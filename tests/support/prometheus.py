"""A real Prometheus beside the test, and promtool: what they scrape, evaluate and say of our
files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.support.waiting import GUARD_S, guard
from tools.prometheus import find

SCRAPE_INTERVAL_S = 0.2
JOB = "tollkeeper"

Labels = Mapping[str, str]
Vector = list[tuple[dict[str, str], float]]


def program(name: str) -> str:
    """Its path; skips the test where it cannot be had, unless REQUIRE names prometheus."""
    path = find(name, os.environ)
    if path is None:
        message = f"{name} is not installed; `python -m tools.prometheus` gets Debian's package without root"
        if "prometheus" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return str(path)


def promtool(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, str]:
    """Its exit status and all that it said."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=GUARD_S,
        check=False,
    )
    return done.returncode, done.stdout.decode()


@dataclass
class Prometheus:
    """A running server that scrapes one proxy."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **parameters: str) -> dict[str, object]:
        """What its HTTP API answers, in full: `status`, and `data` or `error`."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            answer: dict[str, object] = await response.json()
            return answer

    async def query(self, expression: str, at_ms: int | None = None) -> Vector:
        """An instant query: labels and value of each sample. Fails on an expression that Prometheus
        refuses."""
        when = {} if at_ms is None else {"time": f"{at_ms / 1000:.3f}"}
        answer = await self.get("query", query=expression, **when)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        data = answer["data"]
        assert isinstance(data, dict)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    async def until(self, condition: Callable[[Vector], bool], expression: str) -> Vector:
        """Asks again until the answer is as wanted; the condition, not the pause, decides."""
        found: Vector = []
        try:
            async with guard():
                while not condition(found := await self.query(expression)):
                    await asyncio.sleep(SCRAPE_INTERVAL_S / 4)
        except TimeoutError:
            raise AssertionError(f"{expression} never came out as wanted, but as {found}") from None
        return found

    async def scraped(self) -> int:
        """The time in Unix milliseconds of a scrape that began after this call, whose samples can
        be asked for."""
        [(_, before_s)] = await self.until(bool, "timestamp(up)")
        now_s = max(before_s, (await self.query("time()"))[0][1])
        [(_, scraped_s)] = await self.until(
            lambda found: bool(found) and found[0][1] > now_s, "timestamp(up)"
        )
        return round(scraped_s * 1000)


@contextlib.asynccontextmanager
async def scraping(
    directory: Path, metrics_address: str, rules: Path | None = None
) -> AsyncIterator[Prometheus]:
    """Prometheus, scraping `metrics_address` five times a second, ready."""
    binary = program("prometheus")
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {
            "scrape_interval": f"{int(SCRAPE_INTERVAL_S * 1000)}ms",
            "scrape_timeout": f"{int(SCRAPE_INTERVAL_S * 1000)}ms",
            "evaluation_interval": "1s",
        },
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [metrics_address]}]}],
        **({} if rules is None else {"rule_files": [str(rules)]}),
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary, f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address={address}",
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            server = Prometheus(f"http://{address}", session)
            async with guard():
                while not await _ready(server):
                    assert process.returncode is None, (directory / "prometheus.log").read_text()
                    await asyncio.sleep(0.02)
            yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # its data is thrown away, so there is nothing to finish
        await process.wait()


async def _ready(server: Prometheus) -> bool:
    try:
        async with server.session.get(f"{server.url}/-/ready") as response:
            return response.status == 200
    except (aiohttp.ClientError, json.JSONDecodeError):
        return False
