"""Work on threads that end with the process, whatever they wait for."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from proxy.system.daemon_threads import DaemonThreads
from tests.support.waiting import GUARD_S

HANGING = """
import asyncio, threading
from proxy.ledger.asking import answer_of
from proxy.ledger.postgresql.worker import Worker

async def main():
    begun, never = threading.Event(), threading.Event()
    def hanging():
        begun.set()
        never.wait()
    async def of_worker():
        await worker.done(hanging)
    worker = Worker(lambda: None)
    asking = [asyncio.create_task(answer_of(never.wait)), asyncio.create_task(of_worker())]
    await asyncio.to_thread(begun.wait)
    for one in asking:
        one.cancel()
    await worker.close(lambda: None)
    print("ended", flush=True)

asyncio.run(main())
"""


def test_what_work_returns_or_raises_is_in_its_future() -> None:
    threads = DaemonThreads(2, "t")
    assert threads.submit(int, "11", base=2).result() == 3
    with pytest.raises(ValueError, match="invalid literal"):
        threads.submit(int, "x").result()
    threads.shutdown()


def test_at_most_so_many_are_at_work_and_an_idle_one_is_used_again() -> None:
    threads = DaemonThreads(2, "t")
    both, go_on = threading.Barrier(3), threading.Event()

    def work() -> str:
        if not go_on.is_set():
            both.wait()
            go_on.wait()
        return threading.current_thread().name

    busy = [threads.submit(work) for _ in range(2)]
    both.wait()
    third: Future[str] = threads.submit(work)
    assert third.cancel(), "it has not begun"
    go_on.set()
    names = {one.result() for one in busy}
    assert names == {"t_1", "t_2"}
    assert {threads.submit(work).result() for _ in range(9)} <= names
    threads.shutdown()


def test_after_the_shutdown_what_was_submitted_is_done_and_no_more_is_taken() -> None:
    threads = DaemonThreads(1, "t")
    go_on = threading.Event()
    first, second = threads.submit(go_on.wait), threads.submit(int, "7")
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(int)
    go_on.set()
    assert (first.result(), second.result()) == (True, 7)


def test_a_process_ends_though_the_ledger_leaves_a_question_and_a_batch_without_an_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=GUARD_S, check=True
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")
