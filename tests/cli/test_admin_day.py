"""`docs/admin-day.md`: its lines run in their order on a proxy with callers at work, and print what
stands there."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import json
import re
import shlex
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.admin.test_tenants import ANSWER, CALL, Desk, desk_of
from tests.cli.test_desk import called, secret_of, told
from tests.support.raw import Visit
from tests.support.waiting import guard

PAGE = Path(__file__).parents[2] / "docs" / "admin-day.md"
BLOCKS = re.compile(r"```(sh|text)\n(.*?)```\n", re.DOTALL)
TEAMS = range(1, 41)
PRICES = [{"model": "m-*", "input": "1000", "output": "1000"}]
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
ROTATION, LEAK = "tollkeeper key rotate", "tollkeeper key suspend"


def secret_there(team: int, number: int) -> str:
    return f"sk-there-{team:02d}-{number}-q7Zt3Kx9vB2mW5cR"


def export() -> dict[str, object]:
    """What LiteLLM told of forty teams with three keys each."""
    return {
        "teams": [
            {"team_id": f"t{team}", "team_alias": f"team-{team}", "max_budget": 10 * team, "budget_duration": "30d", "blocked": team == 40}
            for team in TEAMS
        ],
        "keys": [
            {
                "token": hashlib.sha256(secret_there(team, number).encode()).hexdigest(),
                "key_alias": f"team-{team}-{number}", "team_id": f"t{team}", "spend": 0.5, "rpm_limit": 600,
            }
            for team in TEAMS
            for number in (1, 2, 3)
        ],
    }  # fmt: skip


async def upstream(visit: Visit) -> None:
    """Answers at once; a stream goes on until somebody ends it."""
    if b'"stream"' not in visit.body:
        await visit.answer(ANSWER)
        return
    await visit.stream(CHUNK, end=False)
    await visit.reader.read()


class Calls:
    """Requests with one secret, and when each was sent, answered and with what status."""

    def __init__(self, admin: Desk, secret: str) -> None:
        self._admin = admin
        self._secret = secret
        self.seen: list[tuple[float, float, int]] = []
        self.stop = False

    async def run(self) -> None:
        while not self.stop:
            sent_s = time.time()
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    f"{self._admin.proxy.base_url}/chat/completions",
                    json={**CALL, "model": "m-1"},
                    headers={
                        "Authorization": f"Bearer {self._secret}",
                        "x-tollkeeper-tags": "feature=search",
                    },
                ) as response,
            ):
                await response.read()
            self.seen.append((sent_s, time.time(), response.status))


@contextlib.asynccontextmanager
async def at_work(admin: Desk, secret: str) -> AsyncIterator[Calls]:
    calls = Calls(admin, secret)
    tasks = [asyncio.create_task(calls.run()) for _ in range(3)]
    try:
        yield calls
    finally:
        calls.stop = True
        await asyncio.gather(*tasks)


async def stream(admin: Desk, secret: str, begun: asyncio.Event) -> bytes:
    """All that a stream gives; `begun` is set at its first bytes."""
    body = {"model": "m-1", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.post(
            f"{admin.proxy.base_url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {secret}"},
        ) as response,
    ):
        first = await response.content.readany()
        begun.set()
        return first + await response.content.read()


def looks(printed: str) -> str:
    """What is printed, without what is another one each time, and with one blank between cells."""
    for pattern, shown in (
        (r"sk-tk-\w+", "sk-tk-…"),
        (r"\(id [0-9a-f-]{36}\)", "(id …)"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2026-12-01 09:00 UTC"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-12-01T09:00:00Z"),
        (r"(?<= )\d{4}-\d\d(?= |$)", "2026-12"),
        (rf"UTC +{re.escape(getpass.getuser())} ", "UTC ann "),
        (r" +", " "),
        (r"--+", "--"),
    ):
        printed = re.sub(pattern, shown, printed, flags=re.MULTILINE)
    return "\n".join(line.strip() for line in printed.splitlines())


def stands_in(shown: str, printed: str) -> bool:
    """Whether it is printed so, with anything in place of a line with an ellipsis alone."""
    at = 0
    for part in re.split(r"^…$", looks(shown), flags=re.MULTILINE):
        found = printed.find(part.strip(), at)
        if found < 0:
            return False
        at = found + len(part.strip())
    return True


async def test_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "export.json").write_text(json.dumps(export()))
    printed, secrets = "", {}
    attribution = {"attribution": {"tags": {"keep": ["feature"]}}}
    async with desk_of(upstream, tmp_path, prices=PRICES, **attribution) as admin:
        for kind, text in BLOCKS.findall(PAGE.read_text()):
            if kind == "text":
                assert stands_in(text, looks(printed)), f"{text}\n--- is not ---\n{looks(printed)}"
                continue
            printed = ""
            for line in text.splitlines():
                words = shlex.split(line)[1:]
                if line.startswith(ROTATION):
                    printed += await rotated(admin, tmp_path, words, secrets["lead"])
                elif line.startswith(LEAK):
                    printed += await cut(admin, tmp_path, words, secrets["ci-7"])
                    assert await admin.call(secrets["ci-8"]) == (200, "")
                else:
                    if words == ["limit", "refusals"]:
                        await refusals_booked(admin, {"lead", "team-40-1", "ci-7"})
                    result = await called(tmp_path, *words)
                    assert result.exit_code == 0, result.output
                    printed += result.stdout
                    found = re.findall(r"^(\S+) +(sk-tk-\w+)$", result.stdout, re.MULTILINE)
                    secrets |= dict(found)
                if words[1] == "import" and "--dry-run" not in words:
                    await work_of_the_teams(admin)


async def refusals_booked(admin: Desk, keys: set[str]) -> None:
    """Wait until the book has refusals of these keys: they come with a later batch."""
    async with guard():
        while keys - {row["key_id"] for row in admin.proxy.query("SELECT key_id FROM refusals")}:
            await asyncio.sleep(0.01)


async def work_of_the_teams(admin: Desk) -> None:
    statuses = [await admin.call(secret_there(team, 1)) for team in (1, 2, 3, 40)]
    assert statuses == [(200, "")] * 3 + [(401, "key_suspended")]


async def rotated(admin: Desk, directory: Path, words: list[str], old: str) -> str:
    async with at_work(admin, old) as calls, guard():
        result = await called(directory, *words)
        new = secret_of(result.stdout)
        shown = await told(directory, "key", "show", "lead")
        [until_ms] = [one["until_ms"] for one in shown["secrets"] if one["until_ms"]]
        while not any(sent_s * 1000 > until_ms + 1 for sent_s, _, _ in calls.seen):
            assert await admin.call(new) == (200, "")
    in_grace = [status for _, ended_s, status in calls.seen if ended_s * 1000 < until_ms]
    after_it = [status for sent_s, _, status in calls.seen if sent_s * 1000 > until_ms + 1]
    assert set(in_grace) == {200} and set(after_it) == {401}
    return str(result.stdout)


async def cut(admin: Desk, directory: Path, words: list[str], secret: str) -> str:
    begun = [asyncio.Event() for _ in range(3)]
    streams = [asyncio.create_task(stream(admin, secret, event)) for event in begun]
    async with guard():
        await asyncio.gather(*(event.wait() for event in begun))
        result = await called(directory, *words)
        for body in await asyncio.gather(*streams):
            assert body.startswith(CHUNK) and b"key_suspended" in body
    assert await admin.call(secret) == (401, "key_suspended")
    return str(result.stdout)
