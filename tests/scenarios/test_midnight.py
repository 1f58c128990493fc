"""A month is closed in the moment of its end, while requests run over it, in zones where that is hard.

A request that began in the month keeps it open, wherever it is on its way.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.accounting.statements.kept import thawed
from proxy.accounting.statements.statement import MonthStatement
from tests.cli.test_desk import called
from tests.scenarios.test_month_end import ANSWER, KEYS, PRICE, Clock
from tests.scenarios.test_month_end import config as config_of
from tests.support.raw import Visit, raw_upstream
from tests.support.running import Running, running
from tests.support.waiting import guard, until

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}).encode()


class Sending:
    """A request whose body comes in two parts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def begin(cls, proxy: Running, part: int) -> Sending:
        host, _, port = proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS['alice']}"
            f"\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        writer.write(head.encode() + BODY[:part])
        await writer.drain()
        return cls(reader, writer)

    async def rest(self, part: int) -> None:
        self._writer.write(BODY[part:])
        await self._writer.drain()

    async def status(self) -> int:
        line = await self._reader.readline()
        self._writer.close()
        return int(line.split()[1])


async def close(tmp_path: Path, month: str) -> tuple[int, str]:
    result = await called(tmp_path, "statement", "close", month)
    return result.exit_code, result.stderr


def kept(proxy: Running, number: int) -> MonthStatement:
    found = proxy.server.services.reader.closed_statement(number)
    assert found is not None
    return thawed(found.document)


@pytest.mark.parametrize(
    ("zone", "month", "end"),
    [
        ("Asia/Kolkata", "2026-10", "2026-10-31 18:30:00"),
        ("America/Havana", "2026-10", "2026-11-01 04:00:00"),  # its midnight comes twice
        ("America/Asuncion", "2023-09", "2023-10-01 04:00:00"),  # its midnight does not come
    ],
)
async def test_what_began_in_the_month_keeps_it_open_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, month: str, end: str
) -> None:
    monkeypatch.chdir(tmp_path)
    clock = Clock("2020-01-01 00:00:00")
    ended = datetime.fromisoformat(f"{end}+00:00")
    assert ended.astimezone(ZoneInfo(zone)).day == 1

    def at(seconds: int) -> None:
        clock.set(datetime.fromtimestamp(ended.timestamp() + seconds, ZoneInfo("UTC")).isoformat())

    at(-60)
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    monkeypatch.setattr("proxy.cli.statement_close.time_ns", clock.time_ns)
    asked: list[Visit] = []
    go_on = asyncio.Event()

    async def upstream(visit: Visit) -> None:
        asked.append(visit)
        if len(asked) == 1:
            await go_on.wait()
        await visit.answer(ANSWER.replace(b"MODEL", b"gpt-4o"))

    config: dict[str, Any] = config_of("", PRICE)
    async with guard(), raw_upstream(upstream) as vendor:
        config = config_of(vendor.url, PRICE) | {"timezone": zone}
        async with running(tmp_path, config) as proxy:
            services = proxy.server.services
            at(-30)
            running_on = await Sending.begin(proxy, len(BODY))
            await until(lambda: asked)
            at(-20)
            arriving = await Sending.begin(proxy, 10)
            await until(lambda: services.arriving.count == 1)
            code, said = await close(tmp_path, month)
            assert code == 1 and "is over at" in said, said
            at(1)
            later = await Sending.begin(proxy, len(BODY))
            assert await later.status() == 200
            code, said = await close(tmp_path, month)
            assert code == 1 and "1 running request" in said, said
            assert "requests that began then are not sent to their upstream yet" in said
            go_on.set()
            assert await running_on.status() == 200
            await proxy.records(2)
            code, said = await close(tmp_path, month)
            assert code == 1 and "running" not in said and "not sent to their upstream" in said
            await arriving.rest(10)
            assert await arriving.status() == 200
            await proxy.records(3)
            await until(lambda: services.inflight.count == 0)
            code, said = await close(tmp_path, month)
            assert code == 0, said
            statement = kept(proxy, 1)
            [total] = [row for row in statement.rows if row["row"] == "total"]
            assert (total["requests"], statement.earlier, statement.forced) == (2, [], [])
            following = f"{ended:%Y-%m}" if ended.day < 15 else "2026-11"
            at(40 * 86_400)
            code, said = await close(tmp_path, following)
            assert code == 0, said
            [total] = [row for row in kept(proxy, 2).rows if row["row"] == "total"]
            assert (total["requests"], kept(proxy, 2).earlier) == (1, [])
