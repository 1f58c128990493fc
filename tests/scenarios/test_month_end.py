"""`docs/month-end.md`: its lines run in their order, on a proxy whose clock goes over a month's end.

What stands there is what they print, but for names, times and digests. After a change of what is
printed, `WRITE_PAGE=1` before this test writes the page anew.
"""

from __future__ import annotations

import csv
import getpass
import json
import os
import re
import shlex
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from proxy.accounting.statements.kept import thawed
from proxy.core.money import decimal
from proxy.core.records.checkpoints import signature_of
from proxy.ledger.signing import is_signed
from tests.cli.test_desk import called
from tests.support.raw import Visit, raw_upstream
from tests.support.running import Running, running
from tests.support.waiting import guard

PAGE = Path(__file__).parents[2] / "docs" / "month-end.md"
BLOCKS = re.compile(r"```(sh|text)\n(.*?)```\n", re.DOTALL)
KEYS = {"alice": "sk-alice-q7Zt3Kx9vB2mW5cR", "bob": "sk-bob-9Lw4Jd8nT6yH1sPz"}
PRICE = {"model": "gpt-4o", "upstream": "openai", "input": "2.50", "output": "10"}
ANSWER = (
    b'{"id":"x","model":"MODEL","choices":[{"index":0,"finish_reason":"stop","message":{"role":'
    b'"assistant","content":"so"}}],"usage":{"prompt_tokens":100000,"completion_tokens":20000,'
    b'"total_tokens":120000}}'
)
TRAFFIC = [("alice", "gpt-4o")] * 3 + [("bob", "gpt-4o")] * 2 + [("alice", "gpt-4o-mini")]
BILL = """date,model,requests,input tokens,output tokens,cost
2026-11-20,gpt-4o,6,600000,120000,2.70
2026-11-20,gpt-4o-mini,1,100000,20000,0.027
"""


class Clock:
    """The system's clock, which stands where the story is and goes on from there."""

    def __init__(self, at: str) -> None:
        self.set(at)

    def set(self, at: str) -> None:
        self._begun_ns = time.monotonic_ns()
        self._at_ns = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 10**9

    def time_ns(self) -> int:
        return self._at_ns + time.monotonic_ns() - self._begun_ns


def config(upstream_url: str, *prices: dict[str, str]) -> dict[str, object]:
    return {
        "listen": "127.0.0.1:0",
        "metrics": {"listen": "127.0.0.1:0"},
        "drain": {"delay": "0s", "timeout": "10m"},
        "upstreams": {"openai": {"base_url": upstream_url, "api_key": "sk-upstream"}},
        "routes": [{"model": "*", "upstream": "openai"}],
        "teams": {"research": {"markup": "0.05"}, "lab": {}},
        "keys": {
            "alice": {"team": "research", "secret": KEYS["alice"]},
            "bob": {"team": "lab", "secret": KEYS["bob"]},
        },
        "prices": list(prices),
    }


async def upstream(visit: Visit) -> None:
    await visit.answer(ANSWER.replace(b"MODEL", json.loads(visit.body)["model"].encode()))


async def use(proxy: Running) -> None:
    async with aiohttp.ClientSession() as session:
        for key, model in TRAFFIC:
            async with session.post(
                f"{proxy.base_url}/chat/completions",
                json={"model": model, "messages": [{"role": "user", "content": "x"}]},
                headers={"Authorization": f"Bearer {KEYS[key]}"},
            ) as response:
                assert response.status == 200, await response.text()
    await proxy.records(len(TRAFFIC))


def looks(printed: str) -> str:
    """What is printed, without what is another one each time, and with one blank between cells."""
    for pattern, shown in (
        (r"[0-9a-f]{64}", "9f2c…"),
        (r"\b[0-9a-f]{16}\b", "1c0e5a…"),
        (r"(?<=The ledger )\S+", "ledger.db"),
        (rf"(?<=by ){re.escape(getpass.getuser())}\b", "ann"),
        (r"\d\d:\d\d:\d\d UTC", "00:05:00 UTC"),
        # How many rows and seals each part has is the ledger's own business.
        (r"part +rows +seals +wrong\n(?:.*\n)+?(?=Everything)", "…\n"),
        (r"tollkeeper/\S+|(?<=\n)[\w+/]{43}=|\u2014 \S+ \S+", "…"),
    ):
        printed = re.sub(pattern, shown, printed)
    return printed


def without_width(text: str) -> list[str]:
    """Its lines, whatever the width of columns is."""
    return [re.sub(r"-+", "-", re.sub(r" +", " ", line)).strip() for line in text.splitlines()]


async def test_the_month_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    clock = Clock("2026-11-20 12:00:00")
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    for module in ("statement_close", "ledger_adjust"):
        monkeypatch.setattr(f"proxy.cli.{module}.time_ns", clock.time_ns)
    (tmp_path / "bill.csv").write_text(BILL)
    page, printed, wrong = PAGE.read_text(), "", []
    async with (
        guard(),
        raw_upstream(upstream) as vendor,
        running(tmp_path, config(vendor.url, PRICE)) as proxy,
    ):
        await use(proxy)
        for kind, text in BLOCKS.findall(page):
            if kind == "text":
                if without_width(looks(printed)) != without_width(text):
                    wrong.append(f"{text}\n--- is not ---\n{looks(printed)}")
                    page = page.replace(f"```text\n{text}```", f"```text\n{looks(printed)}```", 1)
                continue
            printed = ""
            for line in text.splitlines():
                printed += await said(tmp_path, proxy, clock, vendor.url, line)
        await held(tmp_path, proxy)
    if os.environ.get("WRITE_PAGE"):
        PAGE.write_text(page)
    assert not wrong, "\n".join(wrong)


async def said(tmp_path: Path, proxy: Running, clock: Clock, url: str, line: str) -> str:
    """What the line prints, after what comes before it in the story."""
    words = shlex.split(line)[1:]
    if words[1] == "rerate":
        mini = PRICE | {"model": "gpt-4o-mini", "input": "0.15", "output": "0.60"}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(url, PRICE, mini)))
        await proxy.server.reload()
    if words[1] == "close":
        clock.set("2026-12-01 00:05:00")
    result = await called(tmp_path, *words)
    # The bill has a request that the ledger does not have: the story goes on from there.
    assert result.exit_code == (3 if words[1] == "reconcile" else 0), result.output
    return str(result.stdout)


async def held(tmp_path: Path, proxy: Running) -> None:
    """The statement, the export and the ledger say the same, and a record of it can be proved."""
    services = proxy.server.services
    kept = services.reader.closed_statement(1)
    assert kept is not None
    [due] = thawed(kept.document).due
    with (tmp_path / "november.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, nano in (("cost", due.cost_nano), ("charge", due.charge_nano)):
        assert sum(Fraction(row[name]) for row in rows if row[name]) == Fraction(decimal(nano or 0))
    assert len(rows) == kept.closing.through
    # The traffic was booked in November, so that November can be sealed.
    proof: dict[str, Any] = json.loads(
        (await called(tmp_path, "record", "proof", rows[0]["id"])).stdout
    )
    text, signature = signature_of(proof["checkpoint"])
    assert is_signed(text, signature, bytes.fromhex(proof["public_key"]))
    assert proof["public_key"] == kept.public_key.hex(), "one key signs both"
    assert (proof["month"], rows[0]["id"] in proof["leaf"]) == ("2026-11", True)
