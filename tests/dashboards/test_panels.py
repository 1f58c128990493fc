"""Every expression on a real Prometheus that scrapes a running proxy; and for a known event in its
load, the numbers that the panels show.

The window of every rate is made to begin and to end at a scrape: there Prometheus has nothing to
extrapolate, and an increase is exactly what was counted.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
import pytest_asyncio

from proxy.ledger import connect_reader
from proxy.metrics import spend
from proxy.scripted_upstream import Script, serving
from tests.support.prometheus import JOB, Prometheus, Vector, scraping
from tests.support.raw import Visit, raw_upstream
from tests.support.running import KEY, Running, config, running
from tools.dashboards import pictures
from tools.dashboards.files import DASHBOARDS, TARGET
from tools.dashboards.grafana import Panel, scoped
from tools.dashboards.rules import ALERTS, RECORDINGS

pytestmark = [
    pytest.mark.whole,
    pytest.mark.xdist_group("panels"),
    pytest.mark.asyncio(loop_scope="module"),
]

BOB = "sk-bob"
JSON_TYPE = "Content-Type: application/json"
ANSWER = b'{"id":"1","object":"chat.completion","model":"%s","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%s}}'
# The load: what is sent once before the event, and how often in it. `metered` goes to an upstream
# that states 100 and 40 tokens, 25 of the input from its cache.
EVENT = {
    "metered": 7,
    "demo-reports": 5,
    "demo-silent": 4,
    "demo-error-429": 3,
    "demo-error-500": 2,
    "demo-error-401": 2,
    "nowhere": 3,
    "substituted": 2,
    "greedy": 2,
    "wrong key": 6,
    "bob": 4,
    "leaves": 2,
}
FORWARDED = (
    7 + 5 + 4 + 3 + 2 + 2 + 2 + 1 + 2
)  # all but those that no upstream has seen; `greedy` is found out at the first of two
FORWARDED_BEFORE = 10  # one of each, and bob's first
EMPTY = {
    "Error of the estimates": "the estimates here go by bytes, and are not compared",
    "Free space in a day": "a machine's disk is nobody's business here",
    "Notices": "nobody is told of anything here",
}
MICRO = 10**-6
COST = (
    7 * (75 * 2 + 25 * 1 + 40 * 10) * MICRO
)  # of `metered`, per million: input 2, cached 1, output 10
CHARGE = COST * 1.5


def settings(scripted: str, metered: str) -> dict[str, object]:
    return config(
        scripted,
        upstreams={
            "mock": {"base_url": scripted, "api_key": "sk-up"},
            "metered": {"base_url": metered, "api_key": "sk-up", "price_source": "openai"},
            "dead": {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk-up"},
        },
        routes=[{"model": "nowhere", "upstream": "dead"}, {"model": "demo-*", "upstream": "mock"}, {"model": "*", "upstream": "metered"}],
        prices=[{"model": "metered", "input": "2", "cached": "1", "output": "10", "currency": "USD"}],
        teams={"research": {"markup": "0.5", "limits": [{"limit": "100 USD/month for metered", "name": "research-month"}, {"limit": "10_000 tokens/day", "name": "research-day", "enforce": "warn", "warn_at": ["1%", "20%"]}]}, "ops": {}},
        keys={
            "alice": {"team": "research", "secret": KEY, "expires": "2099-01-01", "limits": ["6000 requests/minute", "8 concurrent", {"limit": "9_000_000 tokens/day per end_user", "name": "each-user"}, {"limit": "100_000 output_tokens/day for greedy", "enforce": "strict", "name": "hard"}]},
            "bob": {"team": "ops", "secret": BOB, "limits": ["1 requests/day"]},
        },
    )  # fmt: skip


served: Counter[bytes] = Counter()


async def answer(visit: Visit) -> None:
    """Usage as it stands above; another model's name to `substituted`; to `greedy`, but for its
    first, far more output than its cap."""
    [model] = re.findall(rb'"model":\s*"([^"]+)"', visit.body)
    served[model] += 1
    name = b"another" if model == b"substituted" else model
    output = 90 if model == b"greedy" and served[model] > 1 else 40
    body = ANSWER % (
        name,
        100,
        output,
        100 + output,
        b',"prompt_tokens_details":{"cached_tokens":25}',
    )
    await visit.answer(
        body,
        headers=(
            JSON_TYPE,
            "x-ratelimit-remaining-requests: 59",
            "x-ratelimit-remaining-tokens: 14900",
        ),
    )


@dataclass
class Load:
    """Clients of one proxy."""

    proxy: Running
    session: aiohttp.ClientSession

    async def send(self, kind: str) -> None:
        if kind == "leaves":
            await self.leave()
            return
        key = {"wrong key": "sk-nobody", "bob": BOB}.get(kind, KEY)
        body: dict[str, object] = {
            "model": "metered" if kind in ("wrong key", "bob") else kind,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
        }
        if kind in ("demo-reports", "demo-silent"):
            body["stream"] = True
        if kind == "greedy":
            body["max_tokens"] = 50
        async with self.session.post(
            f"{self.proxy.base_url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
        ) as response:
            await response.read()

    async def leave(self) -> None:
        """Goes after the first piece of a stream that would not end for long."""
        body = {
            "model": "demo-slow:600",
            "stream": True,
            "messages": [{"role": "user", "content": "A story of many words."}],
        }
        response = await self.session.post(
            f"{self.proxy.base_url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
        )
        await response.content.readany()
        response.close()


@dataclass
class Shown:
    """A Prometheus at one moment, and the panels on it."""

    prometheus: Prometheus
    proxy: Running
    at_ms: int
    window_ms: int

    async def ask(self, expression: str) -> Vector:
        for name, value in {
            "$__rate_interval": f"{self.window_ms}ms",
            "$__range": f"{self.window_ms}ms",
            "$job": JOB,
            "$instance": ".+",
        }.items():
            expression = expression.replace(name, value)
        return await self.prometheus.query(re.sub(r"\$\w+", ".*", expression), self.at_ms)

    async def panel(self, title: str, of: str = "", query: int = 0) -> dict[str, float]:
        """The values of one panel by their legend; `of` tells panels of one title apart."""
        [panel] = [
            panel
            for dashboard in DASHBOARDS
            if of in dashboard.uid
            for panel in dashboard.panels
            if panel.title == title
        ]
        asked = panel.queries[query]
        return {
            self.legend(panel, query, labels): value
            for labels, value in await self.ask(scoped(asked.expression))
        }

    def legend(self, panel: Panel, query: int, labels: dict[str, str]) -> str:
        text = panel.queries[query].legend
        return (
            re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), text)
            if panel.kind != "table"
            else " ".join(value for _, value in sorted(labels.items()))
        )

    def per_s(self, count: float) -> float:
        return pytest.approx(count * 1000 / self.window_ms, rel=1e-9)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(tmp_path_factory) -> AsyncIterator[Shown]:
    """One proxy, one Prometheus, one event: all tests of this module look at the same."""
    directory: Path = tmp_path_factory.mktemp("panels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            spend, "KEEP_S", 0.0
        )  # else an event is in the gauges of the period up to 15 s later
        async with (
            serving(Script()) as scripted,
            raw_upstream(answer) as metered,
            running(directory, settings(scripted.base_url, metered.url)) as proxy,
            aiohttp.ClientSession() as session,
        ):
            load = Load(proxy, session)
            for kind in EVENT:
                await load.send(kind)
            await load.send("bob")  # of which the first was let through
            await proxy.records(FORWARDED_BEFORE)
            async with scraping(
                directory / "prometheus",
                proxy.server.addresses.metrics,
                TARGET / "prometheus" / "tollkeeper.rules.yml",
            ) as prometheus:
                since_ms = await prometheus.scraped()
                for kind, count in EVENT.items():
                    for _ in range(count):
                        await load.send(kind)
                await proxy.records(FORWARDED_BEFORE + FORWARDED)
                await prometheus.until(
                    lambda found: bool(found) and found[0][1] == 1,
                    'tollkeeper_strict_breaches_total{limit="hard"}',
                )  # told once a second
                at_ms = await prometheus.scraped()
                yield Shown(prometheus, proxy, at_ms, at_ms - since_ms)


async def test_every_panel_shows_something(shown):
    wrong = []
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            # Of a panel with several, some only show what goes wrong: those are evaluated all the
            # same.
            found = [await shown.ask(scoped(query.expression)) for query in panel.queries]
            if not any(found) and panel.title not in EMPTY:
                wrong.append(
                    f"{dashboard.title}: {panel.title}: {[query.expression for query in panel.queries]}"
                )
    assert not wrong, "no series: " + "\n".join(wrong)


async def test_every_rule_is_evaluated_without_an_error(shown):
    await shown.prometheus.until(
        lambda found: found[0][1] > 0, "sum(prometheus_rule_evaluations_total) or vector(1)"
    )
    for rule in (*RECORDINGS, *ALERTS):
        await shown.ask(rule.expression)
    groups = (await shown.prometheus.get("rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RECORDINGS) + len(ALERTS)
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []


async def test_every_variable_offers_values(shown):
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            found = await shown.ask(f"count by ({variable.name}) ({scoped(variable.metric)})")
            assert [labels for labels, _ in found if variable.name in labels], (
                f"{dashboard.title}: {variable.name}"
            )


async def test_the_pictures_are_drawn_of_it(shown):
    """Well-formed, with every panel, and data in all but those that have none."""
    source = pictures.Source(
        shown.prometheus.url, shown.at_ms / 1000 - 2, shown.at_ms / 1000, rate_s=10
    )
    for dashboard in DASHBOARDS:
        drawn = ElementTree.fromstring(await asyncio.to_thread(pictures.picture, dashboard, source))
        said = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert {panel.title for panel in dashboard.panels} <= set(said)
        assert said.count("no data") <= 3, dashboard.title


async def test_traffic(shown):
    panel, per_s = shown.panel, shown.per_s
    assert await panel("Requests") == {"": per_s(FORWARDED)}
    good = 7 + 5 + 4 + 2 + 1 + 2
    assert await panel("Answered with success") == {"": pytest.approx(good / FORWARDED)}
    assert await panel("By status") == {
        "200": per_s(good),
        "429": per_s(3),
        "500": per_s(2),
        "401": per_s(2),
    }
    assert await panel("By ending") == {
        "completed": per_s(good - 2),
        "client_closed": per_s(2),
        "rejected_upstream": per_s(3 + 2 + 2),
    }
    assert await panel("By model", "traffic") == {
        "metered": per_s(7), "demo-reports": per_s(5), "demo-silent": per_s(4), "substituted": per_s(2), "greedy": per_s(1), "demo-slow:600": per_s(2), "other": per_s(3 + 2 + 2),
    }  # fmt: skip
    sent = {
        code: value
        for name, value in (await panel("What clients are sent")).items()
        for code in [name.split()[-1]]
    }
    assert sent == {
        "200": per_s(good),
        "429": per_s(3 + 4),
        "500": per_s(2),
        "502": per_s(2 + 3),
        "401": per_s(6),
        "400": 0,
    }, "a first 400 is a series that Prometheus has not seen before"
    failures = {
        name: value for name, value in (await panel("Failures", "traffic")).items() if value
    }
    assert failures == {"dead connect": per_s(3), "mock credentials": per_s(2)}
    assert await panel("Share of failed requests") == {
        "mock": pytest.approx(2 / (5 + 4 + 3 + 2 + 2 + 2))
    }
    assert (await panel("Limited by the upstream"))["mock"] == per_s(3)
    assert await panel("Headroom") == {
        "metered requests": 59,
        "metered tokens": 14900,
        "mock requests": 0,
    }
    assert await panel("Clients that left") == {"mock stop": per_s(2)}
    tokens = {
        asked: (await panel("Tokens by kind", "traffic", number))
        for number, asked in enumerate(("input", "output", "cached"))
    }
    assert tokens["cached"] == {"cached input": per_s((7 + 2 + 1) * 25)}
    rows = shown.proxy.rows()[FORWARDED_BEFORE:]
    assert tokens["input"] == {"input": per_s(sum(row["input_tokens"] or 0 for row in rows))}
    assert tokens["output"] == {"output": per_s(sum(row["output_tokens"] or 0 for row in rows))}


async def test_spend(shown):
    panel, per_s = shown.panel, shown.per_s
    assert {
        name: value
        for name, value in (await panel("Charge an hour, by team")).items()
        if "USD" in name
    } == {"research USD": pytest.approx(CHARGE * 3600_000 / shown.window_ms), "ops USD": 0}
    assert await panel("Cost and charge an hour") == {
        "cost USD": pytest.approx(COST * 3600_000 / shown.window_ms)
    }
    assert await panel("Cost and charge an hour", query=1) == {
        "charge USD": pytest.approx(CHARGE * 3600_000 / shown.window_ms)
    }
    assert await panel("Input from the cache") == {
        "": pytest.approx(
            250 / sum(row["input_tokens"] or 0 for row in shown.proxy.rows()[FORWARDED_BEFORE:])
        )
    }
    sources = {
        name: value for name, value in (await panel("Where counts come from")).items() if value
    }
    assert sources == {
        "reported": per_s(7 + 5 + 2 + 1),
        "estimated": per_s(4),
        "partial": per_s(2),
        "none": per_s(3 + 2 + 2),
    }
    assert (await panel("Stated by the vendors"))[""] == pytest.approx(15 / 19), (
        "4 of `demo-silent`; neither errors nor answers that were broken off count"
    )
    assert await panel("Answered by another model") == {"substituted": per_s(2)}
    # Before the event: one of `metered` by alice, and bob's one.
    zone = shown.proxy.server.snapshot.zone
    used = connect_reader("sqlite:ledger.db", shown.proxy.data_dir).usage(
        ("team",), None, None, zone
    )
    assert await panel("Without a price") == {
        "": sum(row["unpriced_requests"] or 0 for row in used)
    }
    charged = sum(row["charge_nano"] or 0 for row in used)
    assert charged == round((CHARGE + CHARGE / 7 + COST / 7) * 10**9)
    assert (
        await panel("Month to date")
        == await panel("Today")
        == {"USD": pytest.approx(charged / 10**9)}
    )
    tokens: dict[str, int] = {}
    for row in used:
        tokens[row["team"]] = (
            tokens.get(row["team"], 0) + (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
        )
    assert await panel("Tokens of teams, today") == tokens
    assert (await panel("Charge of keys, in the period shown"))[
        "USD alice research"
    ] == pytest.approx(CHARGE)


async def test_limits(shown):
    panel, per_s = shown.panel, shown.per_s
    assert await panel("Refused by limits") == {"": per_s(4)}
    assert {name: value for name, value in (await panel("Refusals by reason")).items() if value} == {
        "insufficient_quota": per_s(4), "invalid_api_key": per_s(6), "upstream_unreachable": per_s(3),
    }  # fmt: skip
    assert await panel("Beyond a strict bound") == {"": 1}
    fullest = await panel("Fullest limits")
    rows = shown.proxy.rows()
    used = sum(
        (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
        for row in rows
        if row["key_id"] == "alice"
    )
    assert fullest["research-day"] == pytest.approx(used / 10_000)
    assert fullest["key:bob/requests/day"] == 1
    assert fullest["research-month"] == pytest.approx(CHARGE * 8 / 7 / 100)
    assert await panel("Limits at 80 % and more") == await panel("Budgets used up") == {"": 1}
    assert await panel("Warnings") == {"research-day 0.2": 1}
    lacking = await panel("Budgets that run out before they reset")
    assert lacking["key:bob/requests/day"] == 1 == max(lacking.values()), (
        "the longest bar is that of the budget that is used up"
    )


async def test_ledger_health(shown):
    panel = shown.panel
    for title in ("Waiting for the ledger", "Lag", "Journal failures", "Recovered"):
        [*values] = [
            value
            for dashboard in DASHBOARDS
            if "ledger" in dashboard.uid
            for each in dashboard.panels
            if each.title == title
            for _, value in await shown.ask(scoped(each.queries[0].expression))
        ]
        assert set(values) == {0}, title
    assert await panel("Last reload") == {"": 1}
    assert list((await panel("Open exchanges")).values()) == [0]
    assert (await panel("Keys that expire"))["alice"] > 86400 * 365
    assert await panel("Not stated by the vendor") == {"metered": 0, "mock": pytest.approx(4 / 9)}
