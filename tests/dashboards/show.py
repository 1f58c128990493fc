"""Real data for the documentation's pictures: some minutes of mixed load through a running proxy,
scraped by a real Prometheus whose data stays.

python -m tests.dashboards.show --minutes 12 --dir DIR      then tools/dashboards/pictures.py draws it
Three teams, five keys, six models on two scripted upstreams. In the middle one upstream fails for a
minute, and a batch job uses up its budget, which a receiver is told of.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from pathlib import Path

import aiohttp
import uvloop

from proxy.scripted_upstream import Script, serving
from tests.notify.receiver import hook
from tests.support.prometheus import scraping
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config, running
from tools.dashboards.files import TARGET

KEYS = {
    "chat-app": ("support", 0.35),
    "search": ("product", 0.3),
    "nightly-batch": ("research", 0.15),
    "notebook": ("research", 0.15),
    "ci": ("product", 0.05),
}
MODELS = {
    "gpt-4o": 0.3,
    "deepseek-chat": 0.25,
    "gpt-4o-mini": 0.2,
    "demo-reasoning": 0.12,
    "demo-silent": 0.05,
    "regional-7b": 0.08,
}
WORDS = 60
PER_S = 9.0


def settings(scripted: str, regional: str, told: str) -> dict[str, object]:
    return config(
        scripted,
        notify=[{"url": told}],
        upstreams={"vendor-a": {"base_url": scripted, "api_key": "sk-up", "price_source": "openai"}, "vendor-b": {"base_url": regional, "api_key": "sk-up"}},
        routes=[{"model": "regional-*", "upstream": "vendor-b"}, {"model": "*", "upstream": "vendor-a"}],
        prices=[
            {"model": "gpt-4o", "input": "250", "cached": "125", "output": "1000", "currency": "USD", "from": "2020-01-01"},
            {"model": "gpt-4o-mini", "input": "15", "cached": "7.5", "output": "60", "currency": "USD", "from": "2020-01-01"},
            {"model": "deepseek-chat", "input": "28", "cached": "2.8", "output": "42", "currency": "USD", "from": "2020-01-01"},
            {"model": "demo-reasoning", "input": "200", "output": "800", "currency": "USD", "from": "2020-01-01"},
            {"model": "regional-7b", "input": "10", "output": "20", "currency": "USD", "from": "2020-01-01"},
        ],
        teams={
            "support": {"markup": "0.1", "limits": [{"limit": "120 USD/month for gpt-*,deepseek-*,regional-*", "name": "support-month"}]}, "product": {"limits": [{"limit": "3_000_000 tokens/day", "name": "product-day"}]},
            "research": {"limits": [{"limit": "55_000 tokens/day", "name": "research-day", "warn_at": ["80%", "95%"]}]},
        },
        keys={name: {"team": team, "secret": f"sk-{name}", "limits": ["600 requests/minute", "20 concurrent"], "expires": "2027-03-01"} for name, (team, _) in KEYS.items()},
    )  # fmt: skip


class Regional:
    """A vendor that says what is left, and fails for a while."""

    def __init__(self, minutes: float) -> None:
        self.began_s, self.minutes, self.left = time.monotonic(), minutes, 3000

    async def __call__(self, visit: Visit) -> None:
        at = (time.monotonic() - self.began_s) / 60 / self.minutes
        await asyncio.sleep(random.uniform(0.1, 0.5))
        self.left = max(0, self.left - 1)
        if 0.5 < at < 0.6:
            await visit.answer(
                b'{"error":{"message":"overloaded","type":"server_error"}}',
                status="503 Service Unavailable",
                headers=("Content-Type: application/json",),
            )
            return
        usage = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (200, 80, 280)
        body = (
            b'{"id":"1","object":"chat.completion","model":"regional-7b","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":%s}'
            % usage
        )
        await visit.answer(
            body,
            headers=(
                "Content-Type: application/json",
                f"x-ratelimit-remaining-requests: {self.left}",
            ),
        )


async def drive(base_url: str, minutes: float, seed: int = 6) -> None:
    """Requests at a rate that goes up and down; the batch job begins at a third."""
    chance, began_s = random.Random(seed), time.monotonic()
    running_now: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        while (at := (time.monotonic() - began_s) / 60 / minutes) < 1:
            weights = {
                key: share * (5 if key == "nightly-batch" and at > 0.33 else 1)
                for key, (_, share) in KEYS.items()
            }
            [key], [model] = (
                chance.choices(list(weights), list(weights.values())),
                chance.choices(list(MODELS), list(MODELS.values())),
            )
            task = asyncio.create_task(
                ask(session, base_url, key if chance.random() > 0.01 else "old", model, chance)
            )
            running_now.add(task)
            task.add_done_callback(running_now.discard)
            await asyncio.sleep(chance.expovariate(PER_S * (1 + 0.5 * math.sin(at * 4 * math.pi))))
        await asyncio.gather(*running_now)


async def ask(
    session: aiohttp.ClientSession, base_url: str, key: str, model: str, chance: random.Random
) -> None:
    words = chance.randint(5, WORDS)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "word " * words}],
        "stream": chance.random() < 0.6 and model != "regional-7b",
    }
    if body["stream"] and model != "demo-silent" and chance.random() < 0.9:
        body["stream_options"] = {"include_usage": True}
    async with session.post(
        f"{base_url}/chat/completions", json=body, headers={"Authorization": f"Bearer sk-{key}"}
    ) as answer:
        if chance.random() < 0.02:
            await answer.content.readany()  # and leaves
        else:
            await answer.read()


async def show(directory: Path, minutes: float) -> None:
    rules = TARGET / "prometheus" / "tollkeeper.rules.yml"
    async with (
        serving(Script(pace_s=0.02)) as scripted,
        raw_upstream(Regional(minutes)) as regional,
        hook() as told,
        running(directory, settings(scripted.base_url, regional.url, told.url)) as proxy,
        scraping(directory / "prometheus", proxy.server.addresses.metrics, rules),
    ):
        await drive(proxy.base_url, minutes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--dir", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    uvloop.run(show(arguments.dir, arguments.minutes))


if __name__ == "__main__":
    main()
