"""Questions that hang: other work goes on, and who asks again and again asks once at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.ledger import LedgerUnavailable
from proxy.ledger.asking import AT_ONCE, RepeatedQuestion, answer_of
from tests.support.waiting import guard


async def test_questions_that_hang_hold_up_no_other_work() -> None:
    ended = threading.Event()
    async with guard():
        hanging = [asyncio.create_task(answer_of(ended.wait)) for _ in range(4 * AT_ONCE)]
        assert await asyncio.to_thread(int, "7") == 7
        ended.set()
        assert await asyncio.gather(*hanging) == [True] * len(hanging)


async def test_an_answer_is_what_the_question_returns_or_raises() -> None:
    assert await answer_of(int, "11", base=2) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await answer_of(int, "x")


async def test_a_repeated_question_is_under_way_once_and_a_late_answer_is_the_next_ones() -> None:
    asked: list[int] = []
    may_answer = threading.Event()

    def question() -> int:
        asked.append(len(asked))
        may_answer.wait()
        return asked[-1]

    repeated = RepeatedQuestion(question)
    async with guard():
        for _ in range(3):
            with pytest.raises(LedgerUnavailable, match=r"no answer in 0\.01 s"):
                await repeated.answer(0.01)
        may_answer.set()
        assert [await repeated.answer(600.0) for _ in range(2)] == [0, 1]


async def test_a_repeated_question_that_failed_is_asked_anew() -> None:
    answers = iter(["x", "5"])
    repeated = RepeatedQuestion(lambda: int(next(answers)))
    with pytest.raises(ValueError, match="invalid literal"):
        await repeated.answer(600.0)
    assert await repeated.answer(600.0) == 5
