"""Parts that run beside the requests: one that fails is told, one that is cancelled is not."""

from __future__ import annotations

import asyncio

import pytest

from proxy.server.tasks import Tasks
from tests.support.waiting import until


async def test_a_part_that_fails_is_told_by_name(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[str] = []
    tasks = Tasks(failed=lambda: failures.append("stop"))

    async def fail() -> None:
        raise RuntimeError("a bug")

    tasks.spawn(fail(), "counter")
    await until(lambda: failures)
    assert failures == ["stop"] and "the counter failed; the process stops" in caplog.text
    assert not tasks._tasks


async def test_cancelled_parts_and_those_that_end_stop_nothing() -> None:
    failures: list[str] = []
    tasks = Tasks(failed=lambda: failures.append("stop"))
    endless = tasks.spawn(asyncio.Event().wait(), "watch")
    await tasks.spawn(asyncio.sleep(0), "adoption")
    await tasks.cancel()
    await tasks.cancel()
    assert endless.cancelled() and not failures
