"""Work goes one after the other on one thread, and what gets no answer is cut off."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.ledger.postgresql.worker import Worker


async def test_work_goes_one_after_the_other_on_one_thread() -> None:
    worker = Worker(lambda: None)
    seen: list[tuple[int, str]] = []
    await asyncio.gather(
        *(
            worker.done(lambda n=n: seen.append((n, threading.current_thread().name)))
            for n in range(9)
        )
    )
    assert [n for n, _ in seen] == list(range(9))
    assert len({name for _, name in seen}) == 1
    await worker.close(lambda: None)


async def test_what_work_raises_is_the_callers() -> None:
    worker = Worker(lambda: None)
    with pytest.raises(ZeroDivisionError):
        await worker.done(lambda: 1 // 0)
    assert await worker.done(lambda: 1) == 1
    await worker.close(lambda: None)


async def test_what_takes_too_long_is_cut_off() -> None:
    ended = threading.Event()
    worker = Worker(ended.set, answer_max_s=0.01)
    assert await worker.done(ended.wait)
    await worker.close(lambda: None)


async def test_at_the_end_what_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.ledger.postgresql.worker.END_MAX_S", 0.01)
    begun, ended = threading.Event(), threading.Event()

    def hanging() -> None:
        begun.set()
        ended.wait()

    worker = Worker(ended.set)
    caller = asyncio.create_task(worker.done(hanging))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    closed: list[bool] = []
    await worker.close(lambda: closed.append(True))
    assert closed == [True]


async def test_at_the_end_what_cannot_be_cut_off_is_left_behind() -> None:
    """A connection that is being made cannot be ended from another thread."""
    begun, ends = threading.Event(), threading.Event()
    cuts: list[int] = []
    worker = Worker(lambda: cuts.append(1))

    def connecting() -> None:
        begun.set()
        ends.wait()

    caller = asyncio.create_task(worker.done(connecting))
    await asyncio.to_thread(begun.wait)
    await worker.close(lambda: cuts.append(-1))
    assert cuts and -1 not in cuts, "the last work has no thread"
    with pytest.raises(RuntimeError, match="shut down"):
        await asyncio.gather(worker.done(lambda: None), _set(ends))
    await caller


async def _set(ends: threading.Event) -> None:
    ends.set()


async def test_work_ends_though_its_caller_was_cancelled() -> None:
    begun, ends = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        ends.wait()
        raise ValueError("nobody hears of it")

    worker = Worker(lambda: None)
    caller = asyncio.create_task(worker.done(work))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    later = asyncio.create_task(worker.done(lambda: ends.is_set()))
    ends.set()
    assert await later
    await worker.close(lambda: None)
