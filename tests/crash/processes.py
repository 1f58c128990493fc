"""The real processes of a crash test: proxies, and the scripted upstream with its own synced
log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.effort import NO_AUTHORITIES
from tests.support.raw import RawClient
from tests.support.waiting import GUARD_S, guard

ROOT = Path(__file__).parents[2]
_GAUGES = (
    "tollkeeper_journal_open_exchanges",
    "tollkeeper_ledger_backlog_records",
    "tollkeeper_ledger_lag_seconds",
)


class NotDrained(AssertionError):
    """A restarted proxy did not book what was left in time."""


@dataclass
class Proxy:
    """One proxy process. `ended` holds its exit code, negative for a signal."""

    pid: int
    ended: asyncio.Future[int]
    started: asyncio.Future[None]
    address: str = ""
    metrics: str = ""
    stderr: str = ""  # of one that `served` started

    @property
    def dead(self) -> bool:
        return self.ended.done()

    async def is_ready(self) -> bool:
        """Waits until it serves; False if it ended instead."""
        async with guard():
            await asyncio.wait([self.started, self.ended], return_when=asyncio.FIRST_COMPLETED)
        return not self.dead

    def signal(self, number: int) -> None:
        if not self.dead:
            with contextlib.suppress(
                ProcessLookupError
            ):  # it ended by itself, and we have not been told yet
                os.kill(self.pid, number)

    async def kill(self) -> int:
        self.signal(signal.SIGKILL)
        return await self.ended

    async def ends_within(self, seconds: float) -> bool:
        return bool((await asyncio.wait([self.ended], timeout=seconds))[0])

    async def figures(self) -> dict[str, float]:
        """Its metrics without labels, by name."""
        client = await RawClient.connect(self.metrics)
        await client.send(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n")
        answer = await client.answer()
        await client.aclose()
        lines = (
            line.partition(" ")
            for line in answer.body.decode().splitlines()
            if not line.startswith("#")
        )
        return {name: float(value) for name, _, value in lines if "{" not in name}

    async def drained(self, within_s: float = GUARD_S) -> None:
        """Waits until no exchange is open and all is booked. Raises NotDrained."""
        figures: dict[str, float] = {}
        try:
            async with asyncio.timeout(within_s):
                while True:
                    figures = await self.figures()
                    if not any(figures[name] for name in _GAUGES):
                        return
                    await asyncio.sleep(0.01)  # another process works; the figures decide
        except TimeoutError:
            raise NotDrained(
                f"{within_s:g} s after its start: { {name: figures.get(name) for name in _GAUGES} }"
            ) from None


@dataclass
class Launcher:
    """Starts proxies through the forking launcher."""

    process: asyncio.subprocess.Process
    _forked: asyncio.Queue[Proxy] = field(default_factory=asyncio.Queue)
    _known: dict[int, Proxy] = field(default_factory=dict)

    async def start(self, config: Path, failpoints: str = "") -> Proxy:
        assert self.process.stdin is not None
        order = {
            "config": str(config),
            "failpoints": failpoints,
            "log": str(config.with_name("proxy.log")),
        }
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        forked = asyncio.ensure_future(self._forked.get())
        died = asyncio.ensure_future(self.process.wait())
        await asyncio.wait([forked, died], timeout=GUARD_S, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        assert forked.done(), "the launcher does not start; its stderr says why"
        return forked.result()

    async def listen(self) -> None:
        assert self.process.stdout is not None
        loop = asyncio.get_running_loop()
        early: list[list[str]] = []  # a child may speak before its fork is told
        async for line in self.process.stdout:
            words = line.decode().split()
            if words[0] == "forked":
                proxy = Proxy(int(words[1]), loop.create_future(), loop.create_future())
                self._known[proxy.pid] = proxy
                for told in [told for told in early if int(told[1]) == proxy.pid]:
                    early.remove(told)
                    self._tell(told)
                self._forked.put_nowait(proxy)
            elif int(words[1]) in self._known:
                self._tell(words)
            else:
                early.append(words)

    def _tell(self, words: list[str]) -> None:
        proxy = self._known[int(words[1])]
        if words[0] == "ready":
            proxy.address, proxy.metrics = words[2:]
            proxy.started.set_result(None)
        else:
            del self._known[proxy.pid]
            proxy.ended.set_result(int(words[2]))


@contextlib.asynccontextmanager
async def launcher() -> AsyncIterator[Launcher]:
    """A launcher; its proxies die with it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("launcher.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_environ(),
    )
    one = Launcher(process)
    listening = asyncio.create_task(one.listen())
    try:
        yield one
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await listening


@contextlib.asynccontextmanager
async def served(config: Path) -> AsyncIterator[Proxy]:
    """`python -m proxy serve -c CONFIG`, once it is ready or has ended; killed at the end of the
    context if it still runs."""
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy",
        "serve",
        "-c",
        str(config),
        stderr=asyncio.subprocess.PIPE,
        cwd=config.parent,
        env=_environ(),
    )
    proxy = Proxy(process.pid, loop.create_future(), loop.create_future())
    listening = asyncio.create_task(_follow(process, proxy))
    try:
        await proxy.is_ready()
        yield proxy
    finally:
        await proxy.kill()
        await listening


async def _follow(process: asyncio.subprocess.Process, proxy: Proxy) -> None:
    """Reads the log of a process to its end."""
    assert process.stderr is not None
    async for line in process.stderr:
        proxy.stderr += line.decode()
        if b'"message":"ready"' in line:
            fields = json.loads(line)
            proxy.address, proxy.metrics = (
                fields[name].removeprefix("http://").rpartition("/")[0]
                for name in ("base_url", "metrics")
            )
            proxy.started.set_result(None)
    proxy.ended.set_result(await process.wait())


@contextlib.asynccontextmanager
async def upstream(log: Path, pace_s: float = 0.0) -> AsyncIterator[str]:
    """The scripted upstream as a process of its own; yields its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-m",
        "proxy.scripted_upstream",
        "--port",
        "0",
        "--pace",
        str(pace_s),
        "--log",
        str(log),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environ(),
    )
    assert process.stdout is not None
    try:
        async with guard():
            line = (await process.stdout.readline()).decode()
        yield line.split()[-1].removeprefix("http://").removesuffix("/v1")
    finally:
        process.kill()  # its log is synced line by line
        await process.wait()


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **NO_AUTHORITIES}
